"""The words for sources: `seeds:1,2`, `codings:FILE.npy`, `styles:FILE.npy`, or images to encode."""

from pathlib import Path

from latentry_client.cli import inputs
from latentry_client.cli.arguments import numbers
from latentry_client.results import Model
from latentry_client.sources import FromCodings, FromSeeds, FromStyles, Source, rows_of


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
            if value and not Path(text).exists():
                raise ValueError(
                    f"{name}: expected a path, or seeds:, codings: or styles: before a value, got {text!r}"
                )
            return inputs.read([Path(text)], model, strict=False).array


def num_rows(name: str, rows: Source) -> int:
    """Count the rows of a source; `name` is the flag, for errors."""
    return len(rows_of(name, rows))
