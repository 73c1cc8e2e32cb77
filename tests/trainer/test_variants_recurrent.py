"""The recurrent autoencoder: images as sequences of rows, the book's initial weights, and one bias a gate."""

from copy import deepcopy

import pytest
import torch
from latentry_trainer.variants import Batch
from latentry_trainer.variants.recurrent import Recurrent
from torch import Generator, Tensor, nn

BOOK = (1, 28, 28)


def batch(*shape: int) -> Batch:
    generator = Generator().manual_seed(1)
    return Batch(inputs=torch.rand(3, *shape, generator=generator), generator=generator)


def lstms(variant: Recurrent) -> list[nn.LSTM]:
    return [layer for layer in variant.modules() if isinstance(layer, nn.LSTM)]


def small() -> Recurrent:
    torch.manual_seed(2)
    return Recurrent(Recurrent.Config(hidden_size=7, codings_size=4), (3, 5, 2))


def test_28_rows_give_the_books_network() -> None:
    variant = Recurrent(Recurrent.Config(), BOOK)
    # Keras' counts, with one bias a gate: 51 600 + 15 720, and 52 400 + 2 828.
    assert sum(weight.numel() for weight in variant.encoder.parameters()) == 67_320
    assert sum(weight.numel() for weight in variant.decoder.parameters()) == 55_228
    assert variant.codings_shape == (30,)


def test_initial_weights_are_the_books() -> None:
    for lstm in lstms(Recurrent(Recurrent.Config(), BOOK)):
        size = lstm.hidden_size
        limit = (6 / (lstm.input_size + 4 * size)) ** 0.5
        assert 0.9 * limit < lstm.get_parameter("weight_ih_l0").abs().max().item() <= limit
        recurrent = lstm.get_parameter("weight_hh_l0")
        torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(size), atol=1e-5, rtol=0)
        expected = torch.zeros(4, size)  # gates: input, forget, cell, output
        expected[1] = 1
        assert torch.equal(lstm.get_parameter("bias_ih_l0"), expected.flatten())


# Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000
def states_of(lstm: nn.LSTM, steps: Tensor) -> Tensor:
    """An LSTM written out, with one bias: steps [N, T, inputs] -> states [N, T, size]."""
    state = cell = torch.zeros(len(steps), lstm.hidden_size)
    states = []
    for step in steps.unbind(dim=1):
        gates = (
            step @ lstm.get_parameter("weight_ih_l0").T
            + state @ lstm.get_parameter("weight_hh_l0").T
            + lstm.get_parameter("bias_ih_l0")
        )
        enter, keep, new, leave = gates.chunk(4, dim=1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
        state = leave.sigmoid() * cell.tanh()
        states.append(state)
    return torch.stack(states, dim=1)


def test_an_image_is_read_row_by_row_and_its_coding_written_row_by_row() -> None:
    variant = small()
    first, second, hidden = lstms(variant)
    inputs = batch(3, 5, 2).inputs
    rows = torch.stack([inputs[:, :, row].flatten(1) for row in range(5)], dim=1)  # [N, H, C*W]
    codings = states_of(second, states_of(first, rows))[:, -1]
    torch.testing.assert_close(variant.encode(inputs), codings)

    states = states_of(hidden, codings[:, None].repeat(1, 5, 1))
    logits = variant.decoder(codings)
    for row in range(5):
        written = variant.decoder.get_submodule("rows")(states[:, row])
        torch.testing.assert_close(logits[:, :, row].flatten(1), written)


def test_the_second_bias_of_pytorch_is_never_trained_nor_kept() -> None:
    variant = small()
    assert not [name for name in variant.state_dict() if "bias_hh" in name]
    optimizer = torch.optim.SGD(variant.parameters(), lr=1.0)
    variant.loss(batch(3, 5, 2)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for lstm in lstms(variant):
        assert lstm.get_parameter("bias_ih_l0")[: lstm.hidden_size].any()
        assert not lstm.get_buffer("bias_hh_l0").any()


def test_a_copy_computes_with_its_own_weights() -> None:
    variant = small()
    copy = deepcopy(variant)
    inputs = batch(3, 5, 2).inputs
    expected = variant.reconstruct(inputs)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.add_(0.5)
    assert torch.equal(variant.reconstruct(inputs), expected)
    assert not torch.equal(copy.reconstruct(inputs), expected)

    variant.load_state_dict(copy.state_dict())
    assert torch.equal(variant.reconstruct(inputs), copy.reconstruct(inputs))
    in_double = variant.double().reconstruct(inputs.double())
    torch.testing.assert_close(in_double.float(), copy.reconstruct(inputs))


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="takes images, row by row; got vectors of 784 values"):
        Recurrent(Recurrent.Config(), (784,))
