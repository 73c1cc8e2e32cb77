"""What a run folder holds of the model: its configuration, its weights, and the facts of its training."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentry_trainer.config import RunConfig, from_dict
from latentry_trainer.data import Dataset
from latentry_trainer.training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from latentry_trainer.training.progress import Position
from latentry_trainer.variants import VARIANTS, Variant, build_variant

CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a run was made from, kept in its checkpoint."""

    input_shape: tuple[int, ...]
    """Shape of one image."""
    dataset: str
    """The data set's name."""
    dataset_sha256: str
    """Over its images and labels."""
    label_names: tuple[str, ...]
    """The data set's."""
    device: str
    """`cpu`, or the GPU's name."""

    @classmethod
    def of(cls, dataset: Dataset, device: str) -> "Facts":
        """The facts of a run on a data set."""
        return cls(
            input_shape=dataset.input_shape,
            dataset=dataset.name,
            dataset_sha256=dataset.sha256,
            label_names=dataset.label_names,
            device=device,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model as its last checkpoint has it."""

    variant: Variant
    """With the average of its weights, in eval mode, on the CPU."""
    config: RunConfig
    """The run's."""
    facts: Facts
    """The run's."""
    position: Position
    """Where the run was."""
    images_seen: int
    """Images that these weights have seen: to the end, or to the best epoch where that is kept."""


def read_config(run_folder: Path) -> RunConfig:
    """The configuration of a run.

    Raises:
        ValueError: The folder is not a run's, or its configuration is not one.
    """
    path = run_folder / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{run_folder} is not a run folder: it has no {CONFIG_FILE}")
    try:
        values = json.loads(path.read_text())
        return from_dict(values, VARIANTS[values["variant"]].Config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a configuration: {error!r}") from error


def read_state(run_folder: Path) -> dict[str, Any] | None:
    """What the last checkpoint holds, or None where there is none yet.

    Raises:
        ValueError: It is damaged.
    """
    path = run_folder / CHECKPOINT_FILE
    return load_checkpoint(path) if path.is_file() else None


def load_trained(run_folder: Path) -> Trained:
    """The model of a run, as its last checkpoint has it.

    Raises:
        ValueError: The folder is not a run's, has no checkpoint yet, or one that is damaged or does not fit.
    """
    config = read_config(run_folder)
    state = read_state(run_folder)
    if state is None:
        raise ValueError(f"{run_folder} has no checkpoint yet; go on with: latentry-train resume {run_folder}")
    facts = facts_of(state)
    variant = build_variant(config, facts.input_shape, len(facts.label_names))
    try:
        best = state.get("best")
        variant.load_state_dict(best["weights"] if best else state["average"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())  # PyTorch's takes several lines
        raise ValueError(f"the checkpoint of {run_folder} does not fit its configuration: {reason}") from error
    position = Position(**state["position"])
    return Trained(
        variant=variant.eval(),
        config=config,
        facts=facts,
        position=position,
        images_seen=best["images_seen"] if best else position.images_seen,
    )


def facts_of(state: Mapping[str, Any]) -> Facts:
    """The facts in a checkpoint."""
    values = state["facts"]
    return Facts(**values | {"input_shape": tuple(values["input_shape"]), "label_names": tuple(values["label_names"])})


def with_facts(state: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """A checkpoint with its facts."""
    return {**state, "facts": asdict(facts)}
