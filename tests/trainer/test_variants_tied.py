from copy import deepcopy
from pathlib import Path

import onnxruntime
import pytest
import torch
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.training.checkpoint import load_checkpoint, save_checkpoint
from latentry_trainer.variants import Batch
from latentry_trainer.variants.tied import Tied
from torch import Generator, Tensor, nn
from torch.nn import functional

SHAPE = (1, 4, 4)
INPUTS = torch.rand(5, *SHAPE, generator=Generator().manual_seed(0))


@pytest.fixture
def variant() -> Tied:
    torch.manual_seed(0)
    variant = Tied(Tied.Config(hidden_sizes=(9, 8), codings_size=3), SHAPE)
    for weight in variant.parameters():
        torch.nn.init.normal_(weight, std=0.3)  # biases too
    return variant


def biases(variant: Tied) -> list[Tensor]:
    return [weight for name, weight in variant.decoder.named_parameters() if name.endswith("bias")]


def by_hand(variant: Tied) -> Tensor:
    """The decoder's logits of INPUTS, of the encoder's weights."""
    outer, middle, inner = (layer.weight for layer in variant.encoder.modules() if isinstance(layer, nn.Linear))
    hidden = functional.selu(variant.encode(INPUTS) @ inner + biases(variant)[0])
    return functional.selu(hidden @ middle + biases(variant)[1]) @ outer + biases(variant)[2]


def step(variant: Tied) -> None:
    """One large step down the loss."""
    optimizer = torch.optim.SGD(variant.parameters(), lr=1.0)
    variant.loss(Batch(inputs=INPUTS, generator=Generator())).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def test_the_decoder_is_the_encoder_transposed_with_biases_of_its_own(variant: Tied) -> None:
    torch.testing.assert_close(variant.decoder(variant.encode(INPUTS)), by_hand(variant))
    num_weights = sum(weight.numel() for weight in variant.parameters())
    assert num_weights == (16 * 9 + 9 * 8 + 8 * 3) + (9 + 8 + 3) + (8 + 9 + 16)


def test_weights_stay_tied_when_they_move_and_in_a_copy(variant: Tied) -> None:
    before = variant.decoder(variant.encode(INPUTS))
    for tied in (variant, deepcopy(variant)):
        step(tied)
        after = tied.decoder(tied.encode(INPUTS))
        assert not torch.allclose(after, before)
        torch.testing.assert_close(after, by_hand(tied))


def test_a_checkpoint_keeps_tied_weights(variant: Tied, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", {"weights": variant.state_dict()})
    other = Tied(Tied.Config(hidden_sizes=(9, 8), codings_size=3), SHAPE)
    other.load_state_dict(load_checkpoint(tmp_path / "checkpoint")["weights"])
    assert torch.equal(other.reconstruct(INPUTS), variant.reconstruct(INPUTS))
    step(other)
    torch.testing.assert_close(other.decoder(other.encode(INPUTS)), by_hand(other))


def test_both_halves_and_the_whole_are_exported(variant: Tied) -> None:
    with torch.no_grad():
        codings, outputs = variant.encode(INPUTS), variant.reconstruct(INPUTS)
    fed = {"encoder": (INPUTS, codings), "decoder": (codings, outputs), "denoiser": (INPUTS, outputs)}
    for graph in variant.graph_modules():
        rows, expected = fed[graph.role]
        session = onnxruntime.InferenceSession(export_graph(graph), providers=["CPUExecutionProvider"])
        (came,) = session.run(None, {graph.inputs[0].name: rows.numpy()})
        torch.testing.assert_close(torch.from_numpy(came), expected, atol=1e-5, rtol=1e-4)
