"""What every section needs: the server's models, and test images to call them with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from latentry_client import Client
from latentry_client.results import Model
from latentry_trainer.cards import main_figure
from latentry_trainer.data import Dataset
from latentry_trainer.report.figures import is_higher_better
from numpy.typing import NDArray

from examples.demo.page import Gallery, Images, Section

SEED = 42


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A visit to the server."""

    client: Client
    models: list[Model]
    """Those that take or give the data set's images."""
    dataset: Dataset
    gallery: Gallery

    @property
    def folder(self) -> Path:
        """The page's."""
        return self.gallery.folder

    def images(self, count: int) -> Images:
        """The first test images, [count, 1, 28, 28] in [0, 1]."""
        return np.asarray(self.dataset.images_of("test")[:count].numpy() / 255, np.float32)

    def labels(self, count: int) -> NDArray[np.int64]:
        """Their labels, [count]."""
        labels = self.dataset.labels_of("test")
        assert labels is not None, "Fashion-MNIST has labels"
        return np.asarray(labels[:count].numpy())

    def able(self, *capabilities: str, by: str = "") -> list[Model]:
        """The models with these capabilities, the best of them first: by a figure, or by the one of their kind."""
        able = [model for model in self.models if model.capabilities.issuperset(capabilities)]
        return sorted(able, key=lambda model: _rank(model, by or _main_figure(model)))


Draw = Callable[[Visit], Section | None]
"""Makes a section; None where no model is served that could fill it."""


def is_conditional(model: Model) -> bool:
    """Whether a generator takes labels."""
    return bool(model.label_names) and "sample" in model.capabilities


def figure(model: Model, name: str = "") -> str:
    """A figure on validation images, in words; the one of the model's kind where none is named."""
    name = name or _main_figure(model)
    return next((f"{name} {value:.3g}" for value in _values(model, name)), "")


def _main_figure(model: Model) -> str:
    return main_figure(model.variant, [metric.name for metric in model.metrics]) or ""


def _rank(model: Model, name: str) -> tuple[float, str]:
    sign = -1 if is_higher_better(name) else 1
    return next((sign * value for value in _values(model, name)), np.inf), model.name


def _values(model: Model, name: str) -> list[float]:
    return [metric.value for metric in model.metrics if metric.name == name and metric.split == "validation"]
