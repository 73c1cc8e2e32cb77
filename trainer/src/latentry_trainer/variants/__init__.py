"""The kinds of models, and the one table of them."""

import torch

from latentry_trainer.config import RunConfig
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.base import Batch, ExportGraph, Generative, GraphTensor, Phase, Stage, Variant
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE

VARIANTS: dict[str, type[Variant]] = {
    "stacked": Stacked,
    "denoise-gaussian": DenoiseGaussian,
    "vae": VAE,
    "gan": GAN,
}


def build_variant(config: RunConfig, input_shape: tuple[int, ...]) -> Variant:
    """A variant with fresh weights, the same for the same seed on every device.

    Args:
        config: The run's configuration.
        input_shape: Shape of one image, (channels, height, width).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return VARIANTS[config.variant](config.model, input_shape)


__all__ = [
    "VARIANTS",
    "Autoencoder",
    "Batch",
    "DenoiseGaussian",
    "ExportGraph",
    "Generative",
    "GraphTensor",
    "Phase",
    "Stage",
    "Variant",
    "build_variant",
]
