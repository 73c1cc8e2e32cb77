"""The report's small tables: the information in the images, and what each stage of a run reached."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from latentry_trainer.training.log import Metrics


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers in rows and columns, with what they mean."""

    name: str
    """Of its section: `information` …"""
    explanation: str
    """One or two sentences."""
    columns: tuple[str, ...]
    """Names of the columns."""
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    """Each row's name, and as many values as there are columns; None where there is none."""


# row, figure in nats, figure in bits
_INFORMATION = (
    ("entropy of the images", "entropy_nats", "entropy_bits"),
    ("cross-entropy of their reconstructions", "bce", "bce_bits"),
    ("the difference: KL divergence", "kl_from_data_nats", "kl_from_data_bits"),
)
IN_OWN_TABLE = frozenset(name for _, *names in _INFORMATION for name in names) - {"bce"}
"""Figures that the table of figures leaves out."""


def tabulate_information(evaluation: Mapping[str, Mapping[str, float]]) -> list[Table]:
    """A table of {split: {name: value}}; none where the figures of information are missing."""
    units = [(split, unit) for split, figures in evaluation.items() if "entropy_nats" in figures for unit in (1, 2)]
    if not units:
        return []
    table = Table(
        name="information",
        explanation=(
            "Each pixel taken for black or white with a probability: the entropy of the images is a floor that no "
            "reconstruction's cross-entropy can be under, and what lies between the two is the model's to lose. "
            "Per pixel."
        ),
        columns=tuple(f"{split}, {('nats', 'bits')[unit - 1]}" for split, unit in units),
        rows=tuple((row[0], tuple(evaluation[split].get(row[unit]) for split, unit in units)) for row in _INFORMATION),
    )
    return [table]


def tabulate_stages(lines: Iterable[Metrics]) -> list[Table]:
    """A table of the last validation figures of each stage; none where there are fewer than two stages."""
    last = {line.stage: line.values for line in lines if line.split == "validation"}
    if len(last) < 2:
        return []
    names = tuple({name: None for values in last.values() for name in values})
    table = Table(
        name="stages",
        explanation="Figures on validation images at the end of each stage.",
        columns=names,
        rows=tuple((stage, tuple(values.get(name) for name in names)) for stage, values in last.items()),
    )
    return [table]
