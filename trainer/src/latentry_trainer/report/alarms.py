"""When a run's alarms were raised."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from latentry_trainer.training.alarms import find_alarms
from latentry_trainer.training.log import Metrics


@dataclass(slots=True, kw_only=True)
class Spell:
    """Epochs in a row with the same alarm."""

    kind: str
    """The alarm's."""
    message: str
    """What it said last."""
    first: Metrics
    """The first epoch's validation figures."""
    last: Metrics
    """The last epoch's."""


def collect_spells(lines: Iterable[Metrics]) -> list[Spell]:
    """The spells of a run's log, by their first epoch."""
    spells: list[Spell] = []
    going_on: dict[str, Spell] = {}
    losses: Mapping[str, float] = {}
    for line in lines:
        if line.split == "train":
            losses = line.values
            continue
        before, going_on = going_on, {}
        for alarm in find_alarms({**losses, **line.values}):
            spell = before.get(alarm.kind)
            if spell is None:
                spell = Spell(kind=alarm.kind, message=alarm.message, first=line, last=line)
                spells.append(spell)
            spell.message, spell.last = alarm.message, line
            going_on[alarm.kind] = spell
    return spells
