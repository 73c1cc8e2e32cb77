"""What people read of a bundle: its card, README.md, and its picture."""

import inspect
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from latentry.v1 import manifest_pb2
from PIL import Image

from latentry_trainer.config import RunConfig, option_values, to_dict
from latentry_trainer.export.float16 import FLOAT16_TOLERANCE, has_float16_weights
from latentry_trainer.presets import PRESETS, without_cpu
from latentry_trainer.report.figures import Figure, describe
from latentry_trainer.report.markdown import render
from latentry_trainer.variants import VARIANTS, Autoencoder, Classifier, Denoising, EncoderClassifier, GANEncoder

CARD_FILE = "README.md"
PICTURE_FILE = "picture.png"

_GRIDS = ("denoising", "reconstructions", "samples", "classes")  # those of a run that are shown, from top to bottom
_GAP_PX = 8
_NUM_GREYS = 16  # four bits a pixel: half the file, and no difference to the eye in pictures as small as these

# How each operation is called, by capability.
_COMMANDS = {
    "ENCODE": "latentry encode {name} photos/ --output codings.npy",
    "DECODE": "latentry decode {name} codings.npy --output images.png",
    "RECONSTRUCT": "latentry reconstruct {name} photos/ --output images.png",
    "DENOISE": "latentry denoise {name} photos/ --output images.png",
    "SAMPLE": "latentry sample {name} --count 64 --seed 42 --output samples.png",
    "INTERPOLATE": "latentry interpolate {name} --start seeds:1-4 --end seeds:5-8 --output ways.png",
    "SCORE": "latentry score {name} photos/",
    "STYLE_MIX": "latentry style-mix {name} --rows seeds:1-4 --columns seeds:5-9 --layers 0-1 --output grid.png",
    "CLASSIFY": "latentry classify {name} photos/",
}
_TAKING_LABELS = {"DECODE", "INTERPOLATE"}  # of conditional models; Sample draws those that it is not given

_LICENCES = {
    "fashion-mnist": "Fashion-MNIST is © Zalando SE, MIT licence.",
    "digits": "The digits are those of the UCI repository (Alpaydin & Kaynak 1998), CC BY 4.0.",
}


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    role: str
    size_kb: int
    weights: str


def make_card(
    manifest: manifest_pb2.Manifest, graphs: Mapping[str, bytes], config: RunConfig, *, has_picture: bool
) -> bytes:
    """Returns a bundle's card as Markdown.

    Args:
        manifest: The bundle's; its version is not looked at.
        graphs: The graphs' files, by name.
        config: What the model was trained by.
        has_picture: Whether the picture lies beside the card.
    """
    preset = config.model.gan.preset if isinstance(config.model, GANEncoder.Config) else config.preset
    gpu_preset = without_cpu(preset)
    card = render(
        "card.md.j2",
        manifest=manifest,
        provenance=manifest.provenance,
        published=manifest.provenance.create_time.ToDatetime().date(),
        description=describe_variant(manifest.variant),
        picture=PICTURE_FILE if has_picture else None,
        command=training_command(config, manifest.name),
        figures=figures_of(manifest),
        commands=list(_commands(manifest)),
        files=[_describe_file(graph, graphs[graph.file]) for graph in manifest.graphs],
        has_float16=any(has_float16_weights(content) for content in graphs.values()),
        float16_tolerance=FLOAT16_TOLERANCE,
        has_score=manifest.HasField("score"),
        gpu_preset=gpu_preset if manifest.provenance.device == "cpu" and gpu_preset != preset else None,
        licence=_LICENCES.get(manifest.provenance.dataset),
    )
    return card.encode()


def make_picture(grids: Path) -> bytes | None:
    """Returns a run's last grids, one above the other, as a PNG; None where there is none to show.

    Args:
        grids: The run's folder of `<picture>-<images seen>.png`.
    """
    found = (sorted(grids.glob(f"{name}-[0-9]*.png")) for name in _GRIDS)
    images = [Image.open(paths[-1]) for paths in found if paths]
    if not images:
        return None
    height = sum(image.height + _GAP_PX for image in images) - _GAP_PX
    picture = Image.new(images[0].mode, (max(image.width for image in images), height), "white")
    top = 0
    for image in images:
        picture.paste(image, (0, top))
        top += image.height + _GAP_PX
    content = BytesIO()
    (picture.quantize(_NUM_GREYS) if picture.mode == "L" else picture).save(content, "PNG", optimize=True)
    return content.getvalue()


def training_command(config: RunConfig, model_name: str) -> str:
    """Returns the command that trains such a model again: the preset, and the options that differ from it."""
    if isinstance(config.model, EncoderClassifier.Config):
        words = ["pretrain-classifier", "--preset", config.model.autoencoder.preset]
        return shlex.join(["latentry-train", *words, "--num-labels", str(config.data.num_train_images)])
    if isinstance(config.model, GANEncoder.Config):
        gan = config.model.gan
        usual_config = replace(config, model=GANEncoder.Config(gan=gan), training=gan.training)
        words = ["fit-encoder", f"runs/{gan.preset}-001", *_changes(config, usual_config)]
        return f"{training_command(gan, model_name)} && {shlex.join(['latentry-train', *words])}"
    words = [config.preset, *_changes(config, PRESETS[config.preset].config)]
    if model_name != config.preset:
        words += ["--name", model_name]
    return shlex.join(["latentry-train", "run", *words])


def describe_variant(name: str) -> str:
    """Returns what a kind of model is, in a sentence."""
    return (inspect.getdoc(VARIANTS[name]) or "").partition("\n")[0]


def figures_of(manifest: manifest_pb2.Manifest) -> list[Figure]:
    """Returns a bundle's figures, in their usual order."""
    evaluation: dict[str, dict[str, float]] = {}
    for metric in manifest.metrics:
        evaluation.setdefault(metric.split, {})[metric.name] = metric.value
    return describe(evaluation, {})


def main_figure(variant: str, measured: Collection[str]) -> str | None:
    """Returns the name of the figure that a kind of model is judged by, of those measured; None where none of them is.

    Classifiers by their accuracy, denoising autoencoders by what they denoise, other autoencoders by their
    reconstructions, and what is made to sample (VAEs, GANs) by its samples.
    """
    kind = VARIANTS[variant]
    if issubclass(kind, Classifier):
        names = ["accuracy"]
    elif issubclass(kind, Denoising):
        names = ["denoised_psnr_db"]
    elif issubclass(kind, Autoencoder) and kind.fits_prior:
        names = ["mse"]
    else:
        names = ["fcd", "sample_std_rmse"]  # the second where the images are not those of our classifier
    return next((name for name in names if name in measured), None)


def _commands(manifest: manifest_pb2.Manifest) -> Iterator[str]:
    """One for each capability."""
    is_conditional = any(tensor.name == "labels" for graph in manifest.graphs for tensor in graph.inputs)
    for value in manifest.capabilities:
        capability = manifest_pb2.Capability.Name(value).removeprefix("CAPABILITY_")
        labels = " --labels 0" if is_conditional and capability in _TAKING_LABELS else ""
        yield _COMMANDS[capability].format(name=manifest.name) + labels


def _describe_file(graph: manifest_pb2.Graph, content: bytes) -> _File:
    return _File(
        name=graph.file,
        role=manifest_pb2.GraphRole.Name(graph.role).removeprefix("GRAPH_ROLE_").lower(),
        size_kb=round(len(content) / 1000),
        weights="float16" if has_float16_weights(content) else "float32",
    )


def _changes(config: RunConfig, usual_config: RunConfig) -> Iterator[str]:
    """The options that differ from the usual ones, as they are typed; those without a value are left out."""
    usual = dict(option_values(to_dict(usual_config)))
    for name, value in option_values(to_dict(config)):
        if value is not None and usual.get(name) != value:
            yield from (f"--{name}", _typed(value))


def _typed(value: object) -> str:
    """An option's value as it is typed."""
    match value:
        case list():
            return ",".join(map(str, value))
        case bool():
            return str(value).lower()
    return str(value)
