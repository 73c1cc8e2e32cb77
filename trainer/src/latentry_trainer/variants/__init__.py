"""The kinds of models, and the one table of them."""

import torch

from latentry_trainer.config import RunConfig
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.base import Batch, ExportGraph, Generative, GraphTensor, Phase, Stage, Variant
from latentry_trainer.variants.classifier import Classifier, ConvClassifier
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE

VARIANTS: dict[str, type[Variant]] = {
    "stacked": Stacked,
    "denoise-gaussian": DenoiseGaussian,
    "vae": VAE,
    "gan": GAN,
    "classifier": ConvClassifier,
}


def build_variant(config: RunConfig, input_shape: tuple[int, ...], num_labels: int = 0) -> Variant:
    """A variant with fresh weights, the same for the same seed on every device.

    Args:
        config: The run's configuration.
        input_shape: Shape of one image, (channels, height, width), or of one vector, (values,).
        num_labels: Number of the data set's classes, for variants that need labels.
    """
    variant = VARIANTS[config.variant]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        if variant.needs_labels:
            return variant(config.model, input_shape, num_labels)
        return variant(config.model, input_shape)


__all__ = [
    "VARIANTS",
    "Autoencoder",
    "Batch",
    "Classifier",
    "DenoiseGaussian",
    "ExportGraph",
    "Generative",
    "GraphTensor",
    "Phase",
    "Stage",
    "Variant",
    "build_variant",
]
