"""One HTML file that shows a whole run, without any other file or the network."""

import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from latentry_trainer.config import option_values
from latentry_trainer.report.alarms import collect_spells
from latentry_trainer.report.codings import ACTIVATIONS_FILE, MAP_FILE
from latentry_trainer.report.curves import collect_curves, draw_curves
from latentry_trainer.report.figures import describe
from latentry_trainer.report.pictures import NUM_COLUMNS
from latentry_trainer.report.tables import tabulate_information, tabulate_stages
from latentry_trainer.report.timelapse import TIMELAPSE_FILE
from latentry_trainer.training.log import METRICS_FILE, Metrics, read_metrics

_CAPTIONS = {
    "reconstructions": "In turn a row of originals and a row of their reconstructions.",
    "denoising": "In turn a row of originals, of corrupted and of denoised images.",
    "interpolation": (
        "Every third image of every third row is a reconstruction; those between are decoded from codings "
        "between theirs."
    ),
    "samples": "New images, drawn from the same codings each time.",
    "mixing": (
        "In the first row and the first column are sources. The others are the row's source with styles of the "
        "column's: in the first two rows those of the coarse layers, in the next two of the middle ones, in the last "
        "two of the fine ones."
    ),
    "classes": "Images in the order of the classes that they are taken for.",
}
_MAX_EARLIER = 6


def write_report(
    run_folder: Path, *, facts: Mapping[str, str], targets: Mapping[str, float], sampled_classes: Sequence[str] = ()
) -> Path:
    """Writes `report.html` into a run folder from what else is there, and returns its path.

    Args:
        run_folder: Holds config.json; shown where they exist: evaluation.json ({split: {name: value}}), metrics.jsonl,
            grids/<picture>-<images seen>.png, timelapse.webp, tsne.png and activations.png.
        facts: What stands at the top, by name: data set, device, training time …
        targets: What figures should reach, by the figure's name.
        sampled_classes: Names of the classes that samples are drawn of, where the model takes labels.
    """
    configuration = json.loads((run_folder / "config.json").read_text())
    evaluation_file = run_folder / "evaluation.json"
    evaluation = json.loads(evaluation_file.read_text()) if evaluation_file.exists() else {}
    metrics = list(read_metrics(run_folder)) if (run_folder / METRICS_FILE).exists() else []
    environment = Environment(
        loader=PackageLoader("latentry_trainer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.j2").render(
        title=configuration["preset"],
        facts=facts,
        figures=describe(evaluation, targets),
        splits=list(evaluation),
        has_targets=bool(targets),
        alarms=collect_spells(metrics),
        tables=[*tabulate_information(evaluation), *tabulate_stages(metrics)],
        pictures=_pictures(run_folder / "grids", sampled_classes),
        timelapse=_picture(run_folder / TIMELAPSE_FILE),
        codings_map=_picture(run_folder / MAP_FILE),
        activations=_picture(run_folder / ACTIVATIONS_FILE),
        curves=_curves(metrics),
        options=[(name, json.dumps(value, ensure_ascii=False)) for name, value in option_values(configuration)],
    )
    path = run_folder / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


@dataclass(frozen=True, kw_only=True)
class _Grid:
    images_seen: int
    uri: str


@dataclass(frozen=True, kw_only=True)
class _Picture:
    name: str
    caption: str
    last: _Grid
    earlier: list[_Grid]


def _pictures(folder: Path, sampled_classes: Sequence[str]) -> list[_Picture]:
    captions = dict(_CAPTIONS)
    if sampled_classes:
        captions["samples"] += f" Each column is of one class: {', '.join(sampled_classes[:NUM_COLUMNS])}."
    paths: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("*-*.png")):
        paths[path.stem.rpartition("-")[0]].append(path)
    pictures = []
    for name in sorted(paths, key=[*_CAPTIONS, *paths].index):
        *earlier, last = (
            _Grid(images_seen=_images_seen(path), uri=_data_uri(path.read_bytes())) for path in _some(paths[name])
        )
        pictures.append(_Picture(name=name, caption=captions.get(name, ""), last=last, earlier=earlier))
    return pictures


def _some(paths: list[Path]) -> list[Path]:
    """The last and a few evenly spaced ones before it: a long run's report stays small."""
    step = max(1, -(-(len(paths) - 1) // _MAX_EARLIER))
    return paths[::-1][::step][::-1]


def _images_seen(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _picture(path: Path) -> str | None:
    return _data_uri(path.read_bytes(), path.suffix.removeprefix(".")) if path.exists() else None


def _curves(metrics: list[Metrics]) -> str | None:
    panels = collect_curves(metrics)
    return _data_uri(draw_curves(panels)) if panels else None


def _data_uri(picture: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{b64encode(picture).decode()}"
