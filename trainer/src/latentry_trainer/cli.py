"""The command `latentry-train`."""

import logging
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table

from latentry_trainer.collection import check_size, choose_runs, collect, write_catalogue
from latentry_trainer.config import RunConfig, override, to_json
from latentry_trainer.data import Dataset, load_dataset
from latentry_trainer.experiments import EXPERIMENTS, choose_experiments, find_run, read_result
from latentry_trainer.export.graphs import ExportError
from latentry_trainer.export.repository import check_model_name
from latentry_trainer.fit_encoder import configure, load_gan, start_with_gan
from latentry_trainer.parallel import ALONE, World, check_alone, join_world
from latentry_trainer.presets import PRESETS
from latentry_trainer.pretraining import pretrain, read_comparison, with_few_labels
from latentry_trainer.report.results import write_results
from latentry_trainer.run import Evaluation, check_run, evaluate_run, export_run, finish, train_run
from latentry_trainer.run_folder import Destination, is_finished, lock, read_destination, start
from latentry_trainer.training.progress import DivergedError
from latentry_trainer.training.trained import read_config

_OK, _FAILED, _USAGE, _STOPPED = 0, 1, 2, 130  # exit statuses

app = App(
    name="latentry-train",
    help="Train autoencoders and GANs, and publish them as bundles of ONNX graphs.",
    result_action="return_value",
)
_console = Console()

Options = Annotated[str, Parameter(allow_leading_hyphen=True, help="--section.option value, as in --dry-run's list.")]
Repository = Annotated[Path, Parameter(help="Folder of bundles that the model is published into.")]
ModelName = Annotated[str | None, Parameter(help="The model's name in the repository; default: the preset's.")]
Runs = Annotated[Path, Parameter(help="Folder of run folders.")]
DryRun = Annotated[bool, Parameter(help="Print the resolved configuration and make nothing.", negative=())]
OtherRepository = Annotated[Path | None, Parameter(help="Folder of bundles; default: as when the run was started.")]
OtherName = Annotated[str | None, Parameter(help="The model's name; default: as when the run was started.")]
RunFolder = Annotated[Path, Parameter(help="A run's folder, such as runs/stacked-001.")]


@app.command(name="list")
def list_presets() -> int:
    """Lists the presets, what their figures must reach on Fashion-MNIST's validation images, and their time."""
    table = Table("preset", "epochs", "must reach", "time, idle CPU", box=None)
    for name, preset in PRESETS.items():
        targets = "\n".join(f"{metric} {target:g}" for metric, target in preset.targets.items())
        table.add_row(name, str(preset.config.training.num_epochs), targets, f"{preset.training_time_s} s")
    _console.print(table)
    return _OK


@app.command
def run(
    preset: str,
    *options: Options,
    dry_run: DryRun = False,
    runs: Runs = Path("runs"),
    repository: Repository = Path("models"),
    name: ModelName = None,
) -> int:
    """Trains a preset, evaluates it, publishes its bundle, and writes its report.

    Options by dotted name change the preset: latentry-train run vae --training.batch_size 64 --model.codings_size 16
    """
    config = override(_preset(preset), _options(options))
    model_name = check_model_name(name or preset)
    if dry_run:
        print(to_json(config), end="")
        return _OK
    with join_world() as world:
        dataset = load_dataset(config.data)
        check_run(config, dataset, world)
        destination = Destination(repository=repository, model_name=model_name)
        run_folder = world.share(str(start(config, destination, runs)) if world.is_first else None)
        return _train_and_finish(Path(run_folder), dataset, destination, world)


@app.command
def run_all(
    *presets: str,
    runs: Runs = Path("runs"),
    repository: Repository = Path("models"),
    results: Annotated[Path | None, Parameter(help="Markdown file to write the results into.")] = None,
) -> int:
    """Trains every preset but the quick ones, a model for each class held out, and classifiers of few labels.

    Or the PRESETS given. What is done already is skipped, what was stopped is gone on with.
    """
    check_alone("run-all")
    offered = dict.fromkeys(experiment.preset for experiment in EXPERIMENTS)
    for name in presets:
        _preset(name)
        if name not in offered:
            raise ValueError(f"run-all does not train {name}; expected some of {', '.join(offered)}")
    finished = []
    for experiment in choose_experiments(presets, runs):
        run_folder, status = _find_or_train(experiment.config, experiment.model_name, runs, repository)
        if status != _OK:
            return status
        finished.append((run_folder, experiment.change))
    if not presets and not read_comparison(runs):
        status = pretrain_classifier(runs=runs, repository=repository)
        if status != _OK:
            return status
    if results:
        write_results(
            results,
            [read_result(*run_and_change) for run_and_change in finished],
            {} if presets else read_comparison(runs),
            command=" ".join(("latentry-train run-all", *presets, f"--results {results}")),
        )
        _say("results", results)
    return _OK


@app.command
def resume(run_folder: RunFolder, *, repository: OtherRepository = None, name: OtherName = None) -> int:
    """Goes on with a run that was stopped or killed, to the same end as if it never had been."""
    destination = _destination(run_folder, repository, name)
    if is_finished(run_folder):
        _console.print(f"done already; publish again with: latentry-train export {run_folder}", soft_wrap=True)
        return _OK
    with join_world() as world:
        return _train_and_finish(run_folder, load_dataset(read_config(run_folder).data), destination, world)


@app.command
def pretrain_classifier(
    run_folder: Annotated[Path | None, Parameter(help="An autoencoder's run; default: one of --preset.")] = None,
    *,
    preset: Annotated[
        str | None, Parameter(help="The autoencoder, trained first where no run of it is done; default: conv.")
    ] = None,
    num_labels: Annotated[int, Parameter(help="Labelled images: the first so many training images.")] = 500,
    runs: Runs = Path("runs"),
    repository: Repository = Path("models"),
    name: Annotated[str, Parameter(help="The classifier's name in the repository.")] = "pretrained-classifier",
) -> int:
    """Trains a classifier on few labels: on an autoencoder's encoder, frozen and fine-tuned, and from scratch.

    Compares the three and publishes the best.
    """
    check_alone("pretrain-classifier")
    if run_folder and preset:
        raise ValueError(f"expected a run folder or --preset, got both: {run_folder} and {preset}")
    autoencoder = read_config(run_folder) if run_folder else _preset(preset or "conv")
    destination = Destination(repository=repository, model_name=check_model_name(name))
    few = with_few_labels(autoencoder, load_dataset(autoencoder.data), num_labels)
    if run_folder is None:
        run_folder, status = _find_or_train(autoencoder, autoencoder.preset, runs, repository)
        if status != _OK:
            return status
    comparison = pretrain(run_folder, few, destination, runs, _console)
    if comparison is None:
        _console.print(f"stopped; start again with: latentry-train pretrain-classifier {run_folder}", soft_wrap=True)
        return _STOPPED
    table = Table("accuracy", *comparison.finished.evaluation)
    for classifier, evaluation in comparison.evaluations.items():
        table.add_row(classifier, *(f"{figures['accuracy']:.4f}" for figures in evaluation.values()))
    _console.print(table)
    _say("best", comparison.finished.run_folder)
    _say("bundle", comparison.finished.bundle)
    _say("chart", comparison.chart)
    return _OK


@app.command
def fit_encoder(
    run_folder: Annotated[Path, Parameter(help="A GAN's run.")],
    *options: Options,
    dry_run: DryRun = False,
    runs: Runs = Path("runs"),
    repository: OtherRepository = None,
    name: OtherName = None,
) -> int:
    """Trains an encoder for a GAN, and publishes both as the model's next version: real images can be encoded.

    Options by dotted name change the encoder's training: --training.num_epochs 5 --model.pixel_weight 0
    """
    check_alone("fit-encoder")
    gan = load_gan(run_folder)
    config = configure(gan.config, _options(options))
    if dry_run:
        print(to_json(config), end="")
        return _OK
    destination = _destination(run_folder, repository, name)
    dataset = load_dataset(config.data)
    check_run(config, dataset)
    return _train_and_finish(start_with_gan(config, gan, dataset, destination, runs), dataset, destination, ALONE)


@app.command
def export(
    run_folder: RunFolder,
    *,
    repository: OtherRepository = None,
    name: OtherName = None,
    float16: Annotated[bool, Parameter(help="Store weights as float16: half the size.", negative=())] = False,
) -> int:
    """Publishes a run's model, as its last checkpoint has it, as the model's next version."""
    _say("bundle", export_run(run_folder, _destination(run_folder, repository, name), float16=float16))
    return _OK


@app.command(name="collect")
def collect_command(
    *names: Annotated[str, Parameter(help="Models; default: all, but those of quick presets.")],
    runs: Runs = Path("runs"),
    repository: Annotated[Path, Parameter(help="Folder of bundles; a model that is in it is left as it is.")] = Path(
        "models"
    ),
    max_size_mb: Annotated[float, Parameter(help="The most that the repository may take.")] = 30,
) -> int:
    """Publishes the best finished run of each model with float16 weights, and writes a table of the repository."""
    for name, bundle in collect(choose_runs(runs, names), repository):
        _say("bundle" if bundle else "there", bundle or repository / name)
    _say("table", write_catalogue(repository))
    check_size(repository, max_size_mb)
    return _OK


@app.command(name="evaluate")
def evaluate_command(run_folder: RunFolder) -> int:
    """Measures a run's model, as its last checkpoint has it, on validation and test images."""
    _print_evaluation(evaluate_run(run_folder, load_dataset(read_config(run_folder).data)))
    return _OK


def main() -> None:
    """Runs the command and exits with its status: 0 fine, 1 failed, 2 wrong use, 130 stopped by a signal."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    sys.exit(_status(sys.argv[1:]))


def _status(arguments: Sequence[str]) -> int:
    """Runs the command; errors that have a cause outside the program become one line."""
    try:
        status: int = app(arguments, exit_on_error=False, print_error=False) or _OK
    except (CycloptsError, ValueError) as error:
        return _fail(error, _USAGE)
    except (DivergedError, ExportError, MemoryError, OSError, torch.OutOfMemoryError) as error:
        return _fail(error, _FAILED)
    return status


def _fail(error: Exception, status: int) -> int:
    print(f"latentry-train: error: {error}", file=sys.stderr)
    return status


def _preset(name: str) -> RunConfig:
    """A preset's configuration."""
    if name not in PRESETS:
        close = ", ".join(get_close_matches(name, PRESETS, n=3)) or ", ".join(PRESETS)
        raise ValueError(f"unknown preset {name}; did you mean {close}?")
    return PRESETS[name].config


def _options(tokens: Sequence[str]) -> dict[str, str]:
    """`--name value`, `--name=value` and `--name`, which means true -> values by name."""
    options: dict[str, str] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise ValueError(f"unexpected argument {token}; options are given as --section.option value")
        name, has_value, value = token.removeprefix("--").partition("=")
        if not has_value:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        name = name.replace("-", "_")
        if name in options:
            raise ValueError(f"option --{name} is given twice: {options[name]!r} and {value!r}")
        options[name] = value
    return options


def _destination(run_folder: Path, repository: Path | None, name: str | None) -> Destination:
    """Where a run's model goes: where it was to go when the run was started, or where it is sent now."""
    first = read_destination(run_folder)
    return Destination(repository=repository or first.repository, model_name=check_model_name(name or first.model_name))


def _find_or_train(config: RunConfig, model_name: str, runs: Path, repository: Path) -> tuple[Path, int]:
    """The run of a configuration, found or trained or gone on with, and the exit status."""
    run_folder = find_run(runs, config)
    if run_folder and is_finished(run_folder):
        _say("done", run_folder)
        return run_folder, _OK
    destination = Destination(repository=repository, model_name=model_name)
    dataset = load_dataset(config.data)
    check_run(config, dataset)
    run_folder = run_folder or start(config, destination, runs)
    return run_folder, _train_and_finish(run_folder, dataset, destination, ALONE)


def _train_and_finish(run_folder: Path, dataset: Dataset, destination: Destination, world: World) -> int:
    """What `run` and `resume` share."""
    if not world.is_first:
        return _OK if train_run(run_folder, dataset, _console, world) else _STOPPED
    _say("run", run_folder)
    with lock(run_folder):
        if not train_run(run_folder, dataset, _console, world):
            _console.print(f"stopped; go on with: latentry-train resume {run_folder}", highlight=False, soft_wrap=True)
            return _STOPPED
        try:
            with _console.status("measuring, exporting, drawing the report"):
                finished = finish(run_folder, dataset, destination)
        except OSError as error:
            raise OSError(f"{error}; training is done, go on with: latentry-train resume {run_folder}") from error
    _print_evaluation(finished.evaluation)
    _say("bundle", finished.bundle)
    _say("report", finished.report)
    return _OK


def _print_evaluation(evaluation: Evaluation) -> None:
    """A table of figures, a column a split; some are of one split only."""
    table = Table("figure", *evaluation)
    for name in dict.fromkeys(name for figures in evaluation.values() for name in figures):
        table.add_row(name, *(f"{figures[name]:.4f}" if name in figures else "" for figures in evaluation.values()))
    _console.print(table)


def _say(what: str, path: Path) -> None:
    """A line that says where something is."""
    _console.print(f"{what:<8}{path}", highlight=False, soft_wrap=True)
