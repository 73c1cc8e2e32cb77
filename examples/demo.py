"""Trains four models on Fashion-MNIST, serves them, calls them, and leaves demo/index.html with pictures.

Run by `make demo`. What an earlier run has trained is used again.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from latentry_client import Client
from latentry_client.results import Model
from latentry_trainer.config import DataConfig
from latentry_trainer.data import Dataset, load_dataset
from latentry_trainer.report.grids import write_grid
from latentry_trainer.report.tsne import embed, write_map
from numpy.typing import NDArray

FOLDER = Path("demo")
REPOSITORY = FOLDER / "models"
RUNS = FOLDER / "runs"
PAGE = FOLDER / "index.html"
COMMANDS = Path(sys.executable).parent  # latentry, latentry-server, latentry-train
PRESETS = {
    "stacked": "stacked-quick",
    "denoise-gaussian": "denoise-gaussian-quick",
    "vae": "vae-quick",
    "gan": "gan-quick",
}
SEED = 42
NOISE_STD = 0.2  # what denoise-gaussian was trained on
START_TIMEOUT_S = 60

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """A picture of the page; `smooth` pictures are no pixel grids."""

    file: str
    caption: str
    smooth: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page: pictures, and the code that made them."""

    title: str
    text: str
    code: str
    pictures: tuple[Picture, ...]


def main() -> None:
    """Train, serve, call, show."""
    start_s = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    for name, preset in PRESETS.items():
        train(name, preset)
    dataset = load_dataset(DataConfig())
    with serve() as address, Client(address, wait_for_ready=True) as client:
        models = client.list_models()
        sections = [
            reconstructions(client, dataset),
            denoising(client, dataset),
            samples(address),
            interpolation(client, dataset),
            codings_map(client, dataset),
        ]
    write_page(models, sections)
    print_summary(time.monotonic() - start_s)


def train(name: str, preset: str) -> None:
    """Train a preset and publish its bundle, where no earlier run has."""
    if (REPOSITORY / name).is_dir():
        print(f"{name}: trained before, in {REPOSITORY / name}")
        return
    folders = ["--repository", str(REPOSITORY), "--runs", str(RUNS)]
    subprocess.run([COMMANDS / "latentry-train", "run", preset, "--name", name, *folders], check=True)


@contextmanager
def serve() -> Iterator[str]:
    """Run the server on a free port and yield its address."""
    command = [str(COMMANDS / "latentry-server"), "--repository", str(REPOSITORY), "--port", "0", "--metrics-port", "0"]
    with (FOLDER / "server.log").open("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            yield wait_for_address(server, Path(log.name))
        finally:
            server.terminate()


def wait_for_address(server: subprocess.Popen[bytes], log: Path) -> str:
    """Read the address from the line that the server starts with."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and server.poll() is None:
        if found := re.search(r"listening on (\S+:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def reconstructions(client: Client, dataset: Dataset) -> Section:
    """Originals above, what the stacked autoencoder makes of them below."""
    originals = test_images(dataset, 12)
    outputs = client.reconstruct("stacked", originals).outputs
    return Section(
        "Reconstructions",
        "784 pixels become a coding of 30 numbers and come back: originals above, reconstructions below.",
        'client.reconstruct("stacked", images).outputs',
        (grid("reconstructions.png", np.concatenate([originals, outputs]), 12, "stacked autoencoder"),),
    )


def denoising(client: Client, dataset: Dataset) -> Section:
    """Noisy images above, denoised below."""
    originals = test_images(dataset, 12)
    noise = np.random.default_rng(SEED).normal(0, NOISE_STD, originals.shape)
    noisy = np.clip(originals + noise, 0, 1).astype(np.float32)
    outputs = client.denoise("denoise-gaussian", noisy).outputs
    return Section(
        "Denoising",
        f"Images that the model has never seen, with Gaussian noise of standard deviation {NOISE_STD}, and what it"
        " makes of them.",
        'client.denoise("denoise-gaussian", noisy).outputs',
        (grid("denoising.png", np.concatenate([noisy, outputs]), 12, "denoising autoencoder"),),
    )


def samples(address: str) -> Section:
    """Samples of VAE and GAN, by the command line."""
    pictures, shown = [], []
    for model in ("vae", "gan"):
        file = f"{model}-samples.png"
        arguments = ["sample", model, "--count", "64", "--seed", str(SEED), "--output", str(FOLDER / file)]
        subprocess.run([COMMANDS / "latentry", *arguments, "--address", address], check=True)
        shown.append(shlex.join(["latentry", *arguments]))
        pictures.append(Picture(file, f"{model.upper()}, seed {SEED}"))
    return Section(
        "Samples",
        "New images from a seed: the same seed gives the same images, on any machine and at any batch size.",
        "\n".join(shown),
        tuple(pictures),
    )


def interpolation(client: Client, dataset: Dataset) -> Section:
    """Ways between images of different classes, through the VAE's codings."""
    images = test_images(dataset, 8)
    ways = client.interpolate("vae", start=images[:4], end=images[4:], steps=12).outputs
    return Section(
        "Interpolation",
        "Each row goes from the coding of one test image to that of another, every point a plausible image.",
        'client.interpolate("vae", start=a, end=b, steps=12).outputs',
        (grid("interpolation.png", ways.reshape(-1, *dataset.input_shape), 12, "VAE"),),
    )


def codings_map(client: Client, dataset: Dataset) -> Section:
    """A t-SNE map of the stacked autoencoder's codings."""
    images = test_images(dataset, 1000)
    labels = dataset.labels_of("test")
    assert labels is not None
    points = embed(client.encode("stacked", images).codings)
    write_map(FOLDER / "codings.png", points, labels[:1000].numpy(), dataset.label_names, images)
    return Section(
        "Map of the codings",
        "1 000 test images, placed by t-SNE on their codings alone. The autoencoder has never seen a label, and yet the"
        " classes part.",
        'codings = client.encode("stacked", images).codings\npoints = sklearn.manifold.TSNE().fit_transform(codings)',
        (Picture("codings.png", "stacked autoencoder", smooth=True),),
    )


def test_images(dataset: Dataset, count: int) -> Images:
    """The first test images, [count, 1, 28, 28] in [0, 1]."""
    return np.asarray(dataset.images_of("test")[:count].numpy() / 255, np.float32)


def grid(file: str, images: Images, num_columns: int, caption: str) -> Picture:
    """Write images [N, C, H, W] as a grid."""
    write_grid(FOLDER / file, images, num_columns=num_columns)
    return Picture(file, caption)


def write_page(models: list[Model], sections: list[Section]) -> None:
    """Render the page."""
    template = Path(__file__).with_name("demo.html.j2").read_text()
    rows = [
        {
            "name": f"{model.name}/{model.version}",
            "preset": model.preset,
            "images_seen": model.manifest.provenance.images_seen,
            "wall_time_s": model.manifest.provenance.wall_time_s,
            "metrics": ", ".join(
                f"{metric.name} {metric.value:.4f}" for metric in model.metrics if metric.split == "validation"
            ),
        }
        for model in models
        if model.manifest is not None
    ]
    device = next((model.manifest.provenance.device for model in models if model.manifest), "")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template).render(
        models=rows, sections=sections, device=device, commands=next_commands()
    )
    PAGE.write_text(page)


def next_commands() -> str:
    """What to type next."""
    folder = os.path.relpath(COMMANDS)
    return "\n".join(
        (
            f"{folder}/latentry-server --repository {REPOSITORY}     # in one terminal",
            f"{folder}/latentry models                             # in another",
            f"{folder}/latentry sample gan --count 100 --output samples.png",
            f"{folder}/latentry-train list",
            f"{folder}/latentry-train run stacked                  # the book's preset: a minute or two",
        )
    )


def print_summary(duration_s: float) -> None:
    """Say what was made and what to try next."""
    print(f"\nDone in {duration_s:.0f} s.")
    print(f"  {PAGE}    the pictures: open it in a browser")
    print(f"  {REPOSITORY}/        the bundles: manifest.json and ONNX graphs")
    print(f"  {RUNS}/          a report.html for each run")
    print(f"\nTry next:\n{next_commands()}")


if __name__ == "__main__":
    main()
