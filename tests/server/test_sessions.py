import logging
import resource
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from latentry_server.sessions import threads
from latentry_server.sessions.devices import PROBE, Device, resolve_device
from latentry_server.sessions.onnx import OnnxRuntime
from latentry_server.spec import TensorSpec
from onnx import numpy_helper, parser

from tests.server.bundles import ConditionalGan
from tests.server.repositories import RUNTIME, open_onnx

CPU = Device("cpu")


def test_a_session_tells_its_tensors_and_runs_them() -> None:
    bundle = ConditionalGan(seed=3)
    session = open_onnx(bundle.onnx_files()["decoder"])
    assert session.inputs == (
        TensorSpec(name="codings", dtype=np.dtype(np.float32), shape=(-1, 3)),
        TensorSpec(name="labels", dtype=np.dtype(np.int64), shape=(-1,)),
    )
    assert [spec.name for spec in session.outputs] == ["outputs"]
    codings, labels = np.ones((2, 3), dtype=np.float32), np.array([2, 0])
    outputs = session.run({"codings": codings, "labels": labels})
    np.testing.assert_allclose(outputs["outputs"], bundle.decode(codings, labels), atol=1e-6)
    session.close()


def test_a_type_that_no_bundle_uses_is_refused() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (double[N] x) => (double[N] y) { y = Neg(x) }'
    )
    with pytest.raises(ValueError, match=r"x: expected one of .*, got tensor\(double\)"):
        open_onnx(model.SerializeToString())


def test_a_prepared_graph_answers_as_the_original(tmp_path: Path) -> None:
    bundle = ConditionalGan(seed=3)
    original = bundle.onnx_files()["decoder"]
    inputs = {"codings": np.ones((2, 3), dtype=np.float32), "labels": np.array([2, 0])}
    preparing = RUNTIME.prepare(original, tmp_path / "decoder.onnx")
    prepared = RUNTIME.open(tmp_path / "decoder.onnx")
    assert (prepared.inputs, prepared.outputs) == (preparing.inputs, preparing.outputs)
    expected = preparing.run(inputs)["outputs"]
    np.testing.assert_array_equal(prepared.run(inputs)["outputs"], expected)
    np.testing.assert_allclose(expected, bundle.decode(inputs["codings"], inputs["labels"]), atol=1e-6)


def test_a_prepared_graph_keeps_its_weights_outside_where_the_gil_is_not_held(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((600, 600), dtype=np.float32)
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 600] x) => (float[N, 600] y) { y = MatMul(x, w) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    RUNTIME.prepare(model.SerializeToString(), tmp_path / "graph.onnx").close()
    assert (tmp_path / "graph.onnx").stat().st_size < 10_000
    session = RUNTIME.open(tmp_path / "graph.onnx")
    for file in tmp_path.iterdir():
        file.unlink()
    x = np.eye(600, dtype=np.float32)
    np.testing.assert_allclose(session.run({"x": x})["y"], weights, atol=1e-6)


def test_sessions_share_the_memory_of_their_batches() -> None:
    """Ten sessions that each need 64 MiB for a batch, one at a time, keep far less than ten times that."""
    # Mul's output [N, 4096] lives beside its input's, so that neither can be done in place.
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) {'
        "shape = Constant<value_ints = [-1, 1]>() column = Reshape(x, shape) wide = Mul(column, row)"
        " doubled = Add(wide, wide) axis = Constant<value_ints = [1]>() y = ReduceSum<keepdims = 0>(doubled, axis) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 4096), dtype=np.float32), "row"))
    content = model.SerializeToString()
    x = np.ones(4096, dtype=np.float32)  # 4 096 x 4 096 values of 4 bytes: 64 MiB
    sessions = []
    before = resident_mib()
    for _ in range(10):
        sessions.append(open_onnx(content))
        np.testing.assert_array_equal(sessions[-1].run({"x": x})["y"], 8192)
    assert resident_mib() - before < 320


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_the_probe_is_the_identity() -> None:
    model = onnx.load_from_string(PROBE)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Identity"]
    session = onnxruntime.InferenceSession(PROBE, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([7], dtype=np.float32)})[0] == 7


def test_devices_are_named_as_they_are_asked_for() -> None:
    assert str(CPU) == "cpu"
    assert str(Device("cuda", 1)) == "cuda:1"
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("word", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "cpu:0"])
def test_a_device_of_another_name_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="device: expected auto, cpu, cuda or cuda:<index>"):
        resolve_device(word)


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])


@pytest.fixture
def with_broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CUDA build on a machine without a GPU: sessions get the CPU, with no error."""
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda graph, options=None, **_: real(graph, options, providers=["CPUExecutionProvider"]),
    )


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("word", ["cuda", "cuda:1"])
def test_cuda_without_the_cuda_build_says_what_to_install(word: str) -> None:
    with pytest.raises(ValueError, match=rf"device: {word} was asked for, but .* install latentry-server\[gpu\]"):
        resolve_device(word)


@pytest.mark.usefixtures("with_broken_cuda")
def test_a_session_that_silently_got_the_cpu_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device: cuda was asked for, but onnxruntime could not use cuda:0"):
        resolve_device("cuda")
    with pytest.raises(RuntimeError, match="could not use cuda:0"):
        OnnxRuntime(device=Device("cuda"), num_threads=1).prepare(PROBE, tmp_path / "probe.onnx")


@pytest.mark.usefixtures("with_broken_cuda")
def test_auto_falls_back_to_the_cpu_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert resolve_device("auto") == CPU
    assert "running on the CPU: onnxruntime could not use cuda:0" in caplog.text


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [
        ("200000 100000", 2),
        ("150000 100000\n", 2),
        ("50000 100000", 1),
        ("max 100000", None),
        ("-1 100000", None),
        ("100000 0", None),
        ("", None),
    ],
)
def test_the_quota_is_read_as_whole_cpus(cpu_max: str, cpus: int | None) -> None:
    assert threads.quota_cpus(cpu_max) == cpus


def test_the_smaller_of_affinity_and_quota_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    for cpu_max, cpus in (("200000 100000", 2), ("800000 100000", 4), ("max 100000", 4)):
        monkeypatch.setattr(threads, "_read_quota", lambda cpu_max=cpu_max: cpu_max)
        assert threads.available_cpus() == cpus
