"""The presets: complete configurations by name, each with what to expect of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from latentry_trainer.config import OptimizerConfig, RunConfig, TrainingConfig, VariantConfig
from latentry_trainer.variants import VARIANTS
from latentry_trainer.variants.classifier import ConvClassifier
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A configuration and what to expect of it."""

    config: RunConfig
    """The whole configuration."""
    targets: Mapping[str, float]
    """What the figures on Fashion-MNIST's validation split must reach, by name."""
    training_time_s: int
    """About how long training takes on one CPU core."""


def _sgd(learning_rate: float) -> OptimizerConfig:
    return OptimizerConfig(name="sgd", learning_rate=learning_rate)


def _rmsprop(learning_rate: float) -> OptimizerConfig:
    return OptimizerConfig(name="rmsprop", learning_rate=learning_rate)


def _adam(learning_rate: float, beta1: float = 0.9) -> OptimizerConfig:
    return OptimizerConfig(name="adam", learning_rate=learning_rate, beta1=beta1)


_WIDE_GAN = GAN.Config(
    codings_size=32,
    generator_sizes=(256, 512),
    critic_sizes=(512, 256),
    activation="leaky_relu",
    gradient_penalty=0.3,
)

# name, the variant's options, optimiser, batch size, epochs, targets, training time in seconds
_TABLE: tuple[tuple[str, VariantConfig, OptimizerConfig, int, int, Mapping[str, float], int], ...] = (
    # The book's.
    ("stacked",                Stacked.Config(),         _sgd(1.5),        32, 20, {"bce": .2845, "rounded_accuracy": .936}, 35),  # noqa: E501
    ("denoise-gaussian",       DenoiseGaussian.Config(), _sgd(1.0),        32, 10, {"bce": .292}, 20),
    ("vae",                    VAE.Config(),             _rmsprop(1e-3),  128, 25, {"loss": .316}, 60),
    ("gan",                    GAN.Config(),             _rmsprop(1e-3),   32, 50, {}, 300),
    # Better.
    ("vae-adam",               VAE.Config(),             _adam(1e-3),     128, 25, {"loss": .311}, 60),
    # Ours.
    ("classifier",             ConvClassifier.Config(),  _adam(1e-3),      64, 12, {"accuracy": .92}, 150),
    # For a first look.
    ("stacked-quick",          Stacked.Config(),         _adam(2e-3),     128,  6, {}, 8),
    ("denoise-gaussian-quick", DenoiseGaussian.Config(), _adam(2e-3),     128,  6, {}, 9),
    ("vae-quick",              VAE.Config(),             _adam(2e-3),     128,  8, {}, 15),
    ("gan-quick",              _WIDE_GAN,                _adam(5e-4, .5), 128, 10, {}, 65),
    ("classifier-quick",       ConvClassifier.Config(),  _adam(2e-3),     128,  2, {}, 25),
)  # fmt: skip

_VARIANT_OF = {variant.Config: name for name, variant in VARIANTS.items()}

PRESETS = {
    name: Preset(
        config=RunConfig(
            preset=name,
            variant=_VARIANT_OF[type(model)],
            model=model,
            training=TrainingConfig(optimizer=optimizer, batch_size=batch_size, num_epochs=num_epochs),
        ),
        targets=targets,
        training_time_s=training_time_s,
    )
    for name, model, optimizer, batch_size, num_epochs, targets, training_time_s in _TABLE
}
