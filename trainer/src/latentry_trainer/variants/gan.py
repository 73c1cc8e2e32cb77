"""The generative adversarial network (Goodfellow et al. 2014) of dense layers."""

from math import prod

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT, Sizes
from latentry_trainer.variants.adversarial import Adversarial, normalise_spectra
from latentry_trainer.variants.base import Batch
from latentry_trainer.variants.discrimination import MinibatchDiscrimination
from latentry_trainer.variants.layers import Activation, ToImages, dense, linear


class GAN(Adversarial):
    """Dense generator and critic."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Adversarial.Config):
        """Options of the dense GAN."""

        generator_sizes: Sizes = (100, 150)
        """Sizes of the generator's hidden layers."""
        critic_sizes: Sizes = (150, 100)
        """Sizes of the critic's hidden layers."""
        activation: Activation = "selu"
        """Activation of all hidden layers."""
        minibatch_discrimination: bool = False
        """Let the critic see how alike the images of a batch are (Salimans et al. 2016)."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int = 0) -> None:
        super().__init__(config, input_shape, num_labels)
        self._judges_alone = not config.minibatch_discrimination
        self.generator = DenseGenerator(config, input_shape, num_labels)
        self.critic = DenseCritic(config, input_shape, num_labels)
        if config.spectral_norm:
            normalise_spectra(self.critic)

    @property
    def judges_alone(self) -> bool:
        """Not with minibatch discrimination."""
        return self._judges_alone


class DenseGenerator(nn.Module):
    """Codings [N, codings_size], and labels [N] -> images [N, *input]."""

    def __init__(self, config: GAN.Config, input_shape: tuple[int, ...], num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        sizes = (config.codings_size + num_labels, *config.generator_sizes)
        self.layers = nn.Sequential(
            dense(sizes, config.activation), linear(sizes[-1], prod(input_shape)), ToImages(input_shape)
        )

    def forward(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codings, and labels where it takes some -> images."""
        images: Tensor = self.layers(with_labels(codings, labels, self.num_labels))
        return images


class DenseCritic(nn.Module):
    """Images [N, *input], and labels [N] -> scores [N]."""

    def __init__(self, config: GAN.Config, input_shape: tuple[int, ...], num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        sizes = (prod(input_shape) + num_labels, *config.critic_sizes)
        self.hidden = dense(sizes, config.activation)
        self.discrimination = MinibatchDiscrimination(sizes[-1]) if config.minibatch_discrimination else None
        self.score = linear(self.discrimination.num_outputs if self.discrimination else sizes[-1], 1)

    def forward(self, images: Tensor, labels: Tensor | None = None, batch: Batch | None = None) -> Tensor:  # noqa: ARG002 (nothing in it is random)
        """Images, and labels where it takes some -> scores."""
        features = self.hidden(with_labels(images.flatten(1), labels, self.num_labels))
        if self.discrimination:
            features = self.discrimination(features)
        scores: Tensor = self.score(features)
        return scores.flatten(0)


# x, y -> [x, y], y one-hot: Mirza & Osindero 2014, section 3.2
def with_labels(vectors: Tensor, labels: Tensor | None, num_labels: int) -> Tensor:
    """Vectors [N, D] and labels [N] -> [N, D + num_labels], the labels one-hot; without labels, the vectors."""
    if labels is None or not num_labels:
        return vectors
    return torch.cat((vectors, functional.one_hot(labels, num_labels).to(vectors)), dim=1)
