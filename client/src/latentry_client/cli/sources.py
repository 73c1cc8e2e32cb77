"""The words for sources: `seeds:1,2`, `codings:FILE.npy`, `styles:FILE.npy`, or images to encode."""

from pathlib import Path

from latentry_client.cli import inputs
from latentry_client.cli.arguments import numbers
from latentry_client.results import Model
from latentry_client.sources import FromCodings, FromInputs, FromSeeds, FromStyles, Source


def source(name: str, text: str, model: Model) -> Source:
    """Read a source.

    Args:
        name: the flag, for errors.
        text: its value.
        model: what images are made to fit.
    """
    kind, _, value = text.partition(":")
    match kind:
        case "seeds":
            return FromSeeds(numbers(name, value))
        case "codings":
            return FromCodings(inputs.load_npy(Path(value)))
        case "styles":
            return FromStyles(inputs.load_npy(Path(value)))
        case _:
            return FromInputs(inputs.read([Path(text)], model, strict=False).array)


def count(found: Source) -> int:
    """Return how many rows a source has."""
    match found:
        case FromSeeds(seeds):
            return len(seeds)
        case FromCodings(rows) | FromStyles(rows) | FromInputs(rows):
            return len(rows)  # type: ignore[arg-type]  # arrays, as `source` makes them
