"""One page over many runs: their figures in tables, beside two plots."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from latentry_trainer.config import RunConfig
from latentry_trainer.report.curves import Curve
from latentry_trainer.report.figures import describe
from latentry_trainer.report.results_plots import draw_cross_entropies, draw_distances
from latentry_trainer.training.log import Metrics

_CODINGS = ("mse", "psnr_db", "probe_accuracy")
_DENOISING = ("noisy_psnr_db", "denoised_psnr_db", "psnr_db")
_SAMPLES = ("fcd", "kid", "precision", "recall", "density", "coverage", "smallest_class_share")
_LIKELIHOOD = ("elbo_nats", "log_likelihood_nats")
_ANOMALIES = ("auroc", "anomaly_recall", "false_alarm_rate")
_CURVE = "bce"  # what most autoencoders have in common


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
    wall_time_s: float
    """Training time, validation after each epoch included."""
    device: str
    """`cpu`, or the GPU's name."""

    @property
    def validation(self) -> Mapping[str, float]:
        """The figures on the validation split."""
        return self.evaluation["validation"]


@dataclass(frozen=True, kw_only=True)
class _Table:
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def write_results(
    path: Path, results: Sequence[Result], pretraining: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> None:
    """Writes the page as Markdown, and its plots into the folder `images` beside it.

    Args:
        path: The page.
        results: At least one finished run, in the order in which they are shown.
        pretraining: Figures of classifiers of few labels, {encoder: {split: {name: value}}}; may be empty.
    """
    images = path.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    usual = [result for result in results if result.config.data.held_out_label is None]
    held_out = [result for result in results if result.config.data.held_out_label is not None]
    with_curve = [result for result in usual if _CURVE in result.validation]
    sampling = [result for result in usual if "fcd" in result.validation]
    if with_curve:
        curves = {result.config.preset: _curve(result) for result in with_curve}
        draw_cross_entropies(images / "results-curves.png", curves)
    if sampling:
        distances = {result.config.preset: result.validation["fcd"] for result in sampling}
        anchors = sampling[0].validation  # they are the same for all
        draw_distances(
            images / "results-samples.png",
            distances,
            floor=anchors["fcd_floor"],
            ceiling=anchors["fcd_ceiling"],
        )
    environment = Environment(
        loader=PackageLoader("latentry_trainer.report"),
        autoescape=False,  # noqa: S701 (Markdown of our own names and numbers)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    path.write_text(
        environment.get_template("results.md.j2").render(
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
    """With a row for real images in the samples' place, and one for noise."""
    table = _table_of_figures(results, _SAMPLES)
    for result in results[:1]:  # they are the same for all
        for words, suffix in (("*training images*", "_floor"), ("*uniform noise*", "_ceiling")):
            table.rows.append((words, *(_number(result.validation.get(name + suffix)) for name in _SAMPLES)))
    return table


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
            _thousands(round(result.images_seen / result.wall_time_s)),
        )
        for result in results
    ]
    return _Table(columns=("preset", "optimiser, batch", "images seen", "training", "images/s"), rows=rows)


def _held_out(result: Result) -> str:
    return f"class {result.config.data.held_out_label}"


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
