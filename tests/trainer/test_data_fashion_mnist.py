"""The four ways to Fashion-MNIST, each really gone: a folder, a folder, a web server, a Debian package.

The files are small ones, made of real images, with pins of their own.
"""

import gzip
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from latentry_trainer.data import Dataset, fashion_mnist
from latentry_trainer.data.fashion_mnist import DEBIAN_PACKAGE, PUBLISHED, File, Files, Places

NOWHERE = "http://127.0.0.1:9/"  # the discard port: nothing answers
NUM_TRAINING_FILE, NUM_VALIDATION, NUM_TEST = 60, 10, 20


@pytest.fixture
def published(tmp_path: Path, slice_path: Path) -> tuple[Path, Files]:
    """A folder with the four files as a site publishes them, and their pins."""
    folder = tmp_path / "published"
    folder.mkdir()
    with np.load(slice_path, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    train, test = slice(0, NUM_TRAINING_FILE), slice(NUM_TRAINING_FILE, NUM_TRAINING_FILE + NUM_TEST)
    return folder, Files(
        train_images=write_idx(folder / "train-images-idx3-ubyte.gz", images[train]),
        train_labels=write_idx(folder / "train-labels-idx1-ubyte.gz", labels[train]),
        test_images=write_idx(folder / "t10k-images-idx3-ubyte.gz", images[test]),
        test_labels=write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels[test]),
        num_validation=NUM_VALIDATION,
    )


def write_idx(path: Path, array: np.ndarray) -> File:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content))
    return File(
        name=path.name,
        published_sha256=sha256(path.read_bytes()).hexdigest(),
        content_sha256=sha256(content).hexdigest(),
        num_header_bytes=len(header),
        num_items=len(array),
        item_shape=() if array.ndim == 1 else (1, *array.shape[1:]),
    )


@pytest.fixture
def site(published: tuple[Path, Files], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web server that serves the published files."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(published[0]))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `apt-get` whose download fails, until a package lies beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "apt-get"
    script.write_text(
        "#!/bin/sh\n"
        f'[ "$*" = "download {DEBIAN_PACKAGE}" ] || {{ echo "E: unexpected $*" >&2; exit 99; }}\n'
        f'cp "{folder}"/*.deb . 2>/dev/null && exit\n'
        f'echo "E: Unable to locate package {DEBIAN_PACKAGE}" >&2; exit 100\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def build_package(published: Path, target: Path) -> None:
    """A real Debian package that holds the published content, compressed again as Debian does."""
    root = target / "root"
    data = root / "usr/share/datasets/fashion-mnist"
    data.mkdir(parents=True)
    for path in published.iterdir():
        (data / path.name).write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    (root / "DEBIAN").mkdir(mode=0o755)
    (root / "DEBIAN/control").write_text(
        f"Package: {DEBIAN_PACKAGE}\nVersion: 0.1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: t\n"
    )
    package = target / f"{DEBIAN_PACKAGE}_0.1_all.deb"
    subprocess.run(["dpkg-deb", "--build", root, package], check=True, capture_output=True)


def places(tmp_path: Path, files: Files, *, system: Path | None = None, url: str = NOWHERE) -> Places:
    return Places(cache=tmp_path / "cache", system=system or tmp_path / "no-system", url=url, files=files)


def check(dataset: Dataset, slice_path: Path) -> None:
    with np.load(slice_path, allow_pickle=False) as archive:
        expected = archive["images"][: NUM_TRAINING_FILE + NUM_TEST, np.newaxis]
        assert np.array_equal(dataset.images.numpy(), expected)
        assert dataset.labels is not None
        assert np.array_equal(dataset.labels.numpy(), archive["labels"][: NUM_TRAINING_FILE + NUM_TEST])
    assert dataset.splits == {
        "train": slice(0, NUM_TRAINING_FILE - NUM_VALIDATION),
        "validation": slice(NUM_TRAINING_FILE - NUM_VALIDATION, NUM_TRAINING_FILE),
        "test": slice(NUM_TRAINING_FILE, NUM_TRAINING_FILE + NUM_TEST),
    }
    assert dataset.label_names[9] == "Ankle boot"


def test_from_the_cache(tmp_path: Path, published: tuple[Path, Files], slice_path: Path) -> None:
    folder, files = published
    folder.rename(tmp_path / "cache")
    check(fashion_mnist.load(places(tmp_path, files)), slice_path)


def test_from_debians_package_installed(tmp_path: Path, published: tuple[Path, Files], slice_path: Path) -> None:
    folder, files = published
    check(fashion_mnist.load(places(tmp_path, files, system=folder)), slice_path)
    assert not (tmp_path / "cache").exists()


def test_from_its_site_and_then_from_the_cache(
    tmp_path: Path, published: tuple[Path, Files], site: str, slice_path: Path
) -> None:
    _, files = published
    check(fashion_mnist.load(places(tmp_path, files, url=site)), slice_path)
    check(fashion_mnist.load(places(tmp_path, files)), slice_path)


def test_from_debians_package_downloaded_and_then_from_the_cache(
    tmp_path: Path, published: tuple[Path, Files], apt_get: Path, slice_path: Path
) -> None:
    folder, files = published
    build_package(folder, apt_get)
    check(fashion_mnist.load(places(tmp_path, files)), slice_path)
    check(fashion_mnist.load(places(tmp_path, files)), slice_path)


@pytest.mark.usefixtures("apt_get")
def test_when_all_ways_fail_one_error_says_why_for_each(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not found in any of four ways") as caught:
        fashion_mnist.load(places(tmp_path, PUBLISHED))
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("  the cache: [Errno 2] No such file")
    assert lines[2].startswith("  Debian's package, installed: [Errno 2] No such file")
    assert lines[3].startswith("  download from its site: ")
    assert "127.0.0.1" in lines[3]
    assert lines[4].startswith(f"  apt-get download {DEBIAN_PACKAGE}: ")
    assert "exit status 100: E: Unable to locate package" in lines[4]
    assert str(tmp_path / "cache") in lines[5]


@pytest.mark.usefixtures("apt_get")
@pytest.mark.parametrize(
    # The time in a gzip header would give each process that collects the tests other names for them.
    ("content", "message"),
    [
        (gzip.compress(b"something else", mtime=0), "has SHA-256 .* inside, expected"),
        (b"not compressed", "the cache: Not a gzipped file"),
        (gzip.compress(b"cut off" * 1000, mtime=0)[:-20], "the cache: Compressed file ended"),
        (gzip.compress(b"x", mtime=0)[:10] + b"\xff" * 20, "the cache: Error -3 while decompressing"),
    ],
)
def test_a_file_that_is_not_the_published_one_is_refused(
    tmp_path: Path, published: tuple[Path, Files], content: bytes, message: str
) -> None:
    folder, files = published
    (folder / files.test_labels.name).write_bytes(content)
    folder.rename(tmp_path / "cache")
    with pytest.raises(ValueError, match=message):
        fashion_mnist.load(places(tmp_path, files))


@pytest.mark.usefixtures("apt_get")
def test_a_download_that_is_not_the_published_one_is_refused(
    tmp_path: Path, published: tuple[Path, Files], site: str
) -> None:
    folder, files = published
    (folder / files.train_images.name).write_bytes(gzip.compress(b"something else"))
    with pytest.raises(ValueError, match="download from its site: SHA256 hash of downloaded file"):
        fashion_mnist.load(places(tmp_path, files, url=site))


@pytest.mark.skipif(not Places().system.is_dir(), reason=f"Debian's package {DEBIAN_PACKAGE} is not installed")
def test_debians_real_files_have_the_published_content(tmp_path: Path) -> None:
    dataset = fashion_mnist.load(Places(cache=tmp_path / "no-cache", url=NOWHERE))
    assert dataset.images.shape == (70_000, 1, 28, 28)
    assert {name: rows.stop - rows.start for name, rows in dataset.splits.items()} == {
        "train": 55_000,
        "validation": 5_000,
        "test": 10_000,
    }
