"""Pure: the protocol's names of models and versions."""

from latentry_server.errors import InvalidInputError, ModelNotFoundError
from latentry_server.repository.names import version_number
from latentry_server.spec import GraphRole


def graph_name(model: str, role: GraphRole) -> str:
    """Name a model's graph, as `stacked.encoder`."""
    return f"{model}.{role}"


def split_name(name: str) -> tuple[str, GraphRole]:
    """Read the name of a graph; ModelNotFoundError where it is not one's. A model's own name may hold dots."""
    model, _, role = name.rpartition(".")
    try:
        return model, GraphRole(role)
    except ValueError:
        raise ModelNotFoundError(name) from None


def read_version(version: str, field: str) -> int:
    """Read a version; 0 for the newest, where none is given."""
    number = version_number(version) if version else 0
    if number is None:
        expected = "a whole number from 1, or nothing for the newest"
        raise InvalidInputError(field, expected=expected, got=repr(version))
    return number
