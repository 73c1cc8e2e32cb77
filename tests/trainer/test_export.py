import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from latentry_trainer.export.graphs import OPSET, ExportError, export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.variants.base import ExportGraph, GraphTensor
from torch import Tensor, nn

INPUTS = GraphTensor(name="inputs", shape=(1, 4, 4))
CODINGS = GraphTensor(name="codings", shape=(3,))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(16, 3)
        self.log_variance = nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        rows = inputs.flatten(1)
        return self.mean(rows), self.log_variance(rows)


class ConditionalDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(6, 16)

    def forward(self, codings: Tensor, labels: Tensor) -> Tensor:
        rows = torch.cat([codings, self.embedding(labels)], dim=1)
        return torch.sigmoid(self.output(rows)).reshape(-1, 1, 4, 4)


def encoder_graph(module: nn.Module | None = None) -> ExportGraph:
    outputs = (CODINGS, GraphTensor(name="log_variance", shape=(3,)))
    return ExportGraph(role="encoder", module=module or Encoder(), inputs=(INPUTS,), outputs=outputs)


def graph_of(module: nn.Module) -> ExportGraph:
    """A graph from [N, 1, 4, 4] to [N, 1, 4, 4]."""
    outputs = (GraphTensor(name="outputs", shape=(1, 4, 4)),)
    return ExportGraph(role="denoiser", module=module, inputs=(INPUTS,), outputs=outputs)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


def test_names_types_shapes_and_the_batch_axis_are_the_contracts() -> None:
    model = onnx.load_from_string(export_graph(encoder_graph()))
    tensors = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert tensors == {"inputs": ["N", 1, 4, 4], "codings": ["N", 3], "log_variance": ["N", 3]}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]


@pytest.mark.parametrize("num_rows", [1, 3, 64])
def test_any_number_of_rows_runs(num_rows: int) -> None:
    session = onnxruntime.InferenceSession(export_graph(encoder_graph()), providers=["CPUExecutionProvider"])
    codings, log_variance = session.run(None, {"inputs": np.zeros((num_rows, 1, 4, 4), np.float32)})
    assert codings.shape == log_variance.shape == (num_rows, 3)


def test_two_inputs_share_the_batch_axis_and_labels_are_whole_numbers() -> None:
    labels = GraphTensor(name="labels", shape=(), dtype=torch.int64)
    outputs = (GraphTensor(name="outputs", shape=(1, 4, 4)),)
    graph = ExportGraph(role="decoder", module=ConditionalDecoder(), inputs=(CODINGS, labels), outputs=outputs)
    content = export_graph(graph)
    check_parity(graph, content, num_labels=5)
    inputs = onnx.load_from_string(content).graph.input
    assert [value.name for value in inputs] == ["codings", "labels"]
    assert [value.type.tensor_type.elem_type for value in inputs] == [onnx.TensorProto.FLOAT, onnx.TensorProto.INT64]


def test_nothing_of_this_machine_is_in_the_file() -> None:
    model = onnx.load_from_string(export_graph(encoder_graph()))
    for initializer in model.graph.initializer:
        initializer.ClearField("raw_data")  # random bytes
    text = str(model)
    for trace in (".py", "/", "metadata_props", "doc_string", Encoder.__name__):
        assert trace not in text


def test_the_same_weights_give_the_same_bytes() -> None:
    module = Encoder()
    assert export_graph(encoder_graph(module)) == export_graph(encoder_graph(module))


def test_the_module_is_left_as_it_is() -> None:
    module = Encoder().double().train()
    export_graph(encoder_graph(module))
    assert module.training
    assert module.mean.weight.dtype == torch.float64


def test_a_right_graph_passes_parity() -> None:
    graph = encoder_graph()
    check_parity(graph, export_graph(graph))


def test_a_wrong_weight_is_refused_with_graph_batch_size_error_and_tolerance() -> None:
    module = Encoder()
    graph = encoder_graph(module)
    content = export_graph(graph)
    with torch.no_grad():
        module.log_variance.bias[1] += 0.01
    with pytest.raises(ExportError, match=r"encoder, output log_variance, batch size 1: .* 0\.01, tolerance 1e-05"):
        check_parity(graph, content)


def test_a_value_that_is_not_a_number_is_refused() -> None:
    module = Encoder()
    with torch.no_grad():
        module.mean.bias[0] = torch.nan
    graph = encoder_graph(module)
    with pytest.raises(ExportError, match="encoder, output codings, batch size 1"):
        check_parity(graph, export_graph(graph))


class Cancelling(nn.Module):
    """Loses digits in float32, wherever it runs."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = nn.Parameter(torch.tensor(error))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs + 1_000.0) - 999.0 + self.error


def test_what_float32_loses_on_pytorch_too_is_allowed_and_no_more() -> None:
    module = Cancelling(0.0)
    graph = graph_of(module)
    content = export_graph(graph)
    check_parity(graph, content)
    with torch.no_grad():
        module.error.add_(5e-4)
    with pytest.raises(ExportError, match="denoiser, output outputs, batch size 1"):
        check_parity(graph, content)


class MinusBatchMean(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs - inputs.mean(dim=0, keepdim=True)


def test_rows_that_depend_on_their_batch_mates_are_refused() -> None:
    graph = graph_of(MinusBatchMean())
    with pytest.raises(ExportError, match="denoiser, output outputs, batch size 2"):
        check_parity(graph, export_graph(graph))


class FixedBatch(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(2, 1, 4, 4) * 2


class Noisy(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + torch.randn_like(inputs)


class WrongShape(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (FixedBatch(), "graph denoiser: "),
        (Noisy(), r"graph denoiser: \['RandomNormalLike'\] inside"),
        (WrongShape(), r"graph denoiser: outputs is exported as outputs \['N', 16\], expected \['N', 1, 4, 4\]"),
    ],
)
def test_what_breaks_the_contract_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_graph(graph_of(module))


def test_export_prints_nothing() -> None:
    program = (
        "import torch\n"
        "from torch import nn\n"
        "from latentry_trainer.export.graphs import export_graph\n"
        "from latentry_trainer.variants.base import ExportGraph, GraphTensor\n"
        "tensors = [(GraphTensor(name=name, shape=(3,)),) for name in ('inputs', 'outputs')]\n"
        "export_graph(ExportGraph(role='denoiser', module=nn.Linear(3, 3), inputs=tensors[0], outputs=tensors[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
