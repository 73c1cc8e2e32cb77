"""One page over many runs: their figures in tables, beside plots and samples."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from latentry_trainer.config import RunConfig
from latentry_trainer.report.curves import Curve
from latentry_trainer.report.figures import describe
from latentry_trainer.report.markdown import render
from latentry_trainer.report.results_plots import draw_cross_entropies, draw_distances, draw_sample_rows
from latentry_trainer.training.log import Metrics

_CODINGS = ("mse", "psnr_db", "probe_accuracy")
_DENOISING = ("noisy_psnr_db", "denoised_psnr_db", "psnr_db")
_SAMPLES = ("fcd", "kid", "precision", "recall", "density", "coverage", "smallest_class_share", "label_accuracy")
_STORY = ("smallest_class_share", "class_entropy_nats", "fcd", "precision", "recall")
_LIKELIHOOD = ("elbo_nats", "log_likelihood_nats")
_ANCHORS = {"*training images*": "_floor", "*uniform noise*": "_ceiling"}
_ANOMALIES = ("auroc", "anomaly_recall", "false_alarm_rate")
_CURVE = "bce"  # what most autoencoders have in common

_COVERED_SHARE = 0.03  # of the samples in the rarest of ten classes: then all are covered

# The deck's story: its GAN, and what is done against its collapse, one thing at a time.
_MITIGATIONS = {
    "gan": "the deck's, non-saturating loss",
    "gan-r1": "R1 penalty on the critic's slope at images",
    "wgan": "Wasserstein loss, weights clipped",
    "wgan-gp": "Wasserstein loss, gradient penalty",
    "gan-replay": "experience replay",
    "gan-minibatch": "minibatch discrimination",
    "cgan": "labels for both networks",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run."""

    config: RunConfig
    """Its configuration."""
    targets: Mapping[str, float]
    """What its figures must reach on the validation split, by name."""
    evaluation: Mapping[str, Mapping[str, float]]
    """Its figures: {split: {name: value}}."""
    metrics: Sequence[Metrics]
    """Its log."""
    images_seen: int
    """Training images shown, repeats counted."""
    kept_images_seen: int
    """How many of them the weights that are kept had seen: all, or those to the best epoch."""
    wall_time_s: float
    """Training time, validation after each epoch included."""
    device: str
    """`cpu`, or the GPU's name."""
    change: str = ""
    """What is changed in the preset, in words; empty: nothing."""
    samples: Path | None = None
    """The last grid of its samples, in rows of 10; None where it has none."""

    @property
    def validation(self) -> Mapping[str, float]:
        """The figures on the validation split."""
        return self.evaluation["validation"]


@dataclass(frozen=True, kw_only=True)
class _Table:
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def write_results(
    path: Path,
    results: Sequence[Result],
    pretraining: Mapping[str, Mapping[str, Mapping[str, float]]],
    *,
    command: str,
) -> None:
    """Writes the page as Markdown, and its plots into the folder `images` beside it, under the page's name.

    Args:
        path: The page.
        results: At least one finished run, in the order in which they are shown.
        pretraining: Figures of classifiers of few labels, {encoder: {split: {name: value}}}; may be empty.
        command: What makes the page.
    """
    images = path.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    usual = [result for result in results if not result.change]
    held_out = [result for result in results if result.config.data.held_out_label is not None]
    story = [result for name in _MITIGATIONS for result in usual if result.config.preset == name]
    with_curve = [result for result in usual if _CURVE in result.validation]
    sampling = [result for result in usual if "fcd" in result.validation]
    if with_curve:
        curves = {result.config.preset: _curve(result) for result in with_curve}
        draw_cross_entropies(images / f"{path.stem}-curves.png", curves)
    if sampling:
        distances = {result.config.preset: result.validation["fcd"] for result in sampling}
        anchors = sampling[0].validation  # they are the same for all
        draw_distances(
            images / f"{path.stem}-samples.png",
            distances,
            floor=anchors["fcd_floor"],
            ceiling=anchors["fcd_ceiling"],
        )
    rows = {result.config.preset: result.samples for result in story if result.samples}
    if rows:
        draw_sample_rows(images / f"{path.stem}-story.png", rows)
    path.write_text(
        render(
            "results.md.j2",
            page=path.stem,
            command=command,
            machine=_machine(),
            devices=sorted({result.device for result in results}),
            seeds=sorted({result.config.training.seed for result in results}),
            targets=_table_of_targets(usual),
            codings=_table_of_figures(usual, _CODINGS),
            denoising=_table_of_figures(
                [result for result in usual if "noisy_psnr_db" in result.validation], _DENOISING
            ),
            has_curves=bool(with_curve),
            samples=_table_of_samples(sampling),
            story=_table_of_story(story),
            has_sample_rows=bool(rows),
            techniques=_table_of_figures(_techniques(results), _SAMPLES, name=_changed),
            likelihood=_table_of_figures(usual, _LIKELIHOOD),
            anomalies=_table_of_figures(held_out, _ANOMALIES, split="test", name=_held_out),
            pretraining=_table_of_pretraining(pretraining),
            times=_table_of_times(usual),
        ),
        encoding="utf-8",
    )


def _table_of_targets(results: Sequence[Result]) -> _Table:
    rows: list[tuple[str, ...]] = []
    for result in results:
        for figure in describe(result.evaluation, result.targets):
            if figure.target:
                reached = {True: "yes", False: "**no**", None: ""}[figure.reached]
                values = (_number(figure.values.get(split)) for split in ("validation", "test"))
                rows.append((f"`{result.config.preset}`", figure.name, figure.target, *values, reached))
    return _Table(columns=("preset", "figure", "must reach", "validation", "test", "reached"), rows=rows)


def _table_of_figures(
    results: Sequence[Result],
    names: Sequence[str],
    *,
    split: str = "validation",
    name: Callable[[Result], str] = lambda result: f"`{result.config.preset}`",
) -> _Table:
    """A row a run that has any of the figures, a column a figure."""
    rows = [
        (name(result), *(_number(result.evaluation[split].get(figure)) for figure in names))
        for result in results
        if any(figure in result.evaluation[split] for figure in names)
    ]
    return _Table(columns=("", *names), rows=rows)


def _table_of_samples(results: Sequence[Result]) -> _Table:
    """With whether all classes are covered, a row for real images in the samples' place, and one for noise."""
    rows = [(f"`{result.config.preset}`", result.validation, "") for result in results]
    for result in results[:1]:  # they are the same for all
        rows += [(words, result.validation, suffix) for words, suffix in _ANCHORS.items()]
    return _Table(
        columns=("", *_SAMPLES, "all classes"),
        rows=[
            (
                name,
                *(_number(figures.get(figure + suffix)) for figure in _SAMPLES),
                "yes" if figures.get(f"smallest_class_share{suffix}", 0) >= _COVERED_SHARE else "no",
            )
            for name, figures, suffix in rows
        ],
    )


def _table_of_story(results: Sequence[Result]) -> _Table:
    rows: list[tuple[str, ...]] = [
        (
            f"`{result.config.preset}`",
            _MITIGATIONS[result.config.preset],
            *(_number(result.validation.get(figure)) for figure in _STORY),
            f"{_thousands(result.kept_images_seen)} of {_thousands(result.images_seen)}",
        )
        for result in results
    ]
    return _Table(columns=("preset", "what is different", *_STORY, "best after images"), rows=rows)


def _techniques(results: Sequence[Result]) -> list[Result]:
    """Runs of a preset from which one technique after the other is left out, the whole one first."""
    changed = [result for result in results if result.change and result.config.data.held_out_label is None]
    presets = {result.config.preset for result in changed}
    return [result for result in results if not result.change and result.config.preset in presets] + changed


def _table_of_pretraining(evaluations: Mapping[str, Mapping[str, Mapping[str, float]]]) -> _Table:
    rows: list[tuple[str, ...]] = [
        (name, *(_number(evaluation[split]["accuracy"]) for split in ("validation", "test")))
        for name, evaluation in evaluations.items()
    ]
    return _Table(columns=("encoder", "accuracy, validation", "accuracy, test"), rows=rows)


def _table_of_times(results: Sequence[Result]) -> _Table:
    rows: list[tuple[str, ...]] = [
        (
            f"`{result.config.preset}`",
            f"{result.config.training.optimizer.name}, {result.config.training.batch_size}",
            _thousands(result.images_seen),
            f"{result.wall_time_s:.0f} s",
            f"{result.images_seen / result.wall_time_s / 1000:.1f}",
            result.device,
        )
        for result in results
    ]
    return _Table(
        columns=("preset", "optimiser, batch", "images seen", "training", "thousand images/s", "device"), rows=rows
    )


def _held_out(result: Result) -> str:
    return f"class {result.config.data.held_out_label}"


def _changed(result: Result) -> str:
    return result.change or f"`{result.config.preset}`"


def _number(value: float | None) -> str:
    """Four decimals up to 10, two above; nothing for none."""
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _curve(result: Result) -> Curve:
    """Validation cross-entropy over images seen."""
    return [
        (line.images_seen, line.values[_CURVE])
        for line in result.metrics
        if line.split == "validation" and _CURVE in line.values
    ]


def _machine() -> str:
    """What the page was made on: processor, cores, PyTorch."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line.partition(": ")[2] for line in _lines(cpuinfo) if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores of {name}, PyTorch {version('torch')}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
