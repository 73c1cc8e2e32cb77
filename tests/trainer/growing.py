"""Small growing networks and batches that their tests share."""

from typing import TypeVar

import torch
from latentry_trainer.variants import Batch
from latentry_trainer.variants.progan import ProGAN
from latentry_trainer.variants.stylegan import StyleGAN
from torch import Generator, Tensor

SHAPE = (2, 13, 10)
"""Of images that are padded to 16 x 16, the third resolution."""
NUM_LABELS = 3
CODINGS_SIZE = 6

AnyGrowing = TypeVar("AnyGrowing", ProGAN, StyleGAN)


def progan(**options: object) -> ProGAN:
    return _build(ProGAN, options)


def stylegan(**options: object) -> StyleGAN:
    return _build(StyleGAN, {"mapping_layers": 2, **options})


def _build(variant: type[AnyGrowing], options: dict[str, object]) -> AnyGrowing:
    torch.manual_seed(0)
    small = {"codings_size": CODINGS_SIZE, "base_feature_maps": 64, "max_feature_maps": 8}
    config = variant.Config(**{**small, **options})  # type: ignore[arg-type]
    return variant(config, SHAPE, NUM_LABELS if config.conditional else 0)


def codings(num_rows: int, seed: int = 2) -> Tensor:
    return torch.randn(num_rows, CODINGS_SIZE, generator=Generator().manual_seed(seed))


def batch(num_rows: int = 8, *, progress: float = 0.0, seed: int = 0) -> Batch:
    inputs = torch.rand(num_rows, *SHAPE, generator=Generator().manual_seed(1))
    labels = torch.arange(num_rows) % NUM_LABELS
    return Batch(inputs=inputs, labels=labels, generator=Generator().manual_seed(seed), progress=progress)
