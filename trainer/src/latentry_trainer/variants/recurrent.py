"""The recurrent autoencoder (Srivastava et al. 2015): an image is a sequence of rows."""

from pydantic.dataclasses import dataclass
from torch import Tensor, nn, zeros

from latentry_trainer.config import STRICT, Count
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.layers import linear


class Recurrent(Autoencoder):
    """Reads an image row by row into a vector, and writes it row by row."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Autoencoder.Config):
        """Options of the recurrent autoencoder."""

        hidden_size: Count = 100
        """Size of the encoder's first layer, and of the decoder's."""
        codings_size: Count = 30
        """Length of a coding."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        if len(input_shape) != 3:
            raise ValueError(f"a recurrent network takes images, row by row; got vectors of {input_shape[0]} values")
        self.codings_size = config.codings_size
        self.encoder = _Encoder(input_shape, config.hidden_size, config.codings_size)
        self.decoder = _Decoder(input_shape, config.hidden_size, config.codings_size)

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.codings_size,)


class _Encoder(nn.Module):
    """Images [N, C, H, W] -> codings [N, codings_size]: the second layer's state after the last row."""

    def __init__(self, input_shape: tuple[int, ...], hidden_size: int, codings_size: int) -> None:
        super().__init__()
        channels, _, width = input_shape
        self.first = _lstm(channels * width, hidden_size)
        self.second = _lstm(hidden_size, codings_size)

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.transpose(1, 2).flatten(2)  # [N, H, C*W]
        states, _ = self.first(rows)  # [N, H, hidden_size]
        _, (last, _) = self.second(states)  # [1, N, codings_size]
        codings: Tensor = last[0]
        return codings


class _Decoder(nn.Module):
    """Codings [N, codings_size], given anew at each row -> logits [N, C, H, W]."""

    def __init__(self, input_shape: tuple[int, ...], hidden_size: int, codings_size: int) -> None:
        super().__init__()
        self.channels, self.height, self.width = input_shape
        self.hidden = _lstm(codings_size, hidden_size)
        self.rows = linear(hidden_size, self.channels * self.width)

    def forward(self, codings: Tensor) -> Tensor:
        states, _ = self.hidden(codings.unsqueeze(1).expand(-1, self.height, -1))  # [N, H, hidden_size]
        logits: Tensor = self.rows(states)  # [N, H, C*W]
        return logits.reshape(-1, self.height, self.channels, self.width).transpose(1, 2)


def _lstm(num_inputs: int, size: int) -> nn.LSTM:
    """A long short-term memory (Hochreiter & Schmidhuber 1997; Gers et al. 2000) with the book's initial weights.

    Kernel Glorot-uniform, recurrent kernel orthogonal, biases zero, the forget gate's one (Jozefowicz et al. 2015).
    PyTorch has two biases that are added; here the second stays zero, or SGD would move their sum twice as far.
    """
    lstm = nn.LSTM(num_inputs, size, batch_first=True)
    bias = lstm.get_parameter("bias_ih_l0")  # gates: input, forget, cell, output
    nn.init.xavier_uniform_(lstm.get_parameter("weight_ih_l0"))
    nn.init.orthogonal_(lstm.get_parameter("weight_hh_l0"))
    nn.init.zeros_(bias)
    nn.init.ones_(bias[size : 2 * size])
    del lstm.bias_hh_l0
    lstm.register_buffer("bias_hh_l0", zeros(4 * size), persistent=False)
    lstm.bias_hh_l0 = lstm.bias_hh_l0  # this way it is put among the weights that the layer computes with
    return lstm
