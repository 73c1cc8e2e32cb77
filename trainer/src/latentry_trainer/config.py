"""The configuration of a run: frozen dataclasses, dotted overrides on top of a preset, and their JSON form.

Every option has a dotted name, such as `training.batch_size`, and errors give it. A variant's own options, the section
`model`, live next to the variant.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SerializeAsAny, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")

Count = Annotated[int, Field(ge=1, lt=2**31)]
Sizes = tuple[Count, ...]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class OptimizerConfig:
    """How weights are moved."""

    name: Literal["sgd", "rmsprop", "adam", "nadam"] = "sgd"
    """`rmsprop` and `nadam` have Keras' epsilon, 1e-7; that of `rmsprop` is under the root."""
    learning_rate: Positive = 1.0
    """Step size."""
    rho: Fraction = 0.9
    """RMSprop: decay of the squared gradients' average, per step."""
    beta1: Fraction = 0.9
    """Adam and Nadam: decay of the gradients' average, per step."""
    beta2: Fraction = 0.999
    """Adam and Nadam: decay of the squared gradients' average, per step."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class DataConfig:
    """Which images to train on."""

    name: Literal["fashion-mnist", "digits", "toy-3d", "npz", "folder"] = "fashion-mnist"
    """Where images come from."""
    path: Path | None = None
    """The file of `npz` or the folder of `folder`; refused by the others."""
    image_size: Annotated[int, Field(ge=1, le=1024)] = 28
    """`folder`: width and height in pixels that images are cropped to, around the centre, and resized to."""
    greyscale: bool = False
    """`folder`: one channel instead of three."""
    strict: bool = False
    """`folder`: refuse a folder with unreadable images instead of skipping them."""
    held_out_label: str | None = None
    """A class, by its name or number, that only test images are of: how well is it noticed as unusual?"""
    num_train_images: Annotated[int, Field(ge=2, lt=2**31)] | None = None
    """Train on the first so many training images only; None: all."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """How to train. Progress is counted in images: one more for each time that an image is shown."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    """Seed of the weights, the order of the images and the noise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA where PyTorch finds it, else the CPU."""
    num_cpu_threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of a run on the CPU. Small networks are fastest on one, all are where other work keeps the cores busy; a
    fixed number makes runs repeatable."""
    batch_size: Count = 32
    """Images a step."""
    num_epochs: Count = 10
    """Passes over the training images."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimiser of every phase."""
    average_half_life_images: NonNegative = 10_000.0
    """Half-life of the moving average of the weights that is measured and exported; 0: the weights of the last step."""
    log_interval_images: Count = 11_000
    """Images between two lines of metrics; losses are checked for being finite as often."""
    checkpoint_interval_images: Count = 275_000
    """Images between two checkpoints, rounded up to the next line of metrics."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class VariantConfig:
    """Base of the variants' own options, the section `model`."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RunConfig:
    """Everything that a run is made from."""

    preset: str
    """The preset that the configuration started from."""
    variant: str
    """The kind of model."""
    model: SerializeAsAny[VariantConfig]
    """The variant's own options."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which images to train on."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How to train."""


_FIXED = ("preset", "variant")  # part of the configuration, but not options

# Options that have an effect with some choices of another option only, and those choices.
_EFFECTIVE_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "training.optimizer.rho": ("training.optimizer.name", ("rmsprop",)),
    "training.optimizer.beta1": ("training.optimizer.name", ("adam", "nadam")),
    "training.optimizer.beta2": ("training.optimizer.name", ("adam", "nadam")),
    "data.image_size": ("data.name", ("folder",)),
    "data.greyscale": ("data.name", ("folder",)),
    "data.strict": ("data.name", ("folder",)),
}
_RUN_CONFIG = TypeAdapter(RunConfig)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as nested dictionaries of JSON's types."""
    values: dict[str, Any] = _RUN_CONFIG.dump_python(config, mode="json")
    return values


def to_json(config: RunConfig) -> str:
    """The configuration as JSON; `from_dict` reads it back."""
    return json.dumps(to_dict(config), indent=2) + "\n"


def from_dict(values: Mapping[str, Any], model_type: type[VariantConfig]) -> RunConfig:
    """Builds a configuration from `to_dict`'s form, or from strings in the place of numbers.

    Args:
        values: Nested dictionaries.
        model_type: The type of the section `model`.

    Raises:
        ValueError: An option is unknown or invalid; every such option is named.
    """
    try:
        model = TypeAdapter(model_type).validate_python(values.get("model", {}))
    except ValidationError as error:
        raise ValueError(_describe(error, "model.")) from None
    try:
        return _RUN_CONFIG.validate_python({**values, "model": model})
    except ValidationError as error:
        raise ValueError(_describe(error)) from None


def override(config: RunConfig, options: Mapping[str, str]) -> RunConfig:
    """Sets options by their dotted names.

    Args:
        config: Where to start from, usually a preset.
        options: Texts by dotted name, dashes allowed for underscores; items of a list are separated by commas.

    Raises:
        ValueError: An option is unknown (the message suggests close names), its value is invalid, or it has no effect.
    """
    values = to_dict(config)
    known = {name for name, _ in option_values(values) if name not in _FIXED}
    options = {name.replace("-", "_"): text for name, text in options.items()}
    for name, text in options.items():
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(sorted(known))}"
            raise ValueError(f"unknown option --{name}; {hint}")
        *sections, leaf = name.split(".")
        section = values
        for key in sections:
            section = section[key]
        section[leaf] = [item for item in text.split(",") if item] if isinstance(section[leaf], list) else text
    overridden = from_dict(values, type(config.model))
    _check_effects(options, overridden)
    return overridden


def _check_effects(options: Iterable[str], config: RunConfig) -> None:
    """Refuses options that would have no effect: they were set for a reason."""
    for name in options:
        if name in _EFFECTIVE_WITH:
            decider, choices = _EFFECTIVE_WITH[name]
            chosen = attrgetter(decider)(config)
            if chosen not in choices:
                expected = " or ".join(choices)
                raise ValueError(f"option --{name} has an effect with --{decider} {expected} only, which is {chosen}")


def option_values(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted names and the values of everything in nested dictionaries."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from option_values(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _describe(error: ValidationError, prefix: str = "") -> str:
    """One line for all that is wrong: `option --training.batch_size: input should be …, got '0'`."""
    problems = []
    for problem in error.errors(include_url=False):
        name = prefix + ".".join(str(part) for part in problem["loc"])
        message = problem["msg"][0].lower() + problem["msg"][1:]
        problems.append(f"option --{name}: {message}, got {problem['input']!r}")
    return "; ".join(problems)
