"""Greedy layer-wise training (Hinton & Salakhutdinov 2006; Bengio et al. 2007): layer by layer, then all together."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT, Positive, Sizes, TrainingConfig
from latentry_trainer.variants.base import Batch, Phase, Stage
from latentry_trainer.variants.stacked import Stacked


class Greedy(Stacked):
    """A stacked autoencoder of which each layer, with its mirror, first learns to reconstruct the codings below it."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Stacked.Config):
        """Options of greedy training; `training.optimizer` trains the outermost layer."""

        hidden_sizes: Annotated[Sizes, Field(min_length=1)] = (100,)
        """Sizes of the encoder's hidden layers, at least one; the decoder mirrors them."""
        inner_learning_rate: Positive = 0.05
        """Step size of the layers that reconstruct codings."""
        joint_learning_rate: Positive = 0.1
        """Step size when all layers are trained together."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.num_layers = len(self.decoder)
        self.inner_learning_rate = config.inner_learning_rate
        self.joint_learning_rate = config.joint_learning_rate

    def check_training(self, training: TrainingConfig, num_images: int) -> None:  # noqa: ARG002 (epochs are what matters)
        """Refuses fewer epochs than stages."""
        num_stages = self.num_layers + 1
        if training.num_epochs < num_stages:
            raise ValueError(
                f"option --training.num_epochs: expected at least {num_stages}, one for each layer and one for all, "
                f"got {training.num_epochs}"
            )

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """One stage a layer, from the outside in, then one for all; they share the epochs, the rest for the last."""
        num_stages = self.num_layers + 1
        num_epochs = training.num_epochs // num_stages
        inner, joint = (
            replace(training.optimizer, learning_rate=rate)
            for rate in (self.inner_learning_rate, self.joint_learning_rate)
        )
        layers = (
            Stage(
                name=f"layer {depth}",
                num_epochs=num_epochs,
                phases=(
                    Phase(
                        name="autoencoder",
                        module=nn.ModuleList([self.encoder[depth], self.decoder[-depth]]),
                        objective=partial(self.layer_loss, depth),
                        optimizer=training.optimizer if depth == 1 else inner,
                    ),
                ),
            )
            for depth in range(1, num_stages)
        )
        together = Stage(
            name="joint",
            num_epochs=training.num_epochs - num_epochs * self.num_layers,
            phases=(Phase(name="autoencoder", module=self, objective=self.loss, optimizer=joint),),
        )
        return (*layers, together)

    # L(h, g_k(f_k(h))) with h = f_{k-1}(… f_1(x)); squared errors where h are codings, h = x in the first layer
    def layer_loss(self, depth: int, batch: Batch) -> Tensor:
        """The error with which layer `depth` (from 1, the outermost) and its mirror reconstruct the layer's inputs."""
        with torch.no_grad():
            hidden = self.encoder[:depth](batch.inputs)
        outputs = self.decoder[-depth](self.encoder[depth](hidden))
        return self.reconstruction_loss(outputs, hidden) if depth == 1 else functional.mse_loss(outputs, hidden)

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """The figures of the reconstruction; for fewer layers, the error through the outermost ones alone."""
        return {
            **super().validation_metrics(batch),
            **{f"depth_{depth}_error": self.outer_error(depth, batch.inputs) for depth in range(1, self.num_layers)},
        }

    def outer_error(self, depth: int, inputs: Tensor) -> Tensor:
        """The error of the reconstruction of images [N, *input] by the outermost `depth` layers and their mirrors."""
        return self.reconstruction_loss(self.decoder[-depth:](self.encoder[: depth + 1](inputs)), inputs)
