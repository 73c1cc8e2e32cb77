"""Bad input and contradicting options, through the command: one line that names cause and option, and nothing is made.

Odd input that can be used is used.
"""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trainer.command import Command, Result

BYTES = np.random.default_rng(0).integers(0, 256, (60, 6, 6), np.uint8)
FLOATS = BYTES / 255
LABELS = np.arange(60) % 3
FOLDER = ("--data.name", "folder", "--data.path", "images")
NPZ = ("--data.name", "npz", "--data.path", "mine.npz")


def with_value(value: float) -> np.ndarray:
    """Images one of whose values is another."""
    images = FLOATS.copy()
    images[17, 3, 2] = value
    return images


def assert_refused(result: Result, *words: str) -> None:
    assert result.status == 2, result.err
    assert result.err.startswith("latentry-train: error: ")
    assert len(result.err.splitlines()) == 1
    for word in words:
        assert word in result.err
    assert not Path("runs").exists()
    assert not Path("models").exists()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        # Values
        ({"images": with_value(np.nan)}, "has values from nan to nan, expected finite floats in [0, 1]"),
        ({"images": with_value(np.inf)}, "to inf, expected finite floats in [0, 1]"),
        ({"images": with_value(-0.01)}, "has values from -0.01 to 1.0, expected finite floats in [0, 1]"),
        ({"images": FLOATS * 255}, "to 255.0, expected finite floats in [0, 1]"),
        ({"images": BYTES.astype(np.int64)}, "is int64, expected uint8 or floats in [0, 1]"),
        ({"images": FLOATS.reshape(60, 36) - 0.5}, "expected finite floats in [0, 1]"),
        # Shapes
        ({"images": BYTES.reshape(60, 2, 3, 6)}, "has the shape (60, 2, 3, 6), expected"),
        ({"images": np.zeros((60, 4, 6, 6), np.uint8)}, "with 1 or 3 channels"),
        ({"images": np.zeros((60, 6, 6, 4), np.uint8)}, "with 1 or 3 channels"),
        ({"images": np.zeros((60, 1000, 2, 2), np.uint8)}, "with 1 or 3 channels"),
        ({"images": BYTES.reshape(60, 1, 1, 6, 6)}, "has the shape (60, 1, 1, 6, 6), expected"),
        ({"images": BYTES[:, 0, 0]}, "has the shape (60,), expected"),
        ({"images": BYTES[:0]}, "has the shape (0, 6, 6), expected"),
        ({"images": BYTES[:, :0]}, "has the shape (60, 0, 6), expected"),
        # Numbers
        ({"images": BYTES[:9]}, "data set npz: 9 images, expected at least 10"),
        (
            {"images": BYTES[:39]},
            "option --training.batch_size: expected at most the 33 training images of npz, got 50",
        ),
        # Labels
        ({"images": BYTES, "labels": LABELS[:59]}, "`labels` of mine.npz is int64 (59,), expected whole numbers (60,)"),
        ({"images": BYTES, "labels": LABELS[:, None]}, "is int64 (60, 1), expected whole numbers (60,)"),
        ({"images": BYTES, "labels": LABELS - 1}, "go from -1 to 1, expected 0 to at most 59"),
        ({"images": BYTES, "labels": LABELS / 2}, "is float64 (60,), expected whole numbers (60,)"),
        ({"labels": LABELS}, "mine.npz has no array `images`"),
    ],
)
def test_arrays_that_are_wrong(latentry_train: Command, arrays: dict[str, Any], words: str) -> None:
    np.savez("mine.npz", **arrays)
    option = "" if words.startswith(("option", "data set")) else "option --data.path: "
    assert_refused(latentry_train("run", "stacked", *NPZ, "--training.batch_size", "50"), option, words)


def archive_cut_off() -> bytes:
    np.savez("whole.npz", images=BYTES)
    return Path("whole.npz").read_bytes()[:-500]


def archive_of_objects() -> bytes:
    np.savez("objects.npz", images=np.array([{"a": 1}] * 60, dtype=object))
    return Path("objects.npz").read_bytes()


@pytest.mark.parametrize("content", [archive_cut_off, archive_of_objects, lambda: pickle.dumps(BYTES), lambda: b""])
def test_files_that_are_no_archives_of_numbers(latentry_train: Command, content: Any) -> None:
    Path("mine.npz").write_bytes(content())
    assert_refused(latentry_train("run", "stacked", *NPZ), "option --data.path: cannot read mine.npz as an .npz file")


@pytest.mark.parametrize("name", ["mine.npz", "folder"])
def test_paths_that_are_wrong(latentry_train: Command, name: str) -> None:
    options = ["--data.name", "npz" if name == "mine.npz" else "folder", "--data.path", name]
    assert_refused(latentry_train("run", "stacked", *options), "option --data.path: ", name)
    Path(name).mkdir()
    assert_refused(latentry_train("run", "stacked", *options), "option --data.path: ", name)


@pytest.mark.parametrize(
    ("labels", "label", "words"),
    [
        (None, "1", "data set npz has no labels, got '1'"),
        (LABELS, "7", "expected a label of data set npz (0, 1, 2), got '7'"),
        (LABELS, "Shoe", "expected a label of data set npz (0, 1, 2), got 'Shoe'"),
        (LABELS * 0, "0", "data set npz has train images of '0' only"),
    ],
)
def test_classes_that_cannot_be_held_out(
    latentry_train: Command, labels: np.ndarray | None, label: str, words: str
) -> None:
    arrays: dict[str, Any] = {"images": BYTES} if labels is None else {"images": BYTES, "labels": labels}
    np.savez("mine.npz", **arrays)
    result = latentry_train("run", "stacked", *NPZ, "--data.held-out-label", label)
    assert_refused(result, f"option --data.held_out_label: {words}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--training.optimizer.rho", ".5"], "--training.optimizer.rho has an effect with"),
        (["--training.optimizer.beta1", ".5"], "--training.optimizer.name adam or nadam only, which is sgd"),
        (["--data.image_size", "32"], "--data.image_size has an effect with --data.name folder only, which is fashion"),
        (["--data.path", "mine.npz"], "data set fashion-mnist takes no path"),
        (["--data.name", "npz"], "data set npz needs a path"),
        (["--data.name", "toy-3d", "--data.held_out_label", "1"], "data set toy-3d has no labels"),
    ],
)
def test_options_that_contradict_each_other(latentry_train: Command, options: list[str], words: str) -> None:
    assert_refused(latentry_train("run", "stacked", *options), "option --", words)


@pytest.mark.parametrize(
    ("preset", "arrays", "words"),
    [
        ("conv", {"images": FLOATS.reshape(60, 36)}, "takes images of at least 8 x 8 pixels, got inputs of shape 36"),
        ("conv", {"images": BYTES[:, :1, :1]}, "takes images of at least 8 x 8 pixels, got inputs of shape 1x1x1"),
        ("conv-vae", {"images": BYTES}, "takes images of at least 8 x 8 pixels, got inputs of shape 1x6x6"),
        ("recurrent", {"images": FLOATS.reshape(60, 36)}, "takes images, row by row; got vectors of 36 values"),
        ("classifier", {"images": BYTES}, "is trained on labels, and data set npz has none"),
        ("classifier", {"images": BYTES, "labels": LABELS * 0}, "are of the class '0'"),
        (
            "classifier --data.held_out_label 1",
            {"images": np.zeros((60, 8, 8), np.uint8), "labels": LABELS},
            "variant classifier has no score that",
        ),
        ("greedy --training.num_epochs 2", {"images": BYTES}, "option --training.num_epochs: expected at least 3"),
        ("greedy --model.hidden_sizes=", {"images": BYTES}, "option --model.hidden_sizes: "),
    ],
)
def test_what_a_variant_cannot_take(latentry_train: Command, preset: str, arrays: dict[str, Any], words: str) -> None:
    np.savez("mine.npz", **arrays)
    assert_refused(latentry_train("run", *preset.split(), *NPZ), words)


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(BYTES[:, :1, :1], id="one pixel"),
        pytest.param(np.zeros((60, 6, 6), np.uint8), id="all black"),
        pytest.param(np.resize(BYTES, (60, 3, 1, 400)), id="very wide, three channels"),
        pytest.param(FLOATS.reshape(60, 36)[:, :5], id="vectors"),
    ],
)
def test_odd_images_are_trained_on_measured_and_published(latentry_train: Command, images: np.ndarray) -> None:
    np.savez("mine.npz", images=images, labels=np.zeros(60, int))
    result = latentry_train("run", "stacked-quick", *NPZ, "--training.batch_size", "24", "--training.num_epochs", "1")
    assert result.status == 0, result.err
    manifest = json.loads(Path("models/stacked-quick/1/manifest.json").read_text())
    expected = images.shape[1:] if images.ndim != 3 else (1, *images.shape[1:])
    assert tuple(int(length) for length in manifest["input_shape"]) == expected
    (validation,) = [
        metric["value"]
        for metric in manifest["metrics"]
        if (metric["split"], metric["name"]) == ("validation", "score_threshold")
    ]
    assert manifest["score"] == {"quantile": 0.99, "threshold": validation}


def test_images_of_all_sizes_and_modes_make_one_data_set(latentry_train: Command) -> None:
    Path("images").mkdir()
    for i, (mode, size) in enumerate([("L", (1, 1)), ("RGB", (300, 2)), ("RGBA", (5, 70)), ("1", (28, 28))] * 5):
        Image.new(mode, size, 1).save(f"images/{i:02d}.png")
    options = [*FOLDER, "--data.image_size", "6", "--training.batch_size", "16", "--training.num_epochs", "1"]
    result = latentry_train("run", "stacked-quick", *options)
    assert result.status == 0, result.err
    manifest = json.loads(Path("models/stacked-quick/1/manifest.json").read_text())
    assert manifest["input_shape"] == ["3", "6", "6"]


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(latentry_train: Command, slice_path: Path) -> None:
    options = ["--data.name", "npz", "--data.path", str(slice_path), "--training.checkpoint_interval_images", "1"]
    options += ["--training.num_epochs", "4", "--model.joint_learning_rate", "1e9"]  # each layer learns well
    result = latentry_train("run", "greedy", *options)
    assert result.status == 1
    # The first step of the joint stage, on images 4 801 to 4 832, throws the weights away; the next two tell.
    assert re.search(r"_loss is (nan|inf) after (4864|4896) images \(epoch 1\); try a new run with a ", result.err)
    assert "checkpoint after 4800 images is kept: latentry-train export runs/greedy-001" in result.err
    assert len(result.err.splitlines()) == 1
    assert not Path("models").exists()

    exported = latentry_train("export", "runs/greedy-001")
    assert exported.status == 0, exported.err
    manifest = json.loads(Path("models/greedy/1/manifest.json").read_text())
    assert manifest["provenance"]["images_seen"] == "4800"
    assert manifest["metrics"] == []
    assert "score" not in manifest, "it was not measured"
    assert latentry_train("evaluate", "runs/greedy-001").status == 0
