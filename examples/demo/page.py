"""The page: sections of pictures, and the code that made them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
import numpy as np
from latentry_trainer.report.grids import write_grid
from numpy.typing import NDArray

Images = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture with words."""

    file: str
    """The PNG's name."""
    name: str = ""
    """The model's, or what the picture is of."""
    note: str = ""
    """A few words more."""
    is_marked: bool = False
    """Whether the eye is to fall on it."""
    is_smooth: bool = False
    """Whether it is no grid of pixels."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page."""

    title: str
    """What can be done."""
    text: str
    """What is seen, in a sentence or two."""
    code: str
    """What makes the pictures."""
    layout: Literal["cards", "wide", "strips", "tiles"]
    """`cards` side by side, `wide` ones with fewer of them; `strips` below each other; `tiles`, small ones in rows."""
    pictures: Sequence[Picture]
    """At least one."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A model's row in the table at the end."""

    name: str
    preset: str
    figure: str
    images_seen: int
    training_time_s: float
    device: str
    capabilities: str


@dataclass(kw_only=True)
class Gallery:
    """Writes pictures into the page's folder."""

    folder: Path
    """Of the page."""
    _num_files: int = field(default=0, init=False)

    def grid(
        self, images: Images, num_columns: int, *, name: str = "", note: str = "", marked: bool = False
    ) -> Picture:
        """Writes images [N, C, H, W] in rows."""
        file = self.file("grid")
        write_grid(self.folder / file, images, num_columns=num_columns)
        return Picture(file=file, name=name, note=note, is_marked=marked)

    def file(self, kind: str) -> str:
        """A name for a PNG that no other picture has."""
        self._num_files += 1
        return f"{self._num_files:03d}-{kind}.png"


def write_page(path: Path, sections: Sequence[Section], facts: Sequence[Fact], commands: str) -> None:
    """Renders the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("page.html.j2").render(sections=sections, facts=facts, commands=commands)
    path.write_text(page, encoding="utf-8")
