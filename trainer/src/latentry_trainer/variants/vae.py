"""The variational autoencoder (Kingma & Welling 2014)."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from latentry_trainer.config import STRICT, Count, Sizes
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.base import Batch, ExportGraph, GraphTensor
from latentry_trainer.variants.layers import dense, linear


class VAE(Autoencoder):
    """Dense Gaussian encoder and Bernoulli decoder with the prior N(0, I)."""

    capabilities = Autoencoder.capabilities | {"SAMPLE"}

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Autoencoder.Config):
        """Options of the VAE."""

        hidden_sizes: Sizes = (150, 100)
        """Sizes of the encoder's hidden layers; the decoder mirrors them."""
        codings_size: Count = 10
        """Length of a coding."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.codings_size = config.codings_size
        sizes = (prod(input_shape), *config.hidden_sizes)
        self.encoder = _GaussianEncoder(sizes, config.codings_size)
        mirrored = (config.codings_size, *reversed(config.hidden_sizes))
        self.decoder = nn.Sequential(dense(mirrored), linear(mirrored[-1], sizes[0]))

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.codings_size,)

    def encode(self, inputs: Tensor) -> Tensor:
        """Images [N, *input] -> the means of their codings [N, codings_size]."""
        mean: Tensor = self.encoder(inputs)[0]
        return mean

    # -ELBO = -log p(x|z) + KL(q(z|x) ‖ N(0, I)), here divided by the number of values: equation 10
    def loss(self, batch: Batch) -> Tensor:
        """Negative evidence lower bound of a batch, per value."""
        logits, kl = self.reconstruct_with_kl(batch)
        return self.reconstruction_loss(logits, batch.inputs) + kl

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """The loss and its two parts, with sampled codings, as the book measures them."""
        logits, kl = self.reconstruct_with_kl(batch)
        loss = self.reconstruction_loss(logits, batch.inputs) + kl
        return {"loss": loss, **self.reconstruction_metrics(logits, batch.inputs), "kl": kl}

    def reconstruct_with_kl(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of a batch by way of sampled codings, and the codings' KL divergence from N(0, I), per value."""
        mean, log_variance = self.encoder(batch.inputs)
        logits = self.decoder(sample_codings(mean, log_variance, batch.normals(*self.codings_shape)))
        return logits, kl_divergence(mean, log_variance).mean() / prod(self.input_shape)

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """As every autoencoder's; the encoder also gives the log of the variance."""
        encoder, *others = super().graph_modules()
        log_variance = GraphTensor(name="log_variance", shape=self.codings_shape)
        return (replace(encoder, outputs=(*encoder.outputs, log_variance)), *others)


class _GaussianEncoder(nn.Module):
    """Images [N, *input] -> mean and log_variance, both [N, codings_size]."""

    def __init__(self, sizes: tuple[int, ...], codings_size: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), dense(sizes))
        self.mean = linear(sizes[-1], codings_size)
        self.log_variance = linear(sizes[-1], codings_size)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(inputs)
        return self.mean(hidden), self.log_variance(hidden)


# z = mean + std ⊙ ε, ε ~ N(0, I): section 2.4, the reparametrisation
def sample_codings(mean: Tensor, log_variance: Tensor, epsilon: Tensor) -> Tensor:
    """Draws codings [N, K] from N(mean, exp(log_variance)) by way of epsilon [N, K] ~ N(0, I)."""
    return mean + torch.exp(log_variance / 2) * epsilon


# KL = -½ sum over j of (1 + log var_j - mean_j² - var_j): appendix B
def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, I) in nats: [N, K] -> [N]."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1)
