"""The stacked autoencoder with tied weights (Vincent et al. 2010, section 2.2): half as many to learn."""

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT
from latentry_trainer.variants.layers import ACTIVATIONS
from latentry_trainer.variants.stacked import Stacked


class Tied(Stacked):
    """A stacked autoencoder whose decoder has the encoder's weights, transposed, and biases of its own."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Stacked.Config):
        """Options of the tied autoencoder."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        layers = [_Transposed(layer) for layer in self.encoder.modules() if isinstance(layer, nn.Linear)]
        activation = ACTIVATIONS[config.activation]
        *parts, _ = (part for layer in reversed(layers) for part in (layer, activation()))  # none behind the outputs
        self.decoder = nn.Sequential(*parts)


class _Transposed(nn.Module):
    """A dense layer the other way round: [N, outputs] -> [N, inputs]."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias = nn.Parameter(torch.zeros(layer.in_features))

    # x = Wᵀ h + b'
    def forward(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.weight.T, self.bias)
