"""The command `pretrain-classifier`: what an autoencoder's encoder is worth to a classifier that has few labels.

The experiment of the book: the same network is trained three times on the same few labels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from latentry_trainer import files
from latentry_trainer.config import OptimizerConfig, RunConfig
from latentry_trainer.data import Dataset
from latentry_trainer.report.comparison import draw_comparison
from latentry_trainer.run import Evaluation, Finished, check_run, evaluate_run, finish, train_run, without_folders
from latentry_trainer.run_folder import Destination, lock, make_folder, start
from latentry_trainer.training.checkpoint import CHECKPOINT_FILE, save_checkpoint
from latentry_trainer.training.device import describe_device, resolve_device
from latentry_trainer.training.loop import initial_state
from latentry_trainer.training.trained import Facts, Trained, load_trained, with_facts
from latentry_trainer.variants import VARIANTS, Autoencoder, EncoderClassifier, build_variant

_FOLDER = "pretrain-classifier"
_COMPARISON_FILE = "comparison.json"
_BATCH_SIZE = 32
_NUM_EPOCHS = 40
_SGD = OptimizerConfig(name="sgd", learning_rate=0.02)

# name: whether the encoder is the autoencoder's, and how many of the epochs leave it as it is
_RECIPES: Mapping[str, tuple[bool, int]] = {
    "frozen":       (True, _NUM_EPOCHS),
    "fine-tuned":   (True, _NUM_EPOCHS // 2),
    "from-scratch": (False, 0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The three classifiers."""

    evaluations: Mapping[str, Evaluation]
    """Figures by classifier: `frozen`, `fine-tuned`, `from-scratch`."""
    finished: Finished
    """The one with the highest accuracy on validation images."""
    chart: Path
    """The bar chart."""


def with_few_labels(autoencoder: RunConfig, dataset: Dataset, num_labels: int) -> Dataset:
    """The data set that the classifiers are trained on: its first `num_labels` training images.

    Raises:
        ValueError: The run is not an autoencoder's, or the data set has not as many images, or no labels.
    """
    if not issubclass(VARIANTS[autoencoder.variant], Autoencoder):
        raise ValueError(f"pretraining needs an autoencoder, and {autoencoder.variant} is none")  # noqa: TRY004 (the user's error)
    num_images = len(dataset.images_of("train"))
    if not _BATCH_SIZE <= num_labels <= num_images:
        raise ValueError(
            f"option --num-labels: expected {_BATCH_SIZE}, a batch, to {num_images}, the training images of "
            f"{dataset.name}, got {num_labels}"
        )
    few = dataset.with_first_train_images(num_labels)
    check_run(_configure(autoencoder, "fine-tuned", num_labels), few)
    return few


def pretrain(
    autoencoder_run: Path, few: Dataset, destination: Destination, runs: Path, console: Console
) -> Comparison | None:
    """Trains the three classifiers, compares them, and publishes the best.

    Args:
        autoencoder_run: The folder of a trained autoencoder's run.
        few: See `with_few_labels`.
        destination: Where the best classifier is published.
        runs: Folder of run folders. A new one in it, `pretrain-classifier-<number>`, holds the three classifiers' run
            folders, comparison.json and comparison.png.
        console: Says how training goes.

    Returns:
        None where a signal stopped it.

    Raises:
        ValueError: The autoencoder's run has no good checkpoint.
        DivergedError: A loss or a weight is no longer finite.
        ExportError: The graph does not compute what the classifier does.
        OSError: A folder cannot be written.
    """
    autoencoder = load_trained(autoencoder_run)
    folder = make_folder(runs, _FOLDER)
    run_folders, evaluations = {}, {}
    for name, (is_pretrained, _) in _RECIPES.items():
        config = _configure(autoencoder.config, name, len(few.images_of("train")))
        run_folder = run_folders[name] = start(config, destination, folder)
        console.print(f"{name:<14}{run_folder}", highlight=False, soft_wrap=True)
        with lock(run_folder):
            if is_pretrained:
                _begin_with_encoder(run_folder, config, autoencoder, few)
            if not train_run(run_folder, few, console):
                return None
            evaluations[name] = evaluate_run(run_folder, few)
    best = max(evaluations, key=lambda name: evaluations[name]["validation"]["accuracy"])
    finished = finish(run_folders[best], few, destination)
    chart = folder / "comparison.png"
    files.replace(chart, draw_comparison(evaluations, "accuracy"))
    files.replace(folder / _COMPARISON_FILE, f"{json.dumps(evaluations, indent=2)}\n".encode())
    return Comparison(evaluations=evaluations, finished=finished, chart=chart)


def read_comparison(runs: Path) -> Mapping[str, Evaluation]:
    """Figures of the last comparison in a folder of run folders, by classifier; empty where there is none."""
    comparisons = sorted(runs.glob(f"{_FOLDER}-*/{_COMPARISON_FILE}"))
    evaluations: Mapping[str, Evaluation] = json.loads(comparisons[-1].read_text()) if comparisons else {}
    return evaluations


def _configure(autoencoder: RunConfig, name: str, num_labels: int) -> RunConfig:
    """The configuration of one of the three runs; the seed and the device are the autoencoder's."""
    return RunConfig(
        preset=f"classifier-{name}",
        variant="encoder-classifier",
        model=EncoderClassifier.Config(autoencoder=without_folders(autoencoder), num_frozen_epochs=_RECIPES[name][1]),
        data=replace(autoencoder.data, num_train_images=num_labels),
        training=replace(
            autoencoder.training,
            batch_size=_BATCH_SIZE,
            num_epochs=_NUM_EPOCHS,
            optimizer=_SGD,
            average_half_life_images=0,  # so few images are shown that the average would lag behind
        ),
    )


def _begin_with_encoder(run_folder: Path, config: RunConfig, autoencoder: Trained, dataset: Dataset) -> None:
    """Writes the checkpoint that the run goes on from: fresh dense layers on the autoencoder's encoder."""
    device = resolve_device(config.training.device)
    variant = build_variant(config, dataset.input_shape, len(dataset.label_names)).to(device)
    assert isinstance(variant, EncoderClassifier), "see _configure"
    variant.autoencoder.load_state_dict(autoencoder.variant.state_dict())
    state = initial_state(variant, config.training)
    save_checkpoint(run_folder / CHECKPOINT_FILE, with_facts(state, Facts.of(dataset, describe_device(device))))
