"""Small GANs and batches that tests of adversarial training share."""

import torch
from latentry_trainer.variants import Batch
from latentry_trainer.variants.dcgan import DCGAN
from latentry_trainer.variants.gan import GAN
from torch import Generator, Tensor

SHAPE = (1, 8, 8)
NUM_LABELS = 3


def gan(**options: object) -> GAN:
    config = GAN.Config(codings_size=4, generator_sizes=(16,), critic_sizes=(16,), **options)  # type: ignore[arg-type]
    return GAN(config, SHAPE, NUM_LABELS if config.conditional else 0)


def dcgan(**options: object) -> DCGAN:
    config = DCGAN.Config(**{"codings_size": 4, "filters": (4, 8), "kernel_size": 3, **options})  # type: ignore[arg-type]
    return DCGAN(config, SHAPE, NUM_LABELS if config.conditional else 0)


def images(num_rows: int, seed: int = 1) -> Tensor:
    return torch.rand(num_rows, *SHAPE, generator=Generator().manual_seed(seed))


def batch(num_rows: int = 6, *, seed: int = 0, progress: float = 0.0) -> Batch:
    labels = torch.arange(num_rows) % NUM_LABELS
    generator = Generator().manual_seed(seed)
    return Batch(inputs=images(num_rows), labels=labels, generator=generator, progress=progress)
