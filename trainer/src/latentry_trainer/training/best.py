"""The best epoch of a run, for variants whose last one need not be it: GANs."""

from collections.abc import Mapping
from typing import Any

from latentry_trainer.training.progress import Position
from latentry_trainer.variants import Variant

Best = Mapping[str, Any]
"""`value` of the figure, `images_seen`, `weights` of the average: a part of the checkpoint."""


def better(best: Best | None, average: Variant, figures: Mapping[str, float], position: Position) -> Best | None:
    """The better of the best epoch so far and this one; None where the variant keeps the last epoch.

    Args:
        best: The best epoch of this stage so far; those of earlier stages do not count.
        average: What was measured.
        figures: Of the validation split, after this epoch.
        position: Where the run is.
    """
    value = None if average.best_by is None else figures.get(average.best_by)
    if value is None:
        return None
    if best is not None and best["stage"] == position.stage and best["value"] <= value:
        return best
    weights = {name: weight.clone() for name, weight in average.state_dict().items()}
    return {"stage": position.stage, "value": value, "images_seen": position.images_seen, "weights": weights}


def take_best(average: Variant, best: Best | None) -> None:
    """Makes the average that of the best epoch, where that is kept."""
    if best is not None:
        average.load_state_dict(best["weights"])
