"""The presets: complete configurations by name, each with what to expect of it."""

from dataclasses import dataclass

from latentry_trainer.config import OptimizerConfig, RunConfig, TrainingConfig, VariantConfig
from latentry_trainer.variants.denoising import DenoiseGaussian
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A configuration and what to expect of it."""

    config: RunConfig
    """The whole configuration."""
    expected: str
    """Figures on Fashion-MNIST's validation split, and the time of training on one CPU core."""


def _sgd(learning_rate: float) -> OptimizerConfig:
    return OptimizerConfig(name="sgd", learning_rate=learning_rate)


def _rmsprop(learning_rate: float) -> OptimizerConfig:
    return OptimizerConfig(name="rmsprop", learning_rate=learning_rate)


def _adam(learning_rate: float, beta1: float = 0.9) -> OptimizerConfig:
    return OptimizerConfig(name="adam", learning_rate=learning_rate, beta1=beta1)


_WIDE_GAN = GAN.Config(
    codings_size=32, generator_sizes=(256, 512), critic_sizes=(512, 256), activation="leaky_relu",
    average_half_life_images=20_000,
)  # fmt: skip

# name, variant, the variant's options, optimiser, batch size, epochs, what to expect
_TABLE: tuple[tuple[str, str, VariantConfig, OptimizerConfig, int, int, str], ...] = (
    # The book's.
    ("stacked",                "stacked",          Stacked.Config(),         _sgd(1.5),       32, 20, ""),
    ("denoise-gaussian",       "denoise-gaussian", DenoiseGaussian.Config(), _sgd(1.0),       32, 10, ""),
    ("vae",                    "vae",              VAE.Config(),             _rmsprop(1e-3), 128, 25, ""),
    ("gan",                    "gan",              GAN.Config(),             _rmsprop(1e-3),  32, 50, ""),
    # Better.
    ("vae-adam",               "vae",              VAE.Config(),             _adam(1e-3),    128, 25, ""),
    # For a first look.
    ("stacked-quick",          "stacked",          Stacked.Config(),         _adam(2e-3),    128,  5, ""),
    ("denoise-gaussian-quick", "denoise-gaussian", DenoiseGaussian.Config(), _adam(2e-3),    128,  5, ""),
    ("vae-quick",              "vae",              VAE.Config(),             _adam(2e-3),    128,  8, ""),
    ("gan-quick",              "gan",              _WIDE_GAN,                _adam(2e-4, .5), 128, 12, ""),
)  # fmt: skip

PRESETS = {
    name: Preset(
        config=RunConfig(
            preset=name,
            variant=variant,
            model=model,
            training=TrainingConfig(optimizer=optimizer, batch_size=batch_size, num_epochs=num_epochs),
        ),
        expected=expected,
    )
    for name, variant, model, optimizer, batch_size, num_epochs, expected in _TABLE
}
