"""The command `latentry` in a process of its own, against latentry-server itself and real bundles."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from latentry.v1.inference_service_pb2 import SampleRequest
from latentry_client.cli import app
from PIL import Image

from tests.client.plain_service import PlainService
from tests.processes import COMMANDS
from tests.server import bundles

IMAGES = bundles.images(5)


class Latentry:
    """Runs the command in a folder of its own."""

    def __init__(self, address: str, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "LATENTRY_ADDRESS": address, "COLUMNS": "200"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMANDS / "latentry", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.ok(*arguments, "--json"))
        return answer

    def refused(self, code: int, *arguments: str) -> str:
        """Run a command line that must fail with one clear line; in this process, as there are so many of them."""
        output, errors = StringIO(), StringIO()
        with (
            chdir(self.folder),
            patch.dict(os.environ, self.environment),
            redirect_stdout(output),
            redirect_stderr(errors),
        ):
            assert app.run(arguments) == code, errors.getvalue()
        assert output.getvalue() == ""
        assert errors.getvalue().startswith("latentry: ")
        assert errors.getvalue().count("\n") == 1, errors.getvalue()
        return errors.getvalue()

    def load(self, name: str) -> np.ndarray:
        array: np.ndarray = np.load(self.folder / name)
        return array

    def size(self, name: str) -> tuple[int, int]:
        with Image.open(self.folder / name) as image:
            return image.size


@pytest.fixture
def latentry(server_address: str, tmp_path: Path) -> Latentry:
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "codings.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "photos").mkdir()
    for row, image in enumerate(IMAGES):
        Image.fromarray((image[0] * 255).astype(np.uint8)).save(tmp_path / "photos" / f"shoe{row}.png")
    return Latentry(server_address, tmp_path)


def test_encode(latentry: Latentry) -> None:
    answer = latentry.json("encode", "stacked", "images.npy", "-o", "codings.npy")
    assert answer.keys() == {"model", "version", "output", "shape", "dtype", "queue_us", "compute_us"}
    assert (answer["model"], answer["version"], answer["shape"]) == ("stacked", 1, [5, 3])
    expected = bundles.Autoencoder().encode(IMAGES)
    np.testing.assert_allclose(latentry.load("codings.npy"), expected, atol=1e-5)
    text = latentry.ok("encode", "stacked/1", "photos", "photos/shoe0.png", "-o", "photos.npy")
    assert text == "photos.npy: float32 [6, 3] by stacked/1\n"
    np.testing.assert_allclose(latentry.load("photos.npy")[:5], expected, atol=0.1)


def test_encode_writes_styles_too(latentry: Latentry) -> None:
    given = ("images.npy", "-o", "codings.npy", "--styles-output", "styles.npy")
    assert latentry.json("encode", "stylegan", *given)["styles_output"] == "styles.npy"
    expected = bundles.EncodedStyleGan().encode_styles(IMAGES)
    np.testing.assert_allclose(latentry.load("styles.npy"), expected, atol=1e-5)
    refused = latentry.refused(2, "encode", "vae", "images.npy", "-o", "no.npy", "--styles-output", "none.npy")
    assert "--styles-output: expected a model whose encoder gives styles, got 'vae'" in refused
    assert not list(latentry.folder.glob("no*.npy"))


def test_decode(latentry: Latentry) -> None:
    latentry.ok("decode", "stacked", "codings.npy", "-o", "out.npy")
    expected = bundles.Autoencoder().decode(np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(latentry.load("out.npy"), expected, atol=1e-5)
    latentry.ok("decode", "cgan", "codings.npy", "-o", "out.npy", "--labels", "boot,2,bag")
    labelled = bundles.ConditionalGan().decode(np.eye(3, dtype=np.float32), np.array([0, 2, 2]))
    np.testing.assert_allclose(latentry.load("out.npy"), labelled, atol=1e-5)


def test_denoise_and_reconstruct_into_each_kind_of_output(latentry: Latentry) -> None:
    expected = bundles.Autoencoder().reconstruct(IMAGES)
    latentry.ok("reconstruct", "stacked", "images.npy", "-o", "out.npy")
    np.testing.assert_allclose(latentry.load("out.npy"), expected, atol=1e-5)
    latentry.ok("denoise", "denoise-gaussian", "images.npy", "-o", "grid.png")
    assert latentry.size("grid.png") == (3 * 4 + 2 * 2, 2 * 4 + 2)
    latentry.ok("reconstruct", "stacked", "photos", "-o", "clean")
    files = sorted(path.name for path in (latentry.folder / "clean").iterdir())
    assert files == [f"{row:05d}-shoe{row}.png" for row in range(5)]
    pixels = np.asarray(Image.open(latentry.folder / "clean" / files[1]))
    np.testing.assert_allclose(pixels / 255, expected[1, 0], atol=0.05)


def test_sample(latentry: Latentry) -> None:
    answer = latentry.json("sample", "cgan", "--count", "3", "--labels", "shirt", "-o", "first.npy")
    text = latentry.ok("sample", "cgan", "--count=3", "--labels=1", f"--seed={answer['seed']}", "-o", "again.npy")
    assert f"seed {answer['seed']}" in text
    np.testing.assert_array_equal(latentry.load("first.npy"), latentry.load("again.npy"))


def test_sample_with_labels_by_name_and_truncation(latentry: Latentry) -> None:
    common = ("sample", "cstylegan", "--count", "2", "--seed", "5")
    latentry.ok(*common, "--labels", "bag,boot", "--truncation-psi", "-0.5", "-o", "by-name.npy")
    latentry.ok(*common, "--labels", "2,0", "--truncation-psi=-0.5", "--truncation-cutoff=2", "-o", "by-number.npy")
    np.testing.assert_array_equal(latentry.load("by-name.npy"), latentry.load("by-number.npy"))
    latentry.ok(*common, "--labels", "2,0", "-o", "whole.npy")
    assert np.abs(latentry.load("whole.npy") - latentry.load("by-name.npy")).max() > 0.01


def test_interpolate_seeds_of_a_gan(latentry: Latentry) -> None:
    latentry.ok("interpolate", "dcgan", "--start", "seeds:1,2", "--end", "seeds:3,4", "--steps", "5", "-o", "way.png")
    assert latentry.size("way.png") == (5 * 4 + 4 * 2, 2 * 4 + 2)
    labelled = ("--start", "seeds:1", "--end", "photos/shoe0.png", "--labels", "bag", "--steps", "3")
    answer = latentry.json("interpolate", "cstylegan", *labelled, "-o", "way.npy")
    assert answer["shape"] == [1, 3, 1, 4, 4]


def test_interpolate(latentry: Latentry) -> None:
    latentry.ok(
        "interpolate", "vae", "--start", "photos/shoe0.png", "--end", "photos/shoe1.png", "--steps=6", "-o", "way.png"
    )
    assert latentry.size("way.png") == (6 * 4 + 5 * 2, 4)
    latentry.ok(
        *("interpolate", "denoise-gaussian", "--start", "codings:codings.npy", "--end", "seeds:1-3", "-o", "way.npy"),
        *("--steps", "3", "--mode", "linear"),
    )
    start = bundles.Autoencoder().decode(np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(latentry.load("way.npy")[:, 0], start, atol=1e-5)


def test_style_mix(latentry: Latentry) -> None:
    common = ("style-mix", "stylegan", "--rows", "seeds:1,2", "--layers", "0", "--noise-seed", "3")
    answer = latentry.json(*common, "--columns", "seeds:5-7", "-o", "mix.npy")
    assert (answer["shape"], answer["noise_seed"]) == ([2, 3, 1, 4, 4], 3)
    latentry.ok(*common, "--columns", "seeds:5,6", "--layout", "pairs", "-o", "pairs.npy")
    np.testing.assert_allclose(latentry.load("pairs.npy")[1], latentry.load("mix.npy")[1, 1], atol=1e-6)


def test_style_mix_of_images_and_labelled_seeds_has_its_sources_at_the_edges(latentry: Latentry) -> None:
    common = ("style-mix", "cstylegan", "--noise-seed", "3", "--truncation-psi", "0.5", "--truncation-cutoff", "1")
    sources = ("--rows", "photos", "--columns", "seeds:7,8", "--column-labels", "bag,0")
    latentry.ok(*common, *sources, "--layers", "1", "-o", "mix.png")
    assert latentry.size("mix.png") == (3 * 4 + 2 * 2, 6 * 4 + 5 * 2)
    cells = np.asarray(Image.open(latentry.folder / "mix.png")).astype(int)
    drawn = [[cells[6 * r : 6 * r + 4, 6 * c : 6 * c + 4] for c in range(3)] for r in range(6)]
    assert (drawn[0][0] == 255).all()
    own = ("--layout", "pairs", "--layers", "0,1", "-o", "own.npy")
    latentry.ok(*common, "--rows", "photos", "--columns", "photos", *own)
    rows = [drawn[row][0] for row in range(1, 6)]
    np.testing.assert_allclose(rows, latentry.load("own.npy")[:, 0] * 255, atol=0.6)
    labels = ("--row-labels", "2,boot", "--column-labels", "2,0")
    latentry.ok(*common, "--rows", "seeds:7,8", "--columns", "seeds:7,8", *labels, *own)
    np.testing.assert_allclose(drawn[0][1:], latentry.load("own.npy")[:, 0] * 255, atol=0.6)
    latentry.ok(*common, *sources, "--layers", "1", "-o", "mix.npy")
    mixes = [drawn[row][1:] for row in range(1, 6)]
    np.testing.assert_allclose(mixes, latentry.load("mix.npy")[:, :, 0] * 255, atol=0.6)


def test_score(latentry: Latentry) -> None:
    answer = latentry.json("score", "stacked", "images.npy")
    expected = ((bundles.Autoencoder().reconstruct(IMAGES) - IMAGES) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose([row["score"] for row in answer["scores"]], expected, atol=1e-5)
    assert answer["scores"][1]["input"] == "images.npy[1]"
    assert latentry.ok("score", "stacked", "photos").splitlines()[2].endswith("  shoe2.png")
    latentry.ok("score", "stacked", "images.npy", "-o", "scores.npy")
    np.testing.assert_allclose(latentry.load("scores.npy"), expected, atol=1e-5)


def test_score_marks_anomalies(latentry: Latentry) -> None:
    np.save(latentry.folder / "vectors.npy", IMAGES.reshape(5, -1))
    answer = latentry.json("score", "flat", "vectors.npy")
    threshold = bundles.Flat().score().threshold
    assert answer["threshold"] == pytest.approx(threshold, rel=1e-6)
    anomalies = [row["is_anomaly"] for row in answer["scores"]]
    assert anomalies == [row["score"] > threshold for row in answer["scores"]]
    assert set(anomalies) == {True, False}  # else one word for all would pass
    lines = latentry.ok("score", "flat", "vectors.npy").splitlines()
    words = ["anomaly" if is_anomaly else "normal" for is_anomaly in anomalies]
    assert [line.split()[1:] for line in lines] == [[word, f"vectors.npy[{row}]"] for row, word in enumerate(words)]
    uncalibrated = latentry.json("score", "vae", "images.npy")
    assert uncalibrated["threshold"] is None
    assert {row["is_anomaly"] for row in uncalibrated["scores"]} == {None}


def test_score_by_a_critic(latentry: Latentry) -> None:
    answer = latentry.json("score", "dcgan", "images.npy")
    scores = [row["score"] for row in answer["scores"]]
    np.testing.assert_allclose(scores, -bundles.ScoredGan().judge(IMAGES), atol=1e-5)
    assert [row["is_anomaly"] for row in answer["scores"]] == [score > answer["threshold"] for score in scores]
    labelled = latentry.json("score", "cstylegan", "images.npy", "--labels", "shirt,0,2,bag,1")
    expected = -bundles.ConditionalStyleGan().judge(IMAGES, np.array([1, 0, 2, 2, 1]))
    np.testing.assert_allclose([row["score"] for row in labelled["scores"]], expected, atol=1e-5)


def test_classify(latentry: Latentry) -> None:
    answer = latentry.json("classify", "classifier/1", "images.npy")
    assert answer.keys() == {"model", "version", "label_names", "labels"}
    assert answer["label_names"] == list(bundles.LABELS)
    expected = bundles.Classifier().probabilities(IMAGES)
    np.testing.assert_allclose([row["probabilities"] for row in answer["labels"]], expected, atol=1e-5)
    assert [row["label"] for row in answer["labels"]] == expected.argmax(1).tolist()
    assert answer["labels"][1]["input"] == "images.npy[1]"
    lines = latentry.ok("classify", "classifier", "images.npy").splitlines()
    first = (f"{answer['labels'][0]['probabilities'][answer['labels'][0]['label']]:.6f}", "images.npy[0]")
    assert (lines[0].split()[0], lines[0].split()[2]) == first
    assert [line.split()[1] for line in lines] == [bundles.LABELS[label] for label in expected.argmax(1)]
    text = latentry.ok("classify", "classifier", "images.npy", "-o", "out.npy")
    assert text == "out.npy: float32 [5, 3] by classifier/1\n"
    np.testing.assert_allclose(latentry.load("out.npy"), expected, atol=1e-5)


def test_hash(latentry: Latentry) -> None:
    np.save(latentry.folder / "many.npy", bundles.images(100))
    bits = bundles.Hashing().encode(bundles.images(100)) > 0.5
    texts = ["".join("01"[int(bit)] for bit in row) for row in bits]
    assert len(set(texts)) > 2
    answer = latentry.json("hash", "hashing", "many.npy")
    assert answer.keys() == {"model", "version", "codes"}
    assert answer["codes"] == [{"input": f"many.npy[{row}]", "code": text} for row, text in enumerate(texts)]
    assert latentry.ok("hash", "hashing", "many.npy").splitlines()[7] == f"{texts[7]}  many.npy[7]"


def test_hash_finds_what_is_near(latentry: Latentry) -> None:
    np.save(latentry.folder / "many.npy", bundles.images(100))
    np.save(latentry.folder / "query.npy", bundles.images(100)[70:71])
    bits = bundles.Hashing().encode(bundles.images(100)) > 0.5
    distances = (bits != bits[70]).sum(axis=1)
    assert len(set(distances)) > 2
    found = latentry.json("hash", "hashing", "many.npy", "--query", "query.npy")
    expected = np.argsort(distances, kind="stable")
    assert found["query"] == {"input": "query.npy[0]", "code": found["codes"][0]["code"]}
    assert [row["input"] for row in found["codes"]] == [f"many.npy[{row}]" for row in expected]
    assert [row["distance"] for row in found["codes"]] == distances[expected].tolist()
    near = latentry.ok("hash", "hashing", "many.npy", "--query=query.npy", "--max-distance=1").splitlines()
    assert [line.split()[0] for line in near] == [str(distance) for distance in sorted(distances) if distance <= 1]
    np.save(latentry.folder / "far.npy", bundles.images(100)[distances > 0])
    assert latentry.ok("hash", "hashing", "far.npy", "--query=query.npy", "--max-distance=0") == ""


def test_models(latentry: Latentry) -> None:
    models = latentry.json("models")["models"]
    assert [(model["name"], model["version"], model["state"]) for model in models] == [
        ("cgan", 1, "ready"),
        ("classifier", 1, "ready"),
        ("cstylegan", 1, "ready"),
        ("dcgan", 1, "ready"),
        ("denoise-gaussian", 1, "ready"),
        ("flat", 1, "ready"),
        ("hashing", 1, "ready"),
        ("pictures", 1, "ready"),
        ("stacked", 1, "ready"),
        ("stylegan", 1, "ready"),
        ("vae", 2, "ready"),
        ("vae", 1, "unloaded"),
    ]
    assert models[0]["label_names"] == ["boot", "shirt", "bag"]
    assert "stacked" in latentry.ok("models")
    assert latentry.json("models", "show", "vae/1")["manifest"]["variant"] == "vae"


def test_load_and_unload(latentry: Latentry) -> None:
    assert latentry.json("models", "load", "vae/1")["models"][0]["state"] == "ready"
    assert latentry.json("models", "unload", "vae/2")["models"][0]["state"] == "unloaded"
    assert latentry.json("encode", "vae", "images.npy", "-o", "out.npy")["version"] == 1
    assert "unloaded" in latentry.refused(1, "encode", "vae/2", "images.npy", "-o", "out.npy")
    assert latentry.json("models", "load", "vae")["models"][0]["version"] == 2
    assert latentry.json("encode", "vae", "images.npy", "-o", "out.npy")["version"] == 2
    latentry.ok("models", "unload", "vae/1")


def test_health(latentry: Latentry) -> None:
    assert latentry.ok("health") == "serving\n"
    assert latentry.json("health", "vae/2")["status"] == "serving"
    stopped = latentry.run("health", "vae/1")
    assert (stopped.returncode, stopped.stdout) == (1, "not_serving\n")
    assert "missing" in latentry.refused(1, "health", "missing")
    assert latentry.refused(1, "health", "--address", "127.0.0.1:1")


def test_images_are_made_to_fit(latentry: Latentry) -> None:
    Image.new("RGB", (40, 30), (200, 10, 10)).save(latentry.folder / "large.png")
    done = latentry.run("encode", "stacked", "large.png", "photos", "-o", "out.npy")
    assert done.returncode == 0
    assert done.stderr == "1 of 6 images were converted or resized to 1x4x4\n"
    refused = latentry.refused(2, "encode", "stacked", "large.png", "-o", "out.npy", "--strict")
    assert "large.png: expected L 4x4, got RGB 40x30" in refused


def test_bytes_and_floats_mix(latentry: Latentry) -> None:
    latentry.ok("encode", "stacked", "photos", "images.npy", "-o", "out.npy")
    expected = bundles.Autoencoder().encode(IMAGES)
    np.testing.assert_allclose(latentry.load("out.npy")[5:], expected, atol=1e-5)
    np.testing.assert_allclose(latentry.load("out.npy")[:5], expected, atol=0.1)


def test_a_reader_that_leaves_is_no_error(latentry: Latentry) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = (COMMANDS / "latentry", "models", "show", "vae")
    with os.fdopen(theirs, "wb") as closed:
        done = subprocess.run(
            command, env=latentry.environment, stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_large_input_is_run_in_chunks_with_progress(latentry: Latentry) -> None:
    many = bundles.images(1000)
    np.save(latentry.folder / "many.npy", many)
    done = latentry.run("encode", "stacked", "many.npy", "-o", "out.npy")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "Encode stacked: 1000 of 1000 rows"
    np.testing.assert_allclose(latentry.load("out.npy"), bundles.Autoencoder().encode(many), atol=1e-5)


def test_wrong_command_lines(latentry: Latentry) -> None:
    (latentry.folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    (latentry.folder / "empty").mkdir()
    np.save(latentry.folder / "pickle.npy", np.array([{}]), allow_pickle=True)
    np.save(latentry.folder / "small.npy", IMAGES[..., :2])
    np.save(latentry.folder / "number.npy", np.float32(3))
    np.save(latentry.folder / "integers.npy", IMAGES.astype(np.int32))
    (latentry.folder / "text.npy").write_text("no array")
    output = ("-o", "out.npy")
    for arguments, message in {
        ("encode", "stacked", "images.npy"): "--output",
        ("encode", "stacked", *output): "FILES",
        ("encodes",): 'Did you mean "encode"',
        ("encode", "stacked", "nowhere.npy", *output): "nowhere.npy",
        ("encode", "stacked", "nowhere.png", *output): "nowhere.png",
        ("encode", "stacked", "broken.png", *output): "broken.png: expected an image",
        ("encode", "stacked", "empty", *output): "empty: expected a folder with images",
        ("encode", "stacked", "pickle.npy", *output): "pickle.npy: expected an .npy file of numbers",
        ("encode", "stacked", "images.npy", "small.npy", *output): "small.npy: expected rows of shape [1, 4, 4]",
        ("encode", "stacked", "text.npy", *output): "text.npy: expected an .npy file, as numpy.save writes them",
        ("encode", "stacked", "integers.npy", *output): "integers.npy: inputs: expected uint8",
        ("decode", "stacked", "number.npy", *output): "number.npy: expected an array with rows first",
        ("decode", "stacked", "photos/shoe0.png", *output): "shoe0.png: expected an .npy file",
        ("reconstruct", "stacked", "images.npy", "-o", "images.npy/x"): "a folder that can be written to",
        ("sample", "vae", "-o", "empty.npy/../out.npy"): "a folder that is there",
        ("sample", "vae", "--count", "1000000000", *output): "--count: expected 1 to 1000000",
        (
            "hash",
            "stacked",
            "images.npy",
        ): "MODEL: expected a model of the variant 'hashing', got 'stacked', a 'stacked'",
        ("hash", "hashing", "images.npy", "--query", "images.npy"): "--query: expected one image, got 5",
        ("hash", "hashing", "images.npy", "--max-distance", "2"): "--max-distance: expected with --query",
        (
            *("hash", "hashing", "images.npy", "--query", "photos/shoe0.png"),
            *("--max-distance", "-1"),
        ): "--max-distance: expected at least 0, got -1",
        ("hash", "hashing", "nowhere.png"): "nowhere.png",
        ("hash", "hashing"): "FILES",
        ("classify", "classifier", "nowhere.npy"): "nowhere.npy",
        ("classify", "classifier", "images.npy", "-o", "out.png"): "--output: expected *.npy",
        ("classify", "flat", "photos/shoe0.png"): "expected an .npy file, as 'flat' takes rows of shape [16]",
        ("sample", "vae", "--labels", "boot", *output): "--labels: expected none, as 'vae'",
        (
            "interpolate",
            "vae",
            "--start",
            "seeds:3-1",
            "--end",
            "seeds:1",
            *output,
        ): "--start: expected ranges that go up",
        ("interpolate", "vae", "--start", "seed:1", "--end", "seeds:1", *output): "--start: expected a path, or seeds:",
        ("health", "--timeout-s", "0"): "timeout_s: expected more than 0",
        ("health", "--address", "localhost:99999"): "address: expected HOST:PORT",
        ("encode", "stacked", "images.npy", "-o", "out.png"): "--output: expected *.npy",
        ("reconstruct", "stacked", "images.npy", "-o", "out.jpg"): "--output: expected *.npy, *.png or a folder",
        ("reconstruct", "stacked", "images.npy", "-o", "no/out.npy"): "a folder that is there",
        ("encode", "auto/x", "images.npy", *output): "MODEL: expected <name> or <name>/<version>",
        ("sample", "vae", "--count", "0", *output): "--count: expected 1",
        (
            "sample",
            "cgan",
            "--labels",
            "hat",
            *output,
        ): "--labels: expected numbers, ranges or boot, shirt, bag, got 'hat'",
        ("interpolate", "vae", "--start", "seeds:x", "--end", "seeds:1", *output): "--start: expected whole numbers",
        ("interpolate", "vae", "--start", "seeds:1", "--end", "seeds:1,2", *output): "end: expected 1 rows",
        ("health", "--address", "localhost"): "address: expected HOST:PORT",
        ("health", "--address", "example.org:1", "--token", "s"): "token: expected TLS",
    }.items():
        assert message in latentry.refused(2, *arguments)
    assert not (latentry.folder / "out.npy").exists()


def test_what_the_server_refuses(latentry: Latentry) -> None:
    np.save(latentry.folder / "wide.npy", np.zeros((2, 1, 4, 5), np.float32))
    np.save(latentry.folder / "loud.npy", np.full((2, 1, 4, 4), 2, np.float32))
    for arguments, message in {
        ("encode", "missing", "images.npy"): "missing",
        ("encode", "vae/9", "images.npy"): "9",
        ("encode", "cgan", "images.npy"): "ENCODE",
        ("score", "cstylegan", "images.npy"): "labels: expected 5 labels, one a row: the critic is conditional",
        ("sample", "cgan", "--truncation-psi", "0.5"): "truncation: expected no truncation",
        ("sample", "stylegan", "--truncation-psi", "0.5", "--truncation-cutoff", "-1"): "truncation.cutoff",
        ("encode", "stacked", "wide.npy"): "inputs",
        ("encode", "stacked", "loud.npy"): "inputs",
        ("sample", "cgan", "--labels", "7"): "labels",
        ("sample", "classifier", "--labels", "boot"): "the model is not conditional",
        ("classify", "stacked", "images.npy"): "CLASSIFY",
        ("encode", "stacked", "images.npy", "--address", "127.0.0.1:1"): "is latentry-server there (--address)",
    }.items():
        assert message in latentry.refused(1, *arguments, "-o", "out.npy")
    assert not (latentry.folder / "out.npy").exists()


def test_a_terminal_gets_a_bar(latentry: Latentry) -> None:
    np.save(latentry.folder / "many.npy", bundles.images(1000))
    command = (COMMANDS / "latentry", "encode", "stacked", "many.npy", "-o", "out.npy")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        done = subprocess.run(command, cwd=latentry.folder, env=latentry.environment, stderr=theirs, check=False)
        os.close(theirs)
        assert done.returncode == 0
        assert b"\xe2\x94\x81" in screen.read(100_000)  # the bar's line


def test_an_interrupt_stops_it(address: str, service: PlainService, tmp_path: Path) -> None:
    latentry = Latentry(address, tmp_path)
    command = (COMMANDS / "latentry", "sample", "slow", "-o", "out.npy")
    with subprocess.Popen(
        command, cwd=tmp_path, env=latentry.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        while not any(isinstance(request, SampleRequest) for request in service.requests):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == "latentry: stopped\n"
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_the_token_comes_from_the_environment(address: str, service: PlainService, tmp_path: Path) -> None:
    latentry = Latentry(address, tmp_path)
    latentry.environment["LATENTRY_TOKEN"] = "s3cret"  # noqa: S105
    latentry.ok("models")
    assert service.metadata[0]["authorization"] == "Bearer s3cret"


def test_without_the_extra_a_line_says_what_to_install() -> None:
    hide = "import sys; sys.modules['cyclopts'] = None; from latentry_client.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "latentry: cyclopts is missing: pip install 'latentry-client[cli]'\n"
