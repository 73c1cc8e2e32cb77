import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import numpy as np
import pytest
import torch
from latentry_trainer.data import Dataset
from latentry_trainer.report.alarms import collect_spells
from latentry_trainer.report.codings import write_activations, write_codings
from latentry_trainer.report.curves import collect_curves, draw_curves
from latentry_trainer.report.figures import describe
from latentry_trainer.report.grids import as_images, tile, write_grid
from latentry_trainer.report.mixing import draw_mixes
from latentry_trainer.report.pictures import NUM_COLUMNS, NUM_INPUTS, draw, write_pictures
from latentry_trainer.report.report import write_report
from latentry_trainer.report.tables import tabulate_information, tabulate_stages
from latentry_trainer.report.timelapse import write_timelapse
from latentry_trainer.report.tsne import embed, write_map
from latentry_trainer.training.log import Metrics
from latentry_trainer.variants.base import Variant
from latentry_trainer.variants.classifier import ConvClassifier
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.stylegan import StyleGAN
from latentry_trainer.variants.vae import VAE
from PIL import Image
from torch import Generator, Tensor, nn

SHAPE = (1, 8, 8)


def images_of_levels(*levels: float) -> np.ndarray:
    return np.stack([np.full((1, 3, 4), level, np.float32) for level in levels])


# Grids


def test_tiles_lie_row_by_row_with_white_gaps_and_rest() -> None:
    canvas = tile(images_of_levels(0.0, 0.2, 0.4), num_columns=2)
    assert canvas.shape == (3 + 2 + 3, 4 + 2 + 4, 1)
    expected = np.full((8, 10), 255, np.uint8)
    expected[:3, :4], expected[:3, 6:], expected[5:, :4] = 0, 51, 102
    np.testing.assert_array_equal(canvas[..., 0], expected)


def test_values_outside_the_range_are_clipped() -> None:
    assert set(np.unique(tile(images_of_levels(-3.0, 7.0), num_columns=1))) == {0, 255}


@pytest.mark.parametrize("shape", [(4, 4), (1, 2, 4, 4), (0, 1, 4, 4)])
def test_what_is_no_batch_of_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"got {list(shape)}")):
        tile(np.zeros(shape), num_columns=2)


@pytest.mark.parametrize(("num_channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_grid_is_a_png_of_enlarged_pixels(tmp_path: Path, num_channels: int, mode: str) -> None:
    images = np.random.default_rng(0).random((6, num_channels, 28, 28))
    write_grid(tmp_path / "grids" / "grid.png", images, num_columns=3)
    with Image.open(tmp_path / "grids" / "grid.png") as picture:
        pixels = np.asarray(picture)
        assert (picture.mode, picture.size) == (mode, (2 * 88, 2 * 58))
    np.testing.assert_array_equal(pixels[::2, ::2].reshape(58, 88, num_channels), tile(images, 3))


def test_wide_images_are_not_enlarged_to_giants(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid.png", np.zeros((4, 1, 1, 3000)), num_columns=2)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (2 * 3000 + 2, 1 + 2 + 1)


def test_vectors_are_drawn_as_squares() -> None:
    images = as_images(np.array([[0.1, 0.2, 0.3, 0.4, 0.5]]))
    np.testing.assert_array_equal(images, [[[[0.1, 0.2, 0.3], [0.4, 0.5, 1], [1, 1, 1]]]])
    flattened = np.random.default_rng(0).random((2, 1, 7, 7))
    np.testing.assert_array_equal(as_images(flattened.reshape(2, 49)), flattened)
    assert as_images(flattened) is flattened


# Pictures


@pytest.mark.parametrize(
    ("variant", "num_images"),
    [
        (Stacked(Stacked.Config(), SHAPE), {"reconstructions": 2 * NUM_INPUTS, "interpolation": 70}),
        (DenoiseGaussian(DenoiseGaussian.Config(), SHAPE), {"denoising": 3 * NUM_INPUTS, "interpolation": 70}),
        (VAE(VAE.Config(), SHAPE), {"reconstructions": 2 * NUM_INPUTS, "interpolation": 70, "samples": 60}),
        (GAN(GAN.Config(), SHAPE), {"samples": 60}),
        (StyleGAN(StyleGAN.Config(conditional=True), SHAPE, 3), {"samples": 60, "mixing": 70}),
        (ConvClassifier(ConvClassifier.Config(), SHAPE, 10), {"classes": NUM_INPUTS}),
    ],
)
def test_every_variant_has_its_pictures_the_same_for_a_seed(variant: Variant, num_images: dict[str, int]) -> None:
    inputs = torch.rand(NUM_INPUTS, *SHAPE)
    pictures = draw(variant, inputs, seed=1)
    assert {name: len(images) for name, images in pictures.items()} == num_images
    again = draw(variant, inputs, seed=1)
    for name, images in pictures.items():
        assert torch.equal(images, again[name])


def test_samples_are_drawn_once_there_is_a_prior() -> None:
    variant, inputs = Stacked(Stacked.Config(), SHAPE), torch.rand(NUM_INPUTS, *SHAPE)
    variant.prior.fit(torch.rand(50, 30), seed=0)
    assert len(draw(variant, inputs)["samples"]) == 60


class Layers(nn.Module):
    """A synthesis network that draws the style of each layer as a row of pixels."""

    def forward(self, styles: Tensor, _noise: Tensor) -> Tensor:
        return styles[:, None]


@torch.no_grad()
def test_mixes_have_some_layers_of_the_column_and_the_others_of_the_row() -> None:
    variant = StyleGAN(StyleGAN.Config(), SHAPE)
    assert variant.style.num_layers == 4
    mapping, synthesis = variant.graph_modules()
    graphs = (mapping, replace(synthesis, module=Layers(), inputs=synthesis.inputs[:2]))
    with patch.object(variant, "graph_modules", return_value=graphs):
        grid = draw_mixes(variant.eval(), Generator().manual_seed(0), 10)[:, 0].reshape(7, 10, 4, -1)
    assert (grid[0, 0] == 1).all()
    for row in range(1, 7):
        is_of_column = torch.tensor([row in (1, 2), row in (3, 4), row in (5, 6), row in (5, 6)])[:, None]
        for column in range(1, 10):
            assert torch.equal(grid[row, column], torch.where(is_of_column, grid[0, column], grid[row, 0]))
    assert not torch.equal(grid[0, 1], grid[0, 2])
    assert not torch.equal(grid[1, 0], grid[2, 0])


@torch.no_grad()
def test_interpolation_lies_between_images_of_different_classes() -> None:
    variant, inputs = Stacked(Stacked.Config(), SHAPE), torch.rand(NUM_INPUTS, *SHAPE)
    labels = torch.arange(NUM_INPUTS) // 2  # neighbours are alike
    images = draw(variant, inputs, labels)["interpolation"].reshape(7, 10, *SHAPE)
    codings = variant.encode(inputs[::2])  # the first of each class, in turn
    torch.testing.assert_close(images[0, ::3], variant.decode(codings[:4]))
    torch.testing.assert_close(images[3, ::3], variant.decode(codings[4:8]))
    torch.testing.assert_close(images[0, 1], variant.decode((2 * codings[:1] + codings[1:2]) / 3)[0])
    torch.testing.assert_close(images[1, 0], variant.decode((2 * codings[:1] + codings[4:5]) / 3)[0])


def test_too_few_inputs_have_no_interpolation() -> None:
    pictures = draw(Stacked(Stacked.Config(), SHAPE), torch.rand(11, *SHAPE))
    assert set(pictures) == {"reconstructions"}


def test_originals_and_reconstructions_lie_in_rows_in_turn() -> None:
    variant, inputs = Stacked(Stacked.Config(), SHAPE), torch.rand(NUM_INPUTS, *SHAPE)
    images = draw(variant, inputs)["reconstructions"]
    with torch.no_grad():
        outputs = variant.reconstruct(inputs)
    assert torch.equal(images[:NUM_COLUMNS], inputs[:NUM_COLUMNS])
    assert torch.equal(images[NUM_COLUMNS : 2 * NUM_COLUMNS], outputs[:NUM_COLUMNS])
    assert torch.equal(images[2 * NUM_COLUMNS : 3 * NUM_COLUMNS], inputs[NUM_COLUMNS:])


# The map


def test_the_map_keeps_neighbours_together() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    codings = generator.normal(size=(90, 5)) * 0.1 + np.eye(5)[labels] * 20
    points = embed(codings.astype(np.float32), seed=0)
    assert points.min() == 0
    assert points.max() == 1
    centres = np.stack([points[labels == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, labels)


@pytest.mark.parametrize("num_codings", [4, 2001])
def test_too_few_or_too_many_codings_are_refused(num_codings: int) -> None:
    with pytest.raises(ValueError, match=f"expected 5 to 2000 rows, got {num_codings}"):
        embed(np.zeros((num_codings, 2)))


@pytest.mark.parametrize("codings", [np.zeros((20, 3)), np.arange(20.0)[:, None]], ids=["all alike", "of length one"])
def test_codings_without_two_directions_have_a_map(codings: np.ndarray) -> None:
    assert np.isfinite(embed(codings)).all()


@pytest.mark.parametrize("label_names", [["$x_$", "_a", "b" * 200], [f"class {i}" for i in range(200)]])
def test_any_names_of_folders_fit_the_map(tmp_path: Path, label_names: list[str]) -> None:
    points = np.random.default_rng(0).random((200, 2))
    write_map(tmp_path / "map.png", points, labels=np.arange(200) % len(label_names), label_names=label_names)
    with Image.open(tmp_path / "map.png") as picture:
        picture.verify()


@pytest.mark.parametrize("num_channels", [1, 3])
def test_the_map_is_a_png(tmp_path: Path, num_channels: int) -> None:
    generator = np.random.default_rng(0)
    points, images = generator.random((20, 2)), generator.random((20, num_channels, 8, 8))
    write_map(tmp_path / "plain.png", points)
    write_map(
        tmp_path / "full.png",
        points,
        labels=np.arange(20) % 10,
        label_names=[f"class {i}" for i in range(10)],
        images=images,
    )
    for name in ("plain.png", "full.png"):
        with Image.open(tmp_path / name) as picture:
            picture.verify()
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "full.png").read_bytes()


@pytest.mark.parametrize(("num_images", "files"), [(20, {"activations.png", "tsne.png"}), (3, {"activations.png"})])
@pytest.mark.parametrize("shape", [SHAPE, (3,)], ids=["images", "vectors"])
def test_codings_are_drawn(tmp_path: Path, num_images: int, files: set[str], shape: tuple[int, ...]) -> None:
    images = torch.rand(num_images, *shape) if len(shape) == 1 else torch.randint(256, (num_images, *shape)).byte()
    dataset = Dataset(name="", images=images, labels=None, label_names=(), splits={"test": slice(None)})
    write_codings(tmp_path, Stacked(Stacked.Config(codings_size=2), shape), dataset)
    assert {path.name for path in tmp_path.iterdir()} == files
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            picture.verify()


@pytest.mark.parametrize("codings", [np.zeros((20, 3)), np.eye(5, dtype=np.float32)], ids=["dead", "bits"])
def test_activations_of_any_codings_are_drawn(tmp_path: Path, codings: np.ndarray) -> None:
    write_activations(tmp_path / "activations.png", codings)
    with Image.open(tmp_path / "activations.png") as picture:
        picture.verify()


# Alarms


def epoch(number: int, **values: float) -> Metrics:
    return Metrics(images_seen=100 * number, stage="joint", epoch=number, split="validation", values=values)


def test_alarms_of_epochs_in_a_row_are_one_spell() -> None:
    lines = [
        epoch(1, smallest_class_share=0.0),
        Metrics(images_seen=150, stage="joint", epoch=2, split="train", values={"critic_loss": 0.1}),
        epoch(2, smallest_class_share=0.0005, critic_accuracy=1.0),
        epoch(3, smallest_class_share=0.05, critic_accuracy=1.0),
        epoch(4, smallest_class_share=0.0, critic_accuracy=0.9),
    ]
    spells = collect_spells(lines)
    assert [(spell.kind, spell.first.epoch, spell.last.epoch) for spell in spells] == [
        ("missing class", 1, 2),
        ("critic ahead", 2, 3),
        ("missing class", 4, 4),
    ]
    assert "the rarest class has 0.05 % of the samples" in spells[0].message
    assert collect_spells([epoch(1, bce=0.3)]) == []
    wasserstein = [line(90, "train", critic_loss=-2.6), epoch(1, critic_accuracy=1.0)]
    assert collect_spells(wasserstein) == []


# Curves, tables and figures


def line(images_seen: int, split: Literal["train", "validation"], **values: float) -> Metrics:
    return Metrics(images_seen=images_seen, stage="joint", epoch=1, split=split, values=values)


def test_training_losses_share_a_panel_and_validation_figures_have_their_own() -> None:
    lines = [
        line(10, "train", critic_loss=0.7, generator_loss=0.8, images_per_s=9.0),
        line(10, "validation", bce=0.5),
        line(20, "train", critic_loss=0.6, generator_loss=0.9, images_per_s=9.0),
    ]
    panels = collect_curves(lines)
    assert panels == {
        "train loss": {"critic": [(10, 0.7), (20, 0.6)], "generator": [(10, 0.8), (20, 0.9)]},
        "validation bce": {"bce": [(10, 0.5)]},
    }
    with Image.open(io.BytesIO(draw_curves(panels))) as picture:
        picture.verify()


def test_the_last_figures_of_each_stage_are_a_table() -> None:
    lines = [
        Metrics(images_seen=10, stage="layer 1", epoch=1, split="validation", values={"bce": 0.5}),
        Metrics(images_seen=20, stage="layer 1", epoch=2, split="validation", values={"bce": 0.4}),
        Metrics(images_seen=30, stage="joint", epoch=1, split="train", values={"autoencoder_loss": 0.35}),
        Metrics(images_seen=30, stage="joint", epoch=1, split="validation", values={"bce": 0.3, "mse": 0.02}),
    ]
    (table,) = tabulate_stages(lines)
    assert table.columns == ("bce", "mse")
    assert table.rows == (("layer 1", (0.4, None)), ("joint", (0.3, 0.02)))
    assert tabulate_stages(lines[:2]) == []


def test_information_has_a_table_of_its_own() -> None:
    figures = {"bce": 0.3, "bce_bits": 0.43, "entropy_nats": 0.2, "entropy_bits": 0.29}
    figures |= {"kl_from_data_nats": 0.1, "kl_from_data_bits": 0.14}
    evaluation = {"validation": figures, "test": {"mse": 0.1}}
    (table,) = tabulate_information(evaluation)
    assert table.columns == ("validation, nats", "validation, bits")
    assert [values for _, values in table.rows] == [(0.2, 0.29), (0.3, 0.43), (0.1, 0.14)]
    assert [figure.name for figure in describe(evaluation, {})] == ["bce", "mse"]
    assert tabulate_information({"test": {"mse": 0.1}}) == []


def test_figures_know_which_way_is_better() -> None:
    evaluation = {"validation": {"new": 1.0, "rounded_accuracy": 0.94, "bce": 0.28}, "test": {"bce": 0.29}}
    figures = describe(evaluation, {"bce": 0.285, "rounded_accuracy": 0.936})
    assert [figure.name for figure in figures] == ["bce", "rounded_accuracy", "new"]
    assert [figure.target for figure in figures] == ["≤ 0.285", "≥ 0.936", ""]
    assert [figure.reached for figure in figures] == [True, True, None]
    missed = describe(evaluation, {"bce": 0.27, "rounded_accuracy": 0.95})
    assert [figure.reached for figure in missed] == [False, False, None]


def test_a_target_is_for_the_validation_split() -> None:
    assert [figure.reached for figure in describe({"test": {"bce": 0.2}}, {"bce": 0.3})] == [None]


def test_floor_and_ceiling_stand_beside_their_figure() -> None:
    evaluation = {
        "validation": {"fcd": 9.0, "fcd_floor": 1.5, "fcd_ceiling": 700.0, "bce": 0.28},
        "test": {"fcd": 8.0, "fcd_floor": 1.25, "fcd_ceiling": 710.0, "bce": 0.29},
    }
    bce, fcd = describe(evaluation, {"fcd": 9.5})
    assert (fcd.name, fcd.target, fcd.reached) == ("fcd", "≤ 9.5", True)
    assert fcd.floors == {"validation": 1.5, "test": 1.25}
    assert fcd.ceilings == {"validation": 700.0, "test": 710.0}
    assert not bce.floors
    assert not bce.ceilings


# The report


class Page(HTMLParser):
    """What a browser would show and load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "srcset", "data"):
                self.sources.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of a VAE with everything that a report can show."""
    configuration = {
        "preset": "vae-quick",
        "variant": "vae",
        "model": {"codings_size": 10},
        "training": {"sizes": [1, 2]},
    }
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    evaluation = {
        "validation": {"bce": 0.31415, "entropy_nats": 0.24, "fcd": 9.0, "fcd_floor": 1.5, "fcd_ceiling": 700.0},
        "test": {"bce": 0.2},
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    lines = [
        {"images_seen": 10, "stage": stage, "epoch": 1, "split": "validation", "values": {"mse": 0.0625}}
        for stage in ("layer 1", "joint")
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for images_seen in range(0, 10_000, 1_000):
        variant = VAE(VAE.Config(), SHAPE)  # as if it had learnt something
        write_pictures(tmp_path / "grids", variant, torch.rand(NUM_INPUTS, *SHAPE), images_seen=images_seen)
    write_timelapse(tmp_path)
    write_map(tmp_path / "tsne.png", np.random.default_rng(0).random((20, 2)))
    write_activations(tmp_path / "activations.png", np.random.default_rng(0).random((20, 2)))
    return tmp_path


def test_the_report_has_every_part(run_folder: Path) -> None:
    path = write_report(run_folder, facts={"Device": "cpu"}, targets={"bce": 0.3})
    assert path == run_folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.ids == [
        "figures", "information", "stages", "reconstructions", "interpolation", "samples", "codings", "curves",
        "configuration",
    ]  # fmt: skip
    for text in (
        "vae-quick",
        "Device",
        "cpu",
        "bce",
        "0.3141",
        "0.2000",
        "floor 1.5000, ceiling 700.00",
        "≤ 0.3",
        "missed",
        "0.2400",
        "layer 1",
        "0.0625",
        "9 000 training images",
        "1 000 images",
    ):
        assert text in page.text
    for text in ("model.codings_size", "10", "training.sizes", "[1, 2]"):
        assert text in page.text


def test_the_report_loads_nothing_and_its_pictures_are_whole(run_folder: Path) -> None:
    html = write_report(run_folder, facts={}, targets={}).read_text(encoding="utf-8")
    page = Page(html)
    kinds = [source.split(",")[0] for source in page.sources]
    assert kinds.count("data:image/webp;base64") == 1
    assert kinds.count("data:image/png;base64") == len(kinds) - 1
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "url(" not in html
    assert "@import" not in html
    assert html.count(">Earlier in the run<") == 3
    # Of ten grids every second one, the last included; the map, the activations and the curves; the film and its still.
    assert len(page.sources) == 3 * 5 + 3 + 2


def test_the_film_stands_still_where_less_motion_is_asked_for(run_folder: Path) -> None:
    html = write_report(run_folder, facts={}, targets={}).read_text(encoding="utf-8")
    film = html[html.index("<picture>") : html.index("</picture>")]
    assert re.search(r'<source media="\(prefers-reduced-motion: no-preference\)" srcset="data:image/webp;', film)
    assert re.search(r'<img class="film" src="data:image/png;', film)
    (run_folder / "timelapse.webp").unlink()
    assert "<picture>" not in write_report(run_folder, facts={}, targets={}).read_text(encoding="utf-8")


def test_the_classes_of_the_columns_are_named(run_folder: Path) -> None:
    classes = [f"class {i}" for i in range(12)]
    html = write_report(run_folder, facts={}, targets={}, sampled_classes=classes).read_text(encoding="utf-8")
    assert f"Each column is of one class: {', '.join(classes[:10])}." in html


def test_alarms_are_shown_with_when_they_were_raised(run_folder: Path) -> None:
    lines = [
        {"images_seen": 1000 * n, "stage": "joint", "epoch": n, "split": "validation", "values": {"critic_accuracy": 1}}
        for n in (2, 3, 4)
    ]
    (run_folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = Page(write_report(run_folder, facts={}, targets={}).read_text(encoding="utf-8"))
    assert page.ids.index("alarms") == page.ids.index("figures") + 1
    assert "critic ahead" in page.text
    assert "joint 2 to joint 4" in page.text
    assert "2 000 to 4 000" in page.text


def test_text_from_outside_is_text(run_folder: Path) -> None:
    configuration = {"preset": "<script>a</script>", "model": {"path": "<img src=x>"}}
    (run_folder / "config.json").write_text(json.dumps(configuration))
    html = write_report(run_folder, facts={"Data": "<b>&"}, targets={}).read_text(encoding="utf-8")
    page = Page(html)
    assert not page.tags & {"script", "b"}
    assert "<img src=x>" in page.text
    assert "<script>a</script>" in html.replace("&lt;", "<").replace("&gt;", ">")


def test_a_run_without_pictures_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"preset": "gan"}')
    page = Page(write_report(tmp_path, facts={}, targets={}).read_text(encoding="utf-8"))
    assert page.ids == ["configuration"]
