"""Building blocks that variants share."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, TypeVar

from torch import Tensor, nn

Activation = Literal["selu", "relu", "leaky_relu", "sigmoid"]
Output = Literal["sigmoid", "linear"]
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

# In place where PyTorch can: the layers in front of them do not need their outputs again.
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "selu": partial(nn.SELU, inplace=True),
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, 0.2),  # the slope of Radford et al. 2016
    "sigmoid": nn.Sigmoid,
}


def glorot_uniform(layer: Layer) -> Layer:
    """Makes the weights Glorot-uniform (Glorot & Bengio 2010, equation 16) and the biases zero, as in the book."""
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def linear(num_inputs: int, num_outputs: int) -> nn.Linear:
    """A dense layer with the book's initial weights."""
    return glorot_uniform(nn.Linear(num_inputs, num_outputs))


def dense(sizes: Sequence[int], activation: Activation = "selu") -> nn.Sequential:
    """Dense layers sizes[0] -> … -> sizes[-1], each with the activation behind it."""
    layers: list[nn.Module] = []
    for num_inputs, num_outputs in pairwise(sizes):
        layers += [linear(num_inputs, num_outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


class ToImages(nn.Module):
    """Logits, one a value of the image -> images [N, *shape] in [0, 1].

    Args:
        shape: Shape of one image.
        output: `sigmoid`, or `linear`, whose values are clipped.
    """

    def __init__(self, shape: tuple[int, ...], output: Output = "sigmoid") -> None:
        super().__init__()
        self.shape = shape
        self.output = output

    def forward(self, logits: Tensor) -> Tensor:
        """Logits [N, …] -> images [N, *shape]."""
        values = logits.sigmoid() if self.output == "sigmoid" else logits.clamp(0, 1)
        return values.reshape(-1, *self.shape)
