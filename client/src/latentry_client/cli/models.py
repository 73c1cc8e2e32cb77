"""The commands about models: models, models show, load, unload; and health."""

import json
from collections.abc import Sequence
from typing import Any

import cyclopts
from google.protobuf import json_format

from latentry_client.cli.arguments import model_version
from latentry_client.cli.connection import DEFAULTS, Connected
from latentry_client.cli.report import show, table
from latentry_client.results import Model

app = cyclopts.App(name="models", help="List the models; show, load and unload one.")

_HEADINGS = ("MODEL", "VERSION", "STATE", "VARIANT", "CAPABILITIES")


@app.default
def list_models(*, connection: Connected = DEFAULTS) -> None:
    """List the versions that the server knows.

    Args:
        connection: where the server is.
    """
    with connection.open() as client:
        _show(client.list_models(), as_json=connection.json)


@app.command(name="show")
def show_model(model: str, /, *, connection: Connected = DEFAULTS) -> None:
    """Print all that a bundle says of itself, as JSON.

    Args:
        model: the model, <name> or <name>/<version>.
        connection: where the server is.
    """
    name, version = model_version(model)
    with connection.open() as client:
        found = client.get_model(name, version=version)
    manifest = (
        {} if found.manifest is None else json_format.MessageToDict(found.manifest, preserving_proto_field_name=True)
    )
    data = {**_summary(found), "manifest": manifest}
    show(data, json.dumps(data, indent=2), as_json=connection.json)


@app.command
def load(model: str, /, *, connection: Connected = DEFAULTS) -> None:
    """Load a version from the server's repository and wait until it is ready.

    Args:
        model: <name>, for the newest version, or <name>/<version>.
        connection: where the server is.
    """
    name, version = model_version(model)
    with connection.open() as client:
        _show([client.load_model(name, version=version)], as_json=connection.json)


@app.command
def unload(model: str, /, *, connection: Connected = DEFAULTS) -> None:
    """Unload a version, after its requests in flight are answered.

    Args:
        model: <name>, for all versions that are loaded, or <name>/<version>.
        connection: where the server is.
    """
    name, version = model_version(model)
    with connection.open() as client:
        _show(client.unload_model(name, version=version), as_json=connection.json)


def health(model: str = "", /, *, connection: Connected = DEFAULTS) -> int:
    """Ask whether the server, or a model, answers requests; exit code 1 where it does not.

    Args:
        model: <name> or <name>/<version>; without it, the server as a whole.
        connection: where the server is.
    """
    name, version = model_version(model) if model else ("", 0)
    with connection.open() as client:
        found = client.health(name, version=version)
    show({"address": connection.address, "model": model, "status": found.status}, found.status, as_json=connection.json)
    return 0 if found.serving else 1


def _show(models: Sequence[Model], *, as_json: bool) -> None:
    rows = [_HEADINGS]
    for model in models:
        what = model.error or ", ".join(sorted(model.capabilities))
        rows.append((model.name, str(model.version), model.state, model.variant, what))
    show({"models": [_summary(model) for model in models]}, table(rows), as_json=as_json)


def _summary(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "state": model.state,
        "error": model.error,
        "variant": model.variant,
        "preset": model.preset,
        "capabilities": sorted(model.capabilities),
        "input_shape": model.input_shape,
        "codings_shape": model.codings_shape,
        "label_names": model.label_names,
    }
