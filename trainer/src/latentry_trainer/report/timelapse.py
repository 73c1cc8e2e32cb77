"""The samples of a run as a short film: the same codings, from the first epoch to the last."""

from io import BytesIO
from pathlib import Path

from PIL import Image

from latentry_trainer import files

TIMELAPSE_FILE = "timelapse.webp"
MIN_GRIDS = 3  # fewer are no film

_MAX_FRAMES = (60, 30, 15)  # the most that make a small file
_MAX_BYTES = 1_000_000
_MAX_WIDTH_PX = 400
_QUALITY = 60  # of 100; lossless files are three times as large, and so are GIFs
_LONGEST_FRAME_MS = 400
_FILM_MS = 6_000
_LAST_FRAME_MS = 2_500


def write_timelapse(run_folder: Path) -> None:
    """Draws `timelapse.webp` of a run's `grids/samples-*.png`, where there are at least three.

    An animated WebP, which browsers and GitHub show; of many grids evenly spaced ones, first and last included. None is
    drawn where the last grid is still the first: of a generator that was not trained.
    """
    grids = sorted((run_folder / "grids").glob("samples-*.png"))
    if len(grids) < MIN_GRIDS or grids[0].read_bytes() == grids[-1].read_bytes():
        return
    for max_frames in _MAX_FRAMES:
        film = _film([_frame(path) for path in _evenly(grids, max_frames)])
        if len(film) <= _MAX_BYTES:
            break
    files.replace(run_folder / TIMELAPSE_FILE, film)


def _evenly(paths: list[Path], max_count: int) -> list[Path]:
    """At most so many of the paths, evenly spaced, the first and the last among them."""
    count = min(len(paths), max_count)
    return [paths[i * (len(paths) - 1) // (count - 1)] for i in range(count)]


def _frame(path: Path) -> Image.Image:
    """A grid, made smaller by a whole factor."""
    with Image.open(path) as grid:
        return grid.convert("RGB").reduce(-(-grid.width // _MAX_WIDTH_PX))


def _film(frames: list[Image.Image]) -> bytes:
    """The frames as an endless film that rests on the last."""
    duration_ms = min(_LONGEST_FRAME_MS, _FILM_MS // len(frames))
    content = BytesIO()
    frames[0].save(
        content,
        format="webp",
        save_all=True,
        append_images=frames[1:],
        duration=[duration_ms] * (len(frames) - 1) + [_LAST_FRAME_MS],
        loop=0,
        quality=_QUALITY,
    )
    return content.getvalue()
