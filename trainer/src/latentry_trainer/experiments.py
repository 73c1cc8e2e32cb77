"""What `latentry-train run-all` trains, and how it finds what is done already."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from latentry_trainer.config import RunConfig, override
from latentry_trainer.presets import PRESETS
from latentry_trainer.report.results import Result
from latentry_trainer.run_folder import EVALUATION_FILE, is_finished
from latentry_trainer.training.log import read_metrics
from latentry_trainer.training.trained import CONFIG_FILE, load_trained, read_config

_ANOMALY_PRESET = "stacked-quick"
_NUM_CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A preset, and what is changed in it."""

    preset: str
    """The preset's name."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Values by dotted name."""
    change: str = ""
    """What they change, in a few words: `without noise`; empty without options."""

    @property
    def model_name(self) -> str:
        """The model's name in the repository: the preset's, and what is changed in it."""
        return "-".join((self.preset, *self.change.split()))

    @property
    def config(self) -> RunConfig:
        """The whole configuration."""
        return override(PRESETS[self.preset].config, self.options)


# Every preset but the quick ones, and one class of the data after the other held out.
EXPERIMENTS = (
    *(Experiment(preset=name) for name in PRESETS if not name.endswith("-quick")),
    *(
        Experiment(preset=_ANOMALY_PRESET, options={"data.held_out_label": str(label)}, change=f"without {label}")
        for label in range(_NUM_CLASSES)
    ),
)


def find_run(runs: Path, config: RunConfig) -> Path | None:
    """The run with this configuration: the first that is finished, else the last that was begun; None without any."""
    same = [
        folder
        for folder in sorted(runs.glob(f"{config.preset}-*"))
        if (folder / CONFIG_FILE).is_file() and read_config(folder) == config
    ]
    finished = [folder for folder in same if is_finished(folder)]
    return next(iter(finished or reversed(same)), None)


def read_result(run_folder: Path, change: str = "") -> Result:
    """What a finished run reached; targets where it is a preset's.

    Args:
        run_folder: The run's.
        change: What is changed in its preset; see `Experiment`.
    """
    trained = load_trained(run_folder)
    preset = PRESETS[trained.config.preset]
    return Result(
        config=trained.config,
        targets=preset.targets if preset.config == trained.config else {},
        evaluation=json.loads((run_folder / EVALUATION_FILE).read_text()),
        metrics=tuple(read_metrics(run_folder)),
        images_seen=trained.position.images_seen,
        kept_images_seen=trained.images_seen,
        wall_time_s=trained.position.wall_time_s,
        device=trained.facts.device,
        change=change,
        samples=max((run_folder / "grids").glob("samples-*.png"), default=None),
    )
