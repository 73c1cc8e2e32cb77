"""What `latentry-train run-all` trains, and how it finds what is done already."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from latentry_trainer.config import RunConfig, override
from latentry_trainer.presets import PRESETS, without_cpu
from latentry_trainer.report.results import Result
from latentry_trainer.run_folder import EVALUATION_FILE, is_finished
from latentry_trainer.training.log import read_metrics
from latentry_trainer.training.trained import CONFIG_FILE, load_trained, read_config

_ANOMALY_PRESET = "stacked-quick"
_NUM_CLASSES = 10

# Techniques of the style-based generator, and what leaves each out.
_STYLE_PRESET = "stylegan-quick"
_STYLE_TECHNIQUES: Mapping[str, Mapping[str, str]] = {
    "growing": {"model.first_resolution": "32"},
    "mapping": {"model.mapping_layers": "0"},
    "constant": {"model.learned_constant": "false"},
    "noise": {"model.noise": "false"},
    "mixing": {"model.mixing_probability": "0"},
    "blur": {"model.blur": "false"},
}


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
        """The model's name in the repository: the preset's, also of its narrow form, and what is changed in it."""
        return "-".join((without_cpu(self.preset), *self.change.split()))

    @property
    def config(self) -> RunConfig:
        """The whole configuration."""
        return override(PRESETS[self.preset].config, self.options)


# Every preset but the quick ones, one class of the data after the other held out, and one technique after the other.
EXPERIMENTS = (
    *(Experiment(preset=name) for name in PRESETS if not name.endswith("-quick")),
    *(
        Experiment(preset=_ANOMALY_PRESET, options={"data.held_out_label": str(label)}, change=f"without {label}")
        for label in range(_NUM_CLASSES)
    ),
    Experiment(preset=_STYLE_PRESET),
    *(
        Experiment(preset=_STYLE_PRESET, options=options, change=f"without {technique}")
        for technique, options in _STYLE_TECHNIQUES.items()
    ),
)


def choose_experiments(presets: Collection[str], runs: Path) -> list[Experiment]:
    """Those of the presets; without any all, but of presets for a GPU those that are done where there is none."""
    if presets:
        return [experiment for experiment in EXPERIMENTS if experiment.preset in presets]
    return [
        experiment
        for experiment in EXPERIMENTS
        if torch.cuda.is_available() or not PRESETS[experiment.preset].is_for_gpu or _is_done(experiment, runs)
    ]


def _is_done(experiment: Experiment, runs: Path) -> bool:
    run_folder = find_run(runs, experiment.config)
    return run_folder is not None and is_finished(run_folder)


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
