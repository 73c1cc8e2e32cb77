"""Weights stored as float16: half the file, the same operators, outputs within the tolerance."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from latentry_trainer.export.bundle import publish
from latentry_trainer.export.float16 import FLOAT16_TOLERANCE, has_float16_weights, store_as_float16
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.variants.base import ExportGraph, GraphTensor, Variant
from latentry_trainer.variants.conv import Conv
from latentry_trainer.variants.recurrent import Recurrent
from latentry_trainer.variants.stacked import Stacked
from latentry_trainer.variants.vae import VAE
from onnx import numpy_helper
from torch import nn

from tests.trainer.test_bundle import provenance

SHAPE = (1, 28, 28)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(3)


def graph_of(module: nn.Module, size: int) -> ExportGraph:
    tensors = [(GraphTensor(name=name, shape=(size,)),) for name in ("codings", "outputs")]
    return ExportGraph(role="decoder", module=module.eval(), inputs=tensors[0], outputs=tensors[1])


def weights_of(content: bytes) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load_from_string(content).graph.initializer}


@pytest.mark.parametrize(
    "variant",
    [
        Stacked(Stacked.Config(), SHAPE),
        VAE(VAE.Config(), SHAPE),
        Conv(Conv.Config(), SHAPE),
        Recurrent(Recurrent.Config(), SHAPE),
    ],
    ids=["stacked", "vae", "conv", "recurrent"],
)
def test_every_graph_is_about_half_as_large_and_computes_the_same(variant: Variant) -> None:
    for graph in variant.graph_modules():
        content = export_graph(graph)
        smaller = store_as_float16(content)
        check_parity(graph, smaller, tolerance=FLOAT16_TOLERANCE)
        if len(content) > 100_000:
            assert len(smaller) < 0.6 * len(content), graph.role


def test_weights_are_rounded_to_the_nearest_float16_and_small_ones_are_kept() -> None:
    content = export_graph(graph_of(nn.Linear(30, 30), 30))
    before, after = weights_of(content), weights_of(store_as_float16(content))
    matrix = next(name for name, tensor in before.items() if np.prod(tensor.dims) == 900)
    (bias,) = before.keys() - {matrix}
    assert after[bias] == before[bias]
    stored = numpy_helper.to_array(after[f"{matrix}_float16"])
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, numpy_helper.to_array(before[matrix]).astype(np.float16))


def test_only_casts_are_added() -> None:
    content = export_graph(graph_of(nn.Linear(30, 30), 30))
    before = [node.op_type for node in onnx.load_from_string(content).graph.node]
    after = onnx.load_from_string(store_as_float16(content))
    assert [node.op_type for node in after.graph.node] == ["Cast", *before]
    assert {opset.domain for opset in after.opset_import} == {""}
    assert has_float16_weights(store_as_float16(content))
    assert not has_float16_weights(content)


def test_values_that_float16_cannot_hold_stay_as_they_are() -> None:
    module = nn.Linear(30, 30)
    with torch.no_grad():
        module.weight[3, 4] = 70_000
    content = export_graph(graph_of(module, 30))
    assert weights_of(store_as_float16(content)).keys() == weights_of(content).keys()


class Difference(nn.Module):
    """A small difference of large products: float32 is just precise enough for it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.linspace(16, 32, 300))
        self.second = nn.Parameter(torch.linspace(16, 32, 300) + 0.001)

    def forward(self, codings: torch.Tensor) -> torch.Tensor:
        return codings * self.second - codings * self.first


class OfTwoKinds(Stacked):
    """One graph that stands float16 weights, and one that does not."""

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        decoder = next(graph for graph in super().graph_modules() if graph.role == "decoder")
        tensors = [(GraphTensor(name=name, shape=(300,)),) for name in ("noise", "codings")]
        prior = ExportGraph(role="prior", module=Difference().eval(), inputs=tensors[0], outputs=tensors[1])
        return decoder, prior


def test_a_graph_that_needs_the_precision_keeps_float32(tmp_path: Path) -> None:
    folder = publish(
        OfTwoKinds(Stacked.Config(), SHAPE),
        repository=tmp_path,
        model_name="model",
        variant_name="stacked",
        preset="stacked",
        metrics={},
        provenance=provenance(),
        float16=True,
    )
    assert has_float16_weights((folder / "decoder.onnx").read_bytes())
    assert not has_float16_weights((folder / "prior.onnx").read_bytes())
