"""Serves the pretrained models, trains one more live, calls them all, and leaves demo/index.html with pictures.

Run by `make demo`.
"""

import os
import shutil
import time
from pathlib import Path

from latentry_client import Client
from latentry_client.results import Model
from latentry_trainer.config import DataConfig
from latentry_trainer.data import load_dataset

from examples.demo import generating, reading
from examples.demo.page import Fact, Gallery, Section, write_page
from examples.demo.serving import COMMANDS, ready_models, serve, train, wait_for_model
from examples.demo.visit import SEED, Draw, Visit, figure

PRETRAINED = Path("models")
FOLDER = Path("demo")
REPOSITORY = FOLDER / "models"
RUNS = FOLDER / "runs"
PAGE = FOLDER / "index.html"
LIVE_PRESET = "vae-quick"

SECTIONS: tuple[Draw, ...] = (
    generating.samples,
    generating.samples_by_label,
    generating.style_mixes,
    generating.truncation,
    generating.edits,
    reading.reconstructions,
    reading.denoising,
    generating.ways,
    reading.anomalies,
    reading.labels,
    reading.like_images,
    reading.codings_map,
)


def main() -> None:
    """Serve, train, call, show."""
    start_s = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    REPOSITORY.mkdir(parents=True)
    if PRETRAINED.is_dir():
        shutil.copytree(PRETRAINED, REPOSITORY, dirs_exist_ok=True)
    dataset = load_dataset(DataConfig())  # downloaded once, before the trainer wants it too
    with (
        serve(REPOSITORY, FOLDER / "server.log") as address,
        train(LIVE_PRESET, REPOSITORY, RUNS, FOLDER / "training.log") as trainer,
        Client(address, wait_for_ready=True) as client,
    ):
        print(f"serving {REPOSITORY} on {address}; training {LIVE_PRESET} beside it")
        visit = Visit(
            client=client,
            models=[model for model in ready_models(client) if model.input_shape == dataset.input_shape],
            dataset=dataset,
            gallery=Gallery(folder=FOLDER),
        )
        sections = [section for draw in SECTIONS if (section := draw(visit))]
        print(f"{len(visit.models)} models called after {time.monotonic() - start_s:.0f} s; waiting for the training")
        if trainer.wait():
            raise RuntimeError(f"the training failed:\n{(FOLDER / 'training.log').read_text()}")
        live = wait_for_model(client, LIVE_PRESET)
        sections.insert(0, trained_live(visit, live))
        models = ready_models(client)
    write_page(PAGE, sections, [describe(model) for model in models], next_commands())
    print(f"\nDone in {time.monotonic() - start_s:.0f} s.")
    print(f"  {PAGE}    the pictures: open it in a browser")
    print(f"  {REPOSITORY}/        the bundles: manifest.json, ONNX graphs, a card each")
    print(f"  {RUNS}/          the live run, with its report.html")
    print(f"\nTry next:\n{next_commands()}")


def trained_live(visit: Visit, model: Model) -> Section:
    """Samples of the model that was trained a moment ago."""
    assert model.manifest is not None, "it is ready"
    originals = visit.images(12)
    reconstructions = visit.client.reconstruct(model.name, originals).outputs
    samples = visit.client.sample(model.name, 12, seed=SEED).outputs
    rows = (("originals", originals), ("reconstructions", reconstructions), ("samples", samples))
    return Section(
        title="Trained a moment ago",
        text=f"{model.name} learnt from 55 000 images in {model.manifest.provenance.wall_time_s:.0f} s while the other "
        "pictures were made; the running server picked it up by itself.",
        code=f"latentry-train run {LIVE_PRESET}",
        layout="strips",
        pictures=[visit.gallery.grid(images, 12, name=name) for name, images in rows],
    )


def describe(model: Model) -> Fact:
    """A model's row in the table."""
    assert model.manifest is not None, "it is ready"
    provenance = model.manifest.provenance
    return Fact(
        name=f"{model.name}/{model.version}",
        preset=model.preset,
        figure=figure(model),
        images_seen=provenance.images_seen,
        training_time_s=provenance.wall_time_s,
        device=provenance.device,
        capabilities=", ".join(sorted(capability.replace("_", " ") for capability in model.capabilities)),
    )


def next_commands() -> str:
    """What to type next."""
    folder = os.path.relpath(COMMANDS)
    return "\n".join(
        (
            f"{folder}/latentry-server --repository {REPOSITORY}        # in one terminal",
            f"{folder}/latentry models                                # in another",
            f"{folder}/latentry sample {LIVE_PRESET} --count 100 --output samples.png",
            f"{folder}/latentry-train list",
            f"{folder}/latentry-train run stacked                     # the book's preset: a minute or two",
        )
    )


if __name__ == "__main__":
    main()
