"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), found in one of four ways.

Whichever way the files come, their decompressed content must have the SHA-256 of the published one. Debian's package
holds the same content, compressed again.
"""

import gzip
import logging
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pooch
import torch
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from latentry_trainer.data.dataset import Dataset

LABEL_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_PACKAGE = "dataset-fashion-mnist"
_APT_TIMEOUT_S = 300

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class File:
    """A gzip-compressed file in the IDX format."""

    name: str
    published_sha256: str
    """Of the compressed file on the site."""
    content_sha256: str
    """Of the decompressed content."""
    num_header_bytes: int
    num_items: int
    item_shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Files:
    """The four files."""

    train_images: File
    train_labels: File
    test_images: File
    test_labels: File
    num_validation: int
    """The last so many of the training files are for validation."""

    def __iter__(self) -> Iterator[File]:
        return iter((self.train_images, self.train_labels, self.test_images, self.test_labels))


PUBLISHED = Files(
    train_images=File(
        name="train-images-idx3-ubyte.gz",
        published_sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        content_sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        num_header_bytes=16,
        num_items=60_000,
        item_shape=(1, 28, 28),
    ),
    train_labels=File(
        name="train-labels-idx1-ubyte.gz",
        published_sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        content_sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        num_header_bytes=8,
        num_items=60_000,
        item_shape=(),
    ),
    test_images=File(
        name="t10k-images-idx3-ubyte.gz",
        published_sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        content_sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        num_header_bytes=16,
        num_items=10_000,
        item_shape=(1, 28, 28),
    ),
    test_labels=File(
        name="t10k-labels-idx1-ubyte.gz",
        published_sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        content_sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        num_header_bytes=8,
        num_items=10_000,
        item_shape=(),
    ),
    num_validation=5_000,
)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where to look, and for what."""

    cache: Path = field(default_factory=lambda: Path(pooch.os_cache("latentry")) / "fashion-mnist")
    """Where downloads are kept; follows XDG_CACHE_HOME."""
    system: Path = Path("/usr/share/datasets/fashion-mnist")
    """Where Debian's package puts the files."""
    url: str = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    """The data set's own site."""
    files: Files = PUBLISHED
    """The files to find."""


def load(places: Places | None = None) -> Dataset:
    """Fashion-MNIST: 55 000 images for training, 5 000 for validation, 10 000 for test, each 1 x 28 x 28.

    Args:
        places: Where to look; absent: the usual places.

    Raises:
        ValueError: None of the four ways led to the files; the message says why, for each.
    """
    places = places or Places()
    failures = []
    for way, fetch in _WAYS.items():
        try:
            return _read(fetch(places), places.files)
        except (OSError, EOFError, ValueError, zlib.error, subprocess.SubprocessError) as error:
            failures.append(f"  {way}: {error}")
            _logger.info("Fashion-MNIST, %s: %s", way, error)
    raise ValueError(
        "data set fashion-mnist was not found in any of four ways:\n"
        + "\n".join(failures)
        + f"\ninstall Debian's package {DEBIAN_PACKAGE}, or put the four .gz files into {places.cache}"
    )


def _from_cache(places: Places) -> Path:
    return places.cache


def _from_system(places: Places) -> Path:
    return places.system


def _from_site(places: Places) -> Path:
    """Downloads the files into the cache."""
    downloads = pooch.create(
        path=places.cache, base_url=places.url, registry={file.name: file.published_sha256 for file in places.files}
    )
    pooch.get_logger().setLevel(logging.WARNING)
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        for file in places.files:
            _logger.warning("downloading %s%s", places.url, file.name)
            downloads.fetch(file.name, downloader=pooch.HTTPDownloader(progressbar=_DownloadBar(bars, file.name)))
    return places.cache


class _DownloadBar:
    """One of rich's bars in the form that pooch drives."""

    def __init__(self, bars: Progress, name: str) -> None:
        self.total = 0  # bytes; pooch sets it
        self._bars = bars
        self._task = bars.add_task(name, total=None)

    def update(self, num_bytes: int) -> None:
        self._bars.update(self._task, total=self.total, advance=num_bytes)

    def reset(self) -> None:
        self._bars.reset(self._task)

    def close(self) -> None:
        """The bars close together."""


def _from_debian(places: Places) -> Path:
    """Downloads Debian's package, without installing it, and unpacks the files into the cache."""
    with TemporaryDirectory(prefix="latentry-") as folder:
        _logger.warning("downloading Debian's package %s", DEBIAN_PACKAGE)
        _command("apt-get", "download", DEBIAN_PACKAGE, folder=folder)
        packages = sorted(Path(folder).glob(f"{DEBIAN_PACKAGE}_*.deb"))
        if not packages:
            raise FileNotFoundError(f"apt-get left no {DEBIAN_PACKAGE}_*.deb")
        _command("dpkg-deb", "--extract", str(packages[0]), "unpacked", folder=folder)
        places.cache.mkdir(parents=True, exist_ok=True)
        for file in places.files:
            shutil.copy(Path(folder, "unpacked", "usr/share/datasets/fashion-mnist", file.name), places.cache)
    return places.cache


def _command(*command: str, folder: str) -> None:
    """Runs a command in a folder; its last line of errors becomes the exception's message."""
    result = subprocess.run(  # noqa: S603 (fixed commands, found on PATH as apt's users expect)
        command, cwd=folder, capture_output=True, text=True, timeout=_APT_TIMEOUT_S, check=False
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise OSError(f"{' '.join(command[:2])} failed with exit status {result.returncode}: {reason}")


_WAYS: Mapping[str, Callable[[Places], Path]] = {
    "the cache": _from_cache,
    "Debian's package, installed": _from_system,
    "download from its site": _from_site,
    f"apt-get download {DEBIAN_PACKAGE}": _from_debian,
}


def _read(folder: Path, files: Files) -> Dataset:
    """The four files of a folder, checked."""
    images = np.concatenate((_read_file(folder, files.train_images), _read_file(folder, files.test_images)))
    labels = np.concatenate((_read_file(folder, files.train_labels), _read_file(folder, files.test_labels)))
    test = files.train_images.num_items
    validation = test - files.num_validation
    return Dataset(
        name="fashion-mnist",
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels.astype(np.int64)),
        label_names=LABEL_NAMES,
        splits={
            "train": slice(0, validation),
            "validation": slice(validation, test),
            "test": slice(test, len(images)),
        },
    )


def _read_file(folder: Path, file: File) -> np.ndarray:
    """uint8 [num_items, *item_shape]. Never reads more than the expected content."""
    num_bytes = file.num_header_bytes + file.num_items * int(np.prod(file.item_shape))
    with gzip.open(folder / file.name) as stream:
        content = stream.read(num_bytes + 1)
    if (found := sha256(content).hexdigest()) != file.content_sha256:
        raise ValueError(f"{folder / file.name} has SHA-256 {found} inside, expected {file.content_sha256}")
    return np.frombuffer(content, np.uint8, offset=file.num_header_bytes).reshape(-1, *file.item_shape)
