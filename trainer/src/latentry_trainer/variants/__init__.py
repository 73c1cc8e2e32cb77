"""The kinds of models, and the one table of them; autoencoders and GANs have their own, which are part of it."""

import torch

from latentry_trainer.config import RunConfig
from latentry_trainer.variants.adversarial import Adversarial
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.autoencoders import AUTOENCODERS
from latentry_trainer.variants.base import Batch, ExportGraph, Generative, GraphTensor, Phase, Stage, Variant
from latentry_trainer.variants.classifier import Classifier, ConvClassifier
from latentry_trainer.variants.denoising import Denoising
from latentry_trainer.variants.encoder_classifier import EncoderClassifier
from latentry_trainer.variants.gan_encoder import GANEncoder
from latentry_trainer.variants.gans import GANS
from latentry_trainer.variants.pca import PCA
from latentry_trainer.variants.vae import Variational

VARIANTS: dict[str, type[Variant]] = {
    **AUTOENCODERS,
    **GANS,
    "classifier": ConvClassifier,
    "encoder-classifier": EncoderClassifier,
    "gan-encoder": GANEncoder,
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
        if variant.needs_labels(config.model):
            return variant(config.model, input_shape, num_labels)
        return variant(config.model, input_shape)


__all__ = [
    "PCA",
    "VARIANTS",
    "Adversarial",
    "Autoencoder",
    "Batch",
    "Classifier",
    "Denoising",
    "EncoderClassifier",
    "ExportGraph",
    "GANEncoder",
    "Generative",
    "GraphTensor",
    "Phase",
    "Stage",
    "Variant",
    "Variational",
    "build_variant",
]
