"""One's own images, and scikit-learn's digits."""

import logging
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from latentry_trainer.config import DataConfig
from latentry_trainer.data import Dataset, load_dataset
from PIL import Image


def write_npz(path: Path, **arrays: np.ndarray) -> DataConfig:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return DataConfig(name="npz", path=path)


def write_images(folder: Path, count: int, size: tuple[int, int] = (40, 30)) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", size, (i * 10, 0, 255)).save(folder / f"{i:02d}.png")


def sorted_rows(dataset: Dataset) -> list[bytes]:
    return sorted(row.tobytes() for row in dataset.images.numpy())


def test_the_real_slice(slice_path: Path) -> None:
    dataset = load_dataset(DataConfig(name="npz", path=slice_path))
    assert dataset.input_shape == (1, 28, 28)
    assert {name: rows.stop - rows.start for name, rows in dataset.splits.items()} == {
        "train": 2400,
        "validation": 300,
        "test": 300,
    }
    assert dataset.label_names == tuple("0123456789")
    with np.load(slice_path, allow_pickle=False) as archive:
        assert sorted_rows(dataset) == sorted(row.tobytes() for row in archive["images"])


def test_splits_share_no_row_and_are_the_same_each_time(slice_path: Path) -> None:
    first, second = (load_dataset(DataConfig(name="npz", path=slice_path)) for _ in range(2))
    assert first.sha256 == second.sha256
    covered = sorted(row for rows in first.splits.values() for row in range(rows.start, rows.stop))
    assert covered == list(range(3000))


def test_the_hash_depends_on_images_and_labels(tmp_path: Path) -> None:
    images = np.arange(10 * 4, dtype=np.uint8).reshape(10, 2, 2)
    labels = np.zeros(10, np.int32)
    hashes = {
        load_dataset(write_npz(tmp_path / "a.npz", images=images)).sha256,
        load_dataset(write_npz(tmp_path / "b.npz", images=images, labels=labels)).sha256,
        load_dataset(write_npz(tmp_path / "c.npz", images=images[::-1], labels=labels)).sha256,
        load_dataset(write_npz(tmp_path / "d.npz", images=images, labels=labels + 1)).sha256,
    }
    assert len(hashes) == 4


def test_digits() -> None:
    dataset = load_dataset(DataConfig(name="digits"))
    assert dataset.images.shape == (1797, 1, 8, 8)
    assert dataset.images.max().item() == 255
    assert dataset.labels is not None
    assert dataset.labels.max().item() == 9


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((12, 6, 5), (1, 6, 5)), ((12, 3, 6, 5), (3, 6, 5)), ((12, 6, 5, 3), (3, 6, 5)), ((12, 6, 5, 1), (1, 6, 5))],
)
def test_npz_layouts(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    dataset = load_dataset(write_npz(tmp_path / "a.npz", images=np.zeros(shape, np.uint8)))
    assert dataset.input_shape == expected
    assert dataset.labels is None


def test_npz_floats_become_bytes(tmp_path: Path) -> None:
    images = np.linspace(0, 1, 10 * 4, dtype=np.float32).reshape(10, 2, 2)
    dataset = load_dataset(write_npz(tmp_path / "a.npz", images=images))
    assert sorted_rows(dataset) == sorted(row.tobytes() for row in np.rint(images * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros((10, 2, 2), np.uint8)}, "no array `images`"),
        ({"images": np.zeros(10, np.uint8)}, r"shape \(10,\), expected"),
        ({"images": np.zeros((10, 0), np.float32)}, r"shape \(10, 0\), expected"),
        ({"images": np.zeros((10, 4, 4, 7), np.uint8)}, "with 1 or 3 channels"),
        ({"images": np.zeros((10, 0, 2), np.uint8)}, r"shape \(10, 0, 2\), expected"),
        ({"images": np.zeros((10, 2, 2), np.int64)}, "is int64, expected uint8 or floats"),
        ({"images": np.full((10, 2, 2), 1.5)}, r"values from 1.5 to 1.5, expected finite floats in \[0, 1\]"),
        ({"images": np.full((10, 2, 2), np.nan)}, "values from nan to nan"),
        ({"images": np.zeros((9, 2, 2), np.uint8)}, "9 images, expected at least 10"),
        ({"images": np.zeros((10, 2, 2), np.uint8), "labels": np.zeros(9, int)}, r"expected whole numbers \(10,\)"),
        ({"images": np.zeros((10, 2, 2), np.uint8), "labels": np.zeros(10)}, "is float64"),
        ({"images": np.zeros((10, 2, 2), np.uint8), "labels": np.full(10, -1)}, "go from -1 to -1"),
        ({"images": np.zeros((10, 2, 2), np.uint8), "labels": np.full(10, 10**12)}, "expected 0 to at most 9"),
    ],
)
def test_npz_arrays_that_are_wrong(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_dataset(write_npz(tmp_path / "a.npz", **arrays))


def test_npz_never_loads_pickles(tmp_path: Path) -> None:
    config = write_npz(tmp_path / "a.npz", images=np.array([{"an": "object"}] * 10, dtype=object))
    with pytest.raises(ValueError, match=r"cannot read .* as an \.npz file: Object arrays cannot be loaded"):
        load_dataset(config)


def archive_of_terabytes() -> bytes:
    """An archive of a few bytes whose array claims to be large."""
    header, archive = BytesIO(), BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**8, 1000, 1000)})
    with ZipFile(archive, "w") as file:
        file.writestr("images.npy", header.getvalue())
    return archive.getvalue()


def damaged_archive() -> bytes:
    archive = BytesIO()
    np.savez_compressed(archive, images=np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    content = bytearray(archive.getvalue())
    content[len(content) // 2 : len(content) // 2 + 20] = b"\xff" * 20
    return bytes(content)


@pytest.mark.parametrize(
    "content", [b"", b"not an archive", b"PK\x03\x04 cut off", archive_of_terabytes(), damaged_archive()]
)
def test_npz_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"--data\.path: cannot read .*a\.npz as an \.npz file"):
        load_dataset(DataConfig(name="npz", path=path))


def test_a_flat_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "mine", 12)
    dataset = load_dataset(DataConfig(name="folder", path=tmp_path / "mine", image_size=16))
    assert dataset.images.shape == (12, 3, 16, 16)
    assert dataset.labels is None
    assert sorted(dataset.images[:, 0, 0, 0].tolist()) == [i * 10 for i in range(12)]
    assert (dataset.images[:, 2] == 255).all()


def test_a_folder_a_class(tmp_path: Path) -> None:
    write_images(tmp_path / "mine" / "cats", 6)
    write_images(tmp_path / "mine" / "dogs", 4)
    dataset = load_dataset(DataConfig(name="folder", path=tmp_path / "mine", greyscale=True))
    assert dataset.images.shape == (10, 1, 28, 28)
    assert dataset.label_names == ("cats", "dogs")
    assert dataset.labels is not None
    assert sorted(dataset.labels.tolist()) == [0] * 6 + [1] * 4


def test_unreadable_images_are_named_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "mine"
    write_images(folder, 12)
    (folder / "broken.png").write_bytes(b"not a picture")
    (folder / "cut-off.png").write_bytes((folder / "00.png").read_bytes()[:60])
    with caplog.at_level(logging.WARNING):
        dataset = load_dataset(DataConfig(name="folder", path=folder))
    assert len(dataset.images) == 12
    assert "broken.png" in caplog.text
    assert "cut-off.png" in caplog.text
    assert "skipped 2 unreadable of 14 images" in caplog.text


def test_modes_of_pixels(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write_images(folder, 10)
    pictures = {
        "a-16-bits": (Image.fromarray(np.full((4, 4), 0x80FF, np.uint16)), 0x80),
        "b-transparent": (Image.new("RGBA", (4, 4), (1, 2, 3, 0)), 255),
        "c-half-transparent": (Image.new("LA", (4, 4), (0, 0x80)), 127),
        "d-bits": (Image.new("1", (4, 4), 1), 255),
    }
    for name, (picture, _) in pictures.items():
        picture.save(folder / f"{name}.png")
    images = load_dataset(DataConfig(name="folder", path=folder)).images
    greys = {int(image[0, 0, 0]) for image in images if (image == image[0, 0, 0]).all()}
    assert greys == {value for _, value in pictures.values()}


def test_images_too_large_or_of_no_known_range_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "mine"
    write_images(folder, 10)
    Image.new("1", (12_000, 9_000)).save(folder / "huge.png")
    Image.new("F", (4, 4)).save(folder / "floats.tif")
    assert len(load_dataset(DataConfig(name="folder", path=folder)).images) == 10
    assert "huge.png: Image size (108000000 pixels) exceeds limit" in caplog.text
    assert "floats.tif: pixels of mode F" in caplog.text


def test_a_folder_that_is_no_class_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "mine" / "cats", 10)
    write_images(tmp_path / "mine" / "dogs" / "deeper", 10)
    (tmp_path / "mine" / ".cache").mkdir()
    assert load_dataset(DataConfig(name="folder", path=tmp_path / "mine")).label_names == ("cats",)
    assert [record.message.partition(": ")[0] for record in caplog.records] == [
        f"skipped the folder {tmp_path / 'mine' / 'dogs'}"
    ]


def test_strict_refuses_unreadable_images(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write_images(folder, 12)
    (folder / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"--data\.strict: 1 of 13 images .* are unreadable: broken\.png"):
        load_dataset(DataConfig(name="folder", path=folder, strict=True))


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        load_dataset(DataConfig(name="folder", path=tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no readable images"):
        load_dataset(DataConfig(name="folder", path=tmp_path))
    write_images(tmp_path / "mine", 12)
    write_images(tmp_path / "mine" / "class", 12)
    with pytest.raises(ValueError, match="images beside its sub-folders"):
        load_dataset(DataConfig(name="folder", path=tmp_path / "mine"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(name="npz"), "data set npz needs a path"),
        (DataConfig(name="folder"), "data set folder needs a path"),
        (DataConfig(name="digits", path=Path("x")), "data set digits takes no path"),
    ],
)
def test_paths_where_they_belong(config: DataConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_dataset(config)
