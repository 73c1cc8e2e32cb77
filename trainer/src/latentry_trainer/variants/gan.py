"""The generative adversarial network (Goodfellow et al. 2014)."""

from collections.abc import Mapping
from math import prod
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT, Count, Sizes, TrainingConfig, VariantConfig
from latentry_trainer.variants.base import Batch, ExportGraph, Generative, GraphTensor, Phase, Stage
from latentry_trainer.variants.layers import Activation, ToImages, dense, linear

_PENALTY_PARTS = 8  # the penalty is estimated on an eighth of each batch: it costs two more passes


class GAN(Generative):
    """Dense generator and critic with the non-saturating loss."""

    capabilities = frozenset({"DECODE", "SAMPLE", "INTERPOLATE"})

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(VariantConfig):
        """Options of the GAN."""

        codings_size: Count = 30
        """Length of a coding."""
        generator_sizes: Sizes = (100, 150)
        """Sizes of the generator's hidden layers."""
        critic_sizes: Sizes = (150, 100)
        """Sizes of the critic's hidden layers."""
        activation: Activation = "selu"
        """Activation of all hidden layers."""
        gradient_penalty: Annotated[float, Field(ge=0)] = 0.0
        """Weight of the critic's R1 penalty, which keeps samples from becoming all alike; 0: none, as in the paper."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.config = config
        num_values = prod(input_shape)
        generator_sizes = (config.codings_size, *config.generator_sizes)
        critic_sizes = (num_values, *config.critic_sizes)
        self.generator = nn.Sequential(
            dense(generator_sizes, config.activation), linear(generator_sizes[-1], num_values), ToImages(input_shape)
        )
        self.critic = nn.Sequential(
            nn.Flatten(), dense(critic_sizes, config.activation), linear(critic_sizes[-1], 1), nn.Flatten(0)
        )

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.config.codings_size,)

    def decode(self, codings: Tensor) -> Tensor:
        """Codings [N, codings_size] -> images [N, *input]."""
        images: Tensor = self.generator(codings)
        return images

    # max over D of E[log D(x)] + E[log(1 - D(G(z)))]: equation 1
    def critic_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of telling images [N, *input] from as many generated ones."""
        inputs = batch.inputs
        with torch.no_grad():
            fakes = self.decode(batch.normals(*self.codings_shape))
        scores = self.critic(torch.cat((inputs, fakes)))  # [2N]
        is_real = torch.cat((scores.new_ones(len(inputs)), scores.new_zeros(len(fakes))))
        loss = functional.binary_cross_entropy_with_logits(scores, is_real)
        if self.config.gradient_penalty == 0:
            return loss
        some = batch.first_part(_PENALTY_PARTS)
        return loss + self.config.gradient_penalty / 2 * some.mean(squared_gradients(self.critic, some.inputs))

    # max over G of E[log D(G(z))]: section 3, the form that does not saturate
    def generator_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of passing as many generated images as there are in the batch off as real."""
        scores = self.critic(self.decode(batch.normals(*self.codings_shape)))  # [N]
        return functional.binary_cross_entropy_with_logits(scores, torch.ones_like(scores))

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """One stage of two phases, the critic's first."""
        optimizer = training.optimizer
        critic = Phase(name="critic", module=self.critic, objective=self.critic_loss, optimizer=optimizer)
        generator = Phase(name="generator", module=self.generator, objective=self.generator_loss, optimizer=optimizer)
        return (Stage(name="joint", num_epochs=training.num_epochs, phases=(critic, generator)),)

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:  # noqa: ARG002
        """None: a GAN's losses say nothing about its samples."""
        return {}

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """The generator as decoder, and the critic."""
        codings = GraphTensor(name="codings", shape=self.codings_shape)
        images = GraphTensor(name="outputs", shape=self.input_shape)
        inputs = GraphTensor(name="inputs", shape=self.input_shape)
        scores = GraphTensor(name="scores", shape=())
        return (
            ExportGraph(role="decoder", module=self.generator.eval(), inputs=(codings,), outputs=(images,)),
            ExportGraph(role="critic", module=self.critic.eval(), inputs=(inputs,), outputs=(scores,)),
        )


# ‖∇D(x)‖², whose mean over real x is R1: Mescheder et al. 2018, equation 9, its factor left to the caller
def squared_gradients(critic: nn.Module, inputs: Tensor) -> Tensor:
    """Squared norms of the gradients of the critic's scores by its inputs: [N, *input] -> [N]."""
    inputs = inputs.detach().requires_grad_()
    (gradients,) = torch.autograd.grad(critic(inputs).sum(), inputs, create_graph=True)
    return gradients.square().flatten(1).sum(dim=1)
