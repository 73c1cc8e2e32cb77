"""One run, from its folder to a published bundle: the order of things."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from latentry.v1.manifest_pb2 import Manifest
from rich.console import Console

from latentry_trainer import files
from latentry_trainer.cards import CARD_FILE, PICTURE_FILE, make_card, make_picture
from latentry_trainer.config import RunConfig, to_dict
from latentry_trainer.data import Dataset, to_floats
from latentry_trainer.evaluation import evaluate
from latentry_trainer.export.bundle import publish
from latentry_trainer.export.manifest import describe_provenance
from latentry_trainer.parallel import ALONE, World
from latentry_trainer.presets import PRESETS
from latentry_trainer.report.codings import write_codings
from latentry_trainer.report.pictures import NUM_INPUTS, write_pictures
from latentry_trainer.report.report import write_report
from latentry_trainer.report.timelapse import write_timelapse
from latentry_trainer.run_folder import EVALUATION_FILE, Destination
from latentry_trainer.training.checkpoint import CHECKPOINT_FILE, save_checkpoint
from latentry_trainer.training.device import describe_device, prepare_cpu, resolve_device
from latentry_trainer.training.log import NoLog, RunLog
from latentry_trainer.training.loop import train
from latentry_trainer.training.prior import fit_prior
from latentry_trainer.training.progress import DivergedError, check_finite
from latentry_trainer.training.stopping import stop_on_signals
from latentry_trainer.training.trained import (
    Facts,
    facts_of,
    load_trained,
    read_config,
    read_state,
    with_facts,
)
from latentry_trainer.variants import VARIANTS, Autoencoder, Generative, Variant, build_variant

GRIDS_FOLDER = "grids"

Evaluation = Mapping[str, Mapping[str, float]]
"""Figures: {split: {name: value}}."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Where everything of a finished run is."""

    run_folder: Path
    """The run's folder."""
    bundle: Path
    """The published version's folder."""
    report: Path
    """The HTML file."""
    evaluation: Evaluation
    """The figures."""


def check_run(config: RunConfig, dataset: Dataset, world: World = ALONE) -> None:
    """Refuses a run that cannot be: before anything is made.

    Raises:
        ValueError: The device is not there, the variant cannot take the data set's images, there are fewer of them than
            in a batch or a batch has fewer rows than there are processes, labels are missing, or the variant's options
            contradict the training.
    """
    resolve_device(config.training.device)
    _check_labels(config, dataset)
    variant = build_variant(config, dataset.input_shape, len(dataset.label_names))
    if dataset.held_out_label is not None and "SCORE" not in variant.capabilities:
        raise ValueError(
            f"option --data.held_out_label: variant {config.variant} has no score that could notice a class held out; "
            "autoencoders have"
        )
    num_images = len(dataset.images_of("train"))
    batch_size = config.training.batch_size
    if num_images < batch_size:
        raise ValueError(
            f"option --training.batch_size: expected at most the {num_images} training images of {dataset.name}, "
            f"got {batch_size}"
        )
    world.check_batches(num_images, batch_size)
    variant.check_training(config.training, num_images)


def _check_labels(config: RunConfig, dataset: Dataset) -> None:
    """Refuses data without labels, or with all of one class, where the variant learns from them."""
    if not VARIANTS[config.variant].needs_labels(config.model):
        return
    labels = dataset.labels_of("train")
    if labels is None:
        raise ValueError(f"variant {config.variant} is trained on labels, and data set {dataset.name} has none")
    if (labels == labels[0]).all():
        raise ValueError(
            f"variant {config.variant} is trained on images of several classes, and all {len(labels)} training images "
            f"of data set {dataset.name} are of the class {dataset.label_names[int(labels[0])]!r}"
        )


def train_run(run_folder: Path, dataset: Dataset, console: Console, world: World = ALONE) -> bool:
    """Trains a run from its last checkpoint, or from the beginning; of several processes, the first keeps the results.

    Returns:
        Whether it is done; False where a signal stopped it.

    Raises:
        ValueError: The checkpoint is damaged, or was made with other data or on another device.
        DivergedError: A loss or a weight is no longer finite.
        OSError: The run's folder cannot be written.
    """
    config = read_config(run_folder)
    device = resolve_device(config.training.device)
    prepare_cpu(config.training.num_cpu_threads)
    facts = Facts.of(dataset, describe_device(device))
    state = read_state(run_folder)
    if state and facts != facts_of(state):
        begun, now = asdict(facts_of(state)), asdict(facts)
        changes = "; ".join(f"{name} was {begun[name]}, is {now[name]}" for name in now if begun[name] != now[name])
        raise ValueError(f"{run_folder} cannot go on as it was begun: {changes}")
    variant = build_variant(config, dataset.input_shape, len(dataset.label_names)).to(device)
    images_seen = state["position"]["images_seen"] if state else 0
    num_epochs = sum(stage.num_epochs for stage in variant.stages(config.training))
    num_images = len(dataset.images_of("train")) * num_epochs

    inputs = to_floats(dataset.images_of("validation")[:NUM_INPUTS].to(device))
    labels = dataset.labels_of("validation")
    shown_labels = None if labels is None else labels[:NUM_INPUTS]

    def draw(average: Variant, images_seen: int) -> None:
        write_pictures(run_folder / GRIDS_FOLDER, average, inputs, shown_labels, images_seen=images_seen)

    def complete(average: Variant) -> None:
        fit_prior(average, dataset, seed=config.training.seed)
        draw(average, num_images)  # again: now with samples

    with ExitStack() as stack:
        is_asked_to_stop = stack.enter_context(stop_on_signals())
        train_with = partial(
            train,
            variant,
            dataset,
            config.training,
            state=state,
            world=world,
            should_stop=lambda: world.agree(any_of=is_asked_to_stop()),
        )
        if not world.is_first:
            return train_with(
                log=NoLog(),
                save=lambda _state: None,
                after_epoch=lambda _average, _images_seen: None,
                after_training=lambda _average: None,
            )
        (run_folder / EVALUATION_FILE).unlink(missing_ok=True)  # it would be of an earlier checkpoint
        try:
            return train_with(
                log=stack.enter_context(RunLog(run_folder, console, config.preset, num_images, images_seen)),
                save=lambda state: save_checkpoint(run_folder / CHECKPOINT_FILE, with_facts(state, facts)),
                after_epoch=draw,
                after_training=complete,
            )
        except DivergedError as error:
            raise DivergedError(f"{error}; {_what_is_kept(run_folder)}") from error


def _what_is_kept(run_folder: Path) -> str:
    """What a run that diverged leaves, and what can be done with it."""
    state = read_state(run_folder)
    if state is None:
        return "this one has no checkpoint yet"
    images_seen = state["position"]["images_seen"]
    return f"this one's checkpoint after {images_seen} images is kept: latentry-train export {run_folder}"


def finish(run_folder: Path, dataset: Dataset, destination: Destination) -> Finished:
    """Evaluates a trained run, publishes its bundle, and writes its report."""
    evaluation = evaluate_run(run_folder, dataset)
    bundle = export_run(run_folder, destination)
    trained = load_trained(run_folder)
    if isinstance(trained.variant, Autoencoder):
        write_codings(run_folder, trained.variant, dataset)
    write_timelapse(run_folder)
    is_conditional = isinstance(trained.variant, Generative) and trained.variant.num_labels
    preset = PRESETS.get(trained.config.preset)
    report = write_report(
        run_folder,
        facts={
            "data set": trained.facts.dataset,
            "images seen": f"{trained.images_seen:,} of {trained.position.images_seen:,}".replace(",", " ")
            if trained.images_seen < trained.position.images_seen
            else f"{trained.position.images_seen:,}".replace(",", " "),
            "training time": f"{trained.position.wall_time_s:.0f} s",
            "device": trained.facts.device,
            "bundle": str(bundle),
        },
        targets=preset.targets if preset and preset.config == trained.config else {},
        sampled_classes=trained.facts.label_names if is_conditional else (),
    )
    return Finished(run_folder=run_folder, bundle=bundle, report=report, evaluation=evaluation)


def evaluate_run(run_folder: Path, dataset: Dataset) -> Evaluation:
    """Measures a trained run on validation and test images, and keeps the figures in its folder.

    Raises:
        ValueError: The run has no good checkpoint, or was trained on other data.
        DivergedError: A figure is infinite or not a number.
    """
    trained = load_trained(run_folder)
    if dataset.sha256 != trained.facts.dataset_sha256:
        raise ValueError(f"{run_folder} was trained on other images than those of {dataset.name}")
    device = resolve_device(trained.config.training.device)
    prepare_cpu(trained.config.training.num_cpu_threads)
    variant = trained.variant.to(device)
    evaluation = {split: evaluate(variant, dataset, split, device) for split in ("validation", "test")}
    for figures in evaluation.values():
        check_finite(figures, trained.position)
    files.replace(run_folder / EVALUATION_FILE, f"{json.dumps(evaluation, indent=2)}\n".encode())
    return evaluation


def export_run(run_folder: Path, destination: Destination, *, float16: bool = False) -> Path:
    """Publishes a trained run's model as its next version, with its card, and returns that version's folder.

    Args:
        run_folder: The run's.
        destination: Where the model goes.
        float16: See `publish`.

    Raises:
        ValueError: The run has no good checkpoint, or the model's name is not one.
        ExportError: The graphs do not compute what the model does; nothing is published.
        OSError: The repository cannot be written.
    """
    trained = load_trained(run_folder)
    config, facts, position = without_folders(trained.config), trained.facts, trained.position
    picture = make_picture(run_folder / GRIDS_FOLDER)

    def companions(manifest: Manifest, graphs: Mapping[str, bytes]) -> Mapping[str, bytes]:
        card = {CARD_FILE: make_card(manifest, graphs, config, has_picture=picture is not None)}
        return card if picture is None else {**card, PICTURE_FILE: picture}

    return publish(
        trained.variant,
        repository=destination.repository,
        model_name=destination.model_name,
        variant_name=config.variant,
        preset=config.preset,
        metrics=_read_evaluation(run_folder),
        label_names=facts.label_names,
        provenance=describe_provenance(
            dataset=facts.dataset,
            dataset_sha256=facts.dataset_sha256,
            seed=config.training.seed,
            images_seen=trained.images_seen,
            device=facts.device,
            wall_time_s=position.wall_time_s,
            configuration=to_dict(config),
        ),
        float16=float16,
        companions=companions,
    )


def without_folders(config: RunConfig) -> RunConfig:
    """The configuration as strangers may see it: what the data is called, not where it lay."""
    path = config.data.path
    return replace(config, data=replace(config.data, path=Path(path.name))) if path else config


def _read_evaluation(run_folder: Path) -> Evaluation:
    """The figures of the run's last evaluation; none where there was none."""
    path = run_folder / EVALUATION_FILE
    try:
        evaluation: Evaluation = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; measure again with: latentry-train evaluate") from error
    return evaluation
