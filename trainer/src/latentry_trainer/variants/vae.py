"""The variational autoencoder (Kingma & Welling 2014), whose equations are meant where no other paper is named."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from latentry_trainer.config import STRICT, Count, Positive, Sizes, TrainingConfig
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.base import Batch, ExportGraph, GraphTensor
from latentry_trainer.variants.layers import dense, linear


class Variational(Autoencoder):
    """What variational autoencoders share: Gaussian codings with the prior N(0, I), and the evidence lower bound."""

    fits_prior = False
    encoder: "GaussianEncoder"
    kl_weight: float = 1.0
    """Weight of the KL divergence; 1 makes the loss a bound of the likelihood."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Autoencoder.Config):
        """Options of all variational autoencoders."""

        codings_size: Count = 10
        """Length of a coding."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.codings_size = config.codings_size

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.codings_size,)

    def encode_distribution(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, *input] -> mean and log_variance of their codings, both [N, codings_size]."""
        mean, log_variance = self.encoder(inputs)
        return mean, log_variance

    def encode(self, inputs: Tensor) -> Tensor:
        """Images [N, *input] -> the means of their codings [N, codings_size]."""
        return self.encode_distribution(inputs)[0]

    # -ELBO = -log p(x|z) + KL(q(z|x) ‖ N(0, I)), here divided by the number of values: equation 10
    def loss(self, batch: Batch) -> Tensor:
        """Negative evidence lower bound of a batch, per value."""
        logits, kl = self.reconstruct_with_kl(batch)
        return self.reconstruction_loss(logits, batch.inputs) + self.kl_weight_after(batch.images_seen) * kl

    def kl_weight_after(self, images_seen: int) -> float:  # noqa: ARG002 (for those that change it)
        """Weight of the KL divergence when so many images have been shown."""
        return self.kl_weight

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """The loss and its two parts, with sampled codings, as the book measures them."""
        logits, kl = self.reconstruct_with_kl(batch)
        loss = self.reconstruction_loss(logits, batch.inputs) + self.kl_weight * kl
        return {"loss": loss, **self.reconstruction_metrics(logits, batch.inputs), "kl": kl}

    def reconstruct_with_kl(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of a batch by way of sampled codings, and the codings' KL divergence from N(0, I), per value."""
        mean, log_variance = self.encode_distribution(batch.inputs)
        logits = self.decoder(sample_codings(mean, log_variance, batch.normals(*self.codings_shape)))
        return logits, kl_divergence(mean, log_variance).mean() / prod(self.input_shape)

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """As every autoencoder's; the encoder also gives the log of the variance."""
        encoder, *others = super().graph_modules()
        log_variance = GraphTensor(name="log_variance", shape=self.codings_shape)
        return (replace(encoder, outputs=(*encoder.outputs, log_variance)), *others)


class VAE(Variational):
    """Dense encoder and mirrored decoder."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Variational.Config):
        """Options of the VAE."""

        hidden_sizes: Sizes = (150, 100)
        """Sizes of the encoder's hidden layers; the decoder mirrors them."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        sizes = (prod(input_shape), *config.hidden_sizes)
        hidden = nn.Sequential(nn.Flatten(), dense(sizes))
        self.encoder = GaussianEncoder(hidden, sizes[-1], config.codings_size)
        mirrored = (config.codings_size, *sizes[:0:-1])
        self.decoder = nn.Sequential(dense(mirrored), linear(mirrored[-1], sizes[0]))


class BetaVAE(VAE):
    """A VAE that weighs the KL divergence (Higgins et al. 2017), growing into the weight (Sønderby et al. 2016)."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(VAE.Config):
        """Options of the β-VAE."""

        kl_weight: Positive = 4.0
        """Weight of the KL divergence, the paper's β; 1: the VAE's loss."""
        warm_up_images: Annotated[int, Field(ge=0, lt=2**63)] = 0
        """The weight grows linearly from 0 while so many images are shown; 0: it is whole from the beginning."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.kl_weight = config.kl_weight
        self.warm_up_images = config.warm_up_images

    def check_training(self, training: TrainingConfig, num_images: int) -> None:
        """Refuses a warm-up that the training would not see the end of."""
        shown = training.num_epochs * num_images
        if self.warm_up_images > shown:
            raise ValueError(
                f"option --model.warm_up_images: expected at most the {shown} images that are shown in "
                f"{training.num_epochs} epochs of {num_images}, got {self.warm_up_images}"
            )

    # log p(x|z) - β KL(q(z|x) ‖ p(z)): Higgins et al. 2017, equation 4
    def kl_weight_after(self, images_seen: int) -> float:
        """Weight of the KL divergence when so many images have been shown: linear, then constant."""
        if images_seen >= self.warm_up_images:
            return self.kl_weight
        return self.kl_weight * images_seen / self.warm_up_images


class GaussianEncoder(nn.Module):
    """Images [N, *input] -> mean and log_variance, both [N, codings_size].

    Args:
        hidden: Images [N, *input] -> features [N, num_features].
        num_features: Length of a row of features.
        codings_size: Length of a coding.
    """

    def __init__(self, hidden: nn.Module, num_features: int, codings_size: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.mean = linear(num_features, codings_size)
        self.log_variance = linear(num_features, codings_size)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, *input] -> mean and log_variance."""
        features = self.hidden(inputs)
        return self.mean(features), self.log_variance(features)


# z = mean + std ⊙ ε, ε ~ N(0, I): section 2.4, the reparametrisation
def sample_codings(mean: Tensor, log_variance: Tensor, epsilon: Tensor) -> Tensor:
    """Draws codings [N, K] from N(mean, exp(log_variance)) by way of epsilon [N, K] ~ N(0, I)."""
    return mean + torch.exp(log_variance / 2) * epsilon


# KL = -½ sum over j of (1 + log var_j - mean_j² - var_j): appendix B
def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, I) in nats: [N, K] -> [N]."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1)
