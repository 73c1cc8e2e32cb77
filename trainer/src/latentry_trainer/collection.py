"""The command `collect`: a repository of the best finished runs, small enough to be kept beside the code."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from latentry.v1.manifest_pb2 import Manifest

from latentry_trainer import files
from latentry_trainer.cards import CARD_FILE, PICTURE_FILE, describe_variant, figures_of, main_figure
from latentry_trainer.report.figures import is_higher_better
from latentry_trainer.report.markdown import render
from latentry_trainer.run import export_run
from latentry_trainer.run_folder import EVALUATION_FILE, Destination, is_finished, read_destination
from latentry_trainer.training.trained import CONFIG_FILE, read_config
from latentry_trainer.variants import VARIANTS, GANEncoder

_MANIFEST_FILE = "manifest.json"
_MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class _Row:
    name: str
    version: int
    picture: str | None
    variant: str
    description: str
    preset: str
    figure: str
    device: str
    size_kb: int


def choose_runs(runs: Path, names: Sequence[str] = ()) -> Mapping[str, Path]:
    """Finds the best finished run of each model.

    A model's runs are those that were to be published under its name. The best of them has the best `main_figure` on
    validation images; a GAN with an encoder comes before those without, since it can do more.

    Args:
        runs: Folder of run folders, those of `pretrain-classifier` one level deeper.
        names: Of the models; none: all but those of quick presets and those that have not seen every class.

    Returns:
        Run folders by the model's name, in the order of the names.

    Raises:
        ValueError: A model of `names` has no finished run, or a run's folder is damaged.
    """
    found: dict[str, list[Path]] = {}
    for run_folder in _finished_runs(runs):
        name, config = read_destination(run_folder).model_name, read_config(run_folder)
        is_usual = not config.preset.endswith("-quick") and config.data.held_out_label is None
        if name in names if names else is_usual:
            found.setdefault(name, []).append(run_folder)
    missing = [name for name in names if name not in found]
    if missing or not found:
        raise ValueError(f"{runs} has no finished run of {', '.join(missing) or 'a preset'}")
    return {name: max(found[name], key=_merit) for name in sorted(found)}


def collect(runs: Mapping[str, Path], repository: Path) -> Iterator[tuple[str, Path | None]]:
    """Publishes runs with float16 weights; what the repository has of a name is left as it is.

    Args:
        runs: Run folders by the model's name.
        repository: Folder of bundles, made where it does not exist.

    Yields:
        Each name as it is done, with the version's folder; None where the repository had the model.

    Raises:
        ExportError: A run's graphs do not compute what its model does; what was published before stays.
        OSError: The repository cannot be written.
    """
    for name, run_folder in runs.items():
        if _versions(repository / name):
            yield name, None
        else:
            destination = Destination(repository=repository, model_name=name)
            yield name, export_run(run_folder, destination, float16=True)


def write_catalogue(repository: Path) -> Path:
    """Writes the repository's README.md, a table of its models with their pictures, and returns its path."""
    newest = [versions[-1] for folder in sorted(repository.iterdir()) if (versions := _versions(folder))]
    rows = [_describe(version) for version in newest]
    page = render("catalogue.md.j2", models=rows, folder=repository.name, size_mb=size_of(repository) / _MB)
    path = repository / CARD_FILE
    files.replace(path, page.encode())
    return path


def check_size(repository: Path, max_size_mb: float) -> None:
    """Refuses a repository that is too large to be kept beside the code.

    Raises:
        ValueError: It is; the message names the largest models.
    """
    size_mb = size_of(repository) / _MB
    if size_mb > max_size_mb:
        models = sorted((folder for folder in repository.iterdir() if folder.is_dir()), key=size_of, reverse=True)
        largest = ", ".join(f"{folder.name} {size_of(folder) / _MB:.1f} MB" for folder in models[:5])
        raise ValueError(
            f"{repository}: expected at most {max_size_mb:g} MB, got {size_mb:.1f}; the largest: {largest}"
        )


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _merit(run_folder: Path) -> tuple[bool, float]:
    """Whether a run's GAN has an encoder, and how good its main figure is on validation images; higher is better."""
    variant = read_config(run_folder).variant
    has_encoder = issubclass(VARIANTS[variant], GANEncoder)
    validation = json.loads((run_folder / EVALUATION_FILE).read_text())["validation"]
    name = main_figure(variant, validation)
    if name is None:
        return has_encoder, -math.inf
    return has_encoder, float(validation[name]) if is_higher_better(name) else -float(validation[name])


def _finished_runs(runs: Path) -> Iterator[Path]:
    found = [path.parent for pattern in ("*", "*/*") for path in runs.glob(f"{pattern}/{CONFIG_FILE}")]
    return (run_folder for run_folder in sorted(found) if is_finished(run_folder))


def _versions(model_folder: Path) -> list[Path]:
    """Versions' folders, the newest last."""
    return sorted(
        (path.parent for path in model_folder.glob(f"[1-9]*/{_MANIFEST_FILE}")), key=lambda path: int(path.name)
    )


def _describe(version: Path) -> _Row:
    manifest = json_format.Parse((version / _MANIFEST_FILE).read_bytes(), Manifest())
    figures = {figure.name: figure for figure in figures_of(manifest)}
    name = main_figure(manifest.variant, figures)
    return _Row(
        name=manifest.name,
        version=manifest.version,
        picture=f"{manifest.name}/{manifest.version}/{PICTURE_FILE}" if (version / PICTURE_FILE).is_file() else None,
        variant=manifest.variant,
        description=describe_variant(manifest.variant),
        preset=manifest.preset,
        figure=f"{name} {figures[name].values['validation']:.4g}" if name else "",
        device=manifest.provenance.device,
        size_kb=round(size_of(version) / 1000),
    )
