from pathlib import Path

import numpy as np
import pytest
from latentry_trainer.report.grids import write_grid
from latentry_trainer.report.timelapse import write_timelapse
from PIL import Image, ImageSequence

SHAPE = (1, 28, 28)


def write_grids(folder: Path, levels: list[float]) -> None:
    for epoch, level in enumerate(levels, start=1):
        images = np.full((60, *SHAPE), level)
        write_grid(folder / "grids" / f"samples-{100 * epoch:09d}.png", images, num_columns=10)


def frames(path: Path) -> list[tuple[np.ndarray, int]]:
    """Each frame's grey values and its duration in milliseconds."""
    with Image.open(path) as film:
        return [(np.asarray(frame.convert("L")), frame.info["duration"]) for frame in ImageSequence.Iterator(film)]


@pytest.mark.parametrize("num_grids", [0, 1, 2])
def test_too_few_grids_are_no_film(tmp_path: Path, num_grids: int) -> None:
    write_grids(tmp_path, [0.5] * num_grids)
    write_timelapse(tmp_path)
    assert not (tmp_path / "timelapse.webp").exists()


def test_the_film_shows_every_grid_in_order_and_rests_on_the_last(tmp_path: Path) -> None:
    levels = [0.0, 0.2, 0.6, 1.0]
    write_grids(tmp_path, levels)
    write_grid(tmp_path / "grids" / "interpolation-000000100.png", np.ones((60, *SHAPE)), num_columns=10)
    write_timelapse(tmp_path)
    shown = frames(tmp_path / "timelapse.webp")
    assert [round(grid[14, 14] / 255, 1) for grid, _ in shown] == levels
    durations_ms = [duration for _, duration in shown]
    assert len(set(durations_ms[:-1])) == 1
    assert durations_ms[-1] > durations_ms[0]
    assert shown[0][0].shape == (178, 298)
    with Image.open(tmp_path / "timelapse.webp") as film:
        assert film.info["loop"] == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["timelapse.webp"]


def test_of_a_long_run_evenly_spaced_grids_are_shown(tmp_path: Path) -> None:
    levels = [37 * i % 90 / 89 for i in range(90)]  # neighbours differ: frames that are alike are shown as one
    write_grids(tmp_path, levels)
    write_timelapse(tmp_path)
    shown = [grid[14, 14] / 255 for grid, _ in frames(tmp_path / "timelapse.webp")]
    np.testing.assert_allclose(shown, [levels[int(i * 89 / 59)] for i in range(60)], atol=0.03)


def test_the_file_stays_small_whatever_the_images_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "grids").mkdir()
    for epoch in range(60):
        noise = Image.fromarray(generator.integers(256, size=(240, 400, 3), dtype=np.uint8))
        noise.save(tmp_path / "grids" / f"samples-{epoch:09d}.png", compress_level=0)
    write_timelapse(tmp_path)
    assert (tmp_path / "timelapse.webp").stat().st_size <= 1_000_000
    shown = frames(tmp_path / "timelapse.webp")
    assert len(shown) < 60
    assert shown[0][0].shape == (240, 400)


def test_samples_that_stay_the_same_are_no_film(tmp_path: Path) -> None:
    write_grids(tmp_path, [0.5] * 4)
    write_timelapse(tmp_path)
    assert not (tmp_path / "timelapse.webp").exists()
