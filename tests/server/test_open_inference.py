"""The Open Inference Protocol, as the published tritonclient speaks it with a real server process."""

import asyncio
import math
import queue
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from latentry.open_inference import grpc_service_pb2 as messages
from latentry.open_inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from latentry_client import Client
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from tests import processes
from tests.server.bundles import CODINGS, LABELS, Autoencoder, ConditionalGan, Hashing, Vae, images
from tests.server.serving import Served, serve

MAX_REQUEST_ROWS = 64
DATATYPES = {"float32": "FP32", "uint8": "UINT8", "int64": "INT64"}


@pytest.fixture(scope="module")
def address(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(repository, folder, dirs_exist_ok=True)
    Hashing().write(folder)  # is unloaded
    Autoencoder().write(folder, "counted")
    flags = ("--max-request-rows", str(MAX_REQUEST_ROWS), "--poll-interval-s", "0")
    with processes.serve(folder, *flags) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def stub(address: str) -> Iterator[GRPCInferenceServiceStub]:
    with grpc.insecure_channel(address) as channel:
        yield GRPCInferenceServiceStub(channel)


def asking(served: Served) -> Any:
    """Make tritonclient's asynchronous client of a server in this process."""
    return triton_aio.InferenceServerClient(f"127.0.0.1:{served.server.port}")


def given(name: str, array: NDArray[Any]) -> Any:
    """Make tritonclient's input of an array."""
    tensor = triton.InferInput(name, array.shape, DATATYPES[array.dtype.name])
    tensor.set_data_from_numpy(array)
    return tensor


def tensor(name: str, array: NDArray[Any], **contents: Any) -> messages.ModelInferRequest.InferInputTensor:
    """Describe an input whose values are raw, unless they are given."""
    return messages.ModelInferRequest.InferInputTensor(
        name=name,
        datatype=DATATYPES[array.dtype.name],
        shape=array.shape,
        contents=messages.InferTensorContents(**contents) if contents else None,
    )


def to_float(array: NDArray[Any]) -> NDArray[np.float32]:
    """Map uint8 0 to 255 to [0, 1]."""
    return (array / 255).astype(np.float32) if array.dtype == np.uint8 else array


@contextmanager
def refused(code: str, text: str) -> Iterator[None]:
    """Expect tritonclient's error."""
    with pytest.raises(triton.InferenceServerException) as caught:
        yield
    assert caught.value.status() == f"StatusCode.{code}"
    assert text in caught.value.message()


def test_the_generated_code_is_that_of_tritonclient() -> None:
    assert messages.ModelInferRequest is service_pb2.ModelInferRequest


def test_what_is_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("stacked.encoder")
    assert client.is_model_ready("stacked.encoder", "1")
    for name, version in (("stacked.encoder", "2"), ("stacked.critic", ""), ("stacked", ""), ("nothing.encoder", "")):
        assert not client.is_model_ready(name, version)


def test_the_server_names_itself_and_its_extensions(client: Any) -> None:
    metadata = client.get_server_metadata()
    assert metadata.name == "latentry"
    assert set(metadata.extensions) == {"model_repository", "model_configuration", "statistics"}


def test_metadata_and_configuration_of_a_graph(client: Any) -> None:
    metadata = client.get_model_metadata("cgan.decoder", as_json=True)
    assert metadata == {
        "name": "cgan.decoder",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "codings", "datatype": "FP32", "shape": ["-1", "3"]},
            {"name": "labels", "datatype": "INT64", "shape": ["-1", "1"]},
        ],
        "outputs": [{"name": "outputs", "datatype": "FP32", "shape": ["-1", "1", "4", "4"]}],
    }
    config = client.get_model_config("cgan.decoder", as_json=True)["config"]
    assert (config["name"], config["max_batch_size"]) == ("cgan.decoder", MAX_REQUEST_ROWS)
    assert config["input"] == [
        {"name": "codings", "data_type": "TYPE_FP32", "dims": ["3"]},
        {"name": "labels", "data_type": "TYPE_INT64", "dims": ["1"], "reshape": {}},
    ]
    assert config["output"] == [{"name": "outputs", "data_type": "TYPE_FP32", "dims": ["1", "4", "4"]}]
    assert config["dynamic_batching"] == {"preferred_batch_size": [256]}


def test_every_graph_answers_what_its_metadata_describes(client: Any) -> None:
    graphs = client.get_model_repository_index().models
    assert {"stacked.encoder", "stylegan.synthesis", "classifier.classifier", "dcgan.critic"} <= {
        g.name for g in graphs
    }
    for graph in graphs:
        metadata = client.get_model_metadata(graph.name, graph.version)
        zeros = {
            one.name: np.zeros((2, *one.shape[1:]), np.int64 if one.datatype == "INT64" else np.float32)
            for one in metadata.inputs
        }
        result = client.infer(graph.name, [given(name, array) for name, array in zeros.items()])
        assert [one.name for one in result.get_response().outputs] == [one.name for one in metadata.outputs]
        for one in metadata.outputs:
            array = result.as_numpy(one.name)
            assert (array.dtype.name, array.shape) == ("float32", (2, *one.shape[1:]))


def test_the_answer_is_that_of_the_own_api(client: Any, address: str) -> None:
    result = client.infer("stacked.encoder", [given("inputs", images(5))], request_id="request 7")
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("stacked.encoder", "1", "request 7")
    with Client(address) as own:
        np.testing.assert_array_equal(result.as_numpy("codings"), own.encode("stacked", images(5)).codings)


def test_images_may_be_uint8(client: Any) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 1, 4, 4)
    codings = client.infer("stacked.encoder", [given("inputs", levels)]).as_numpy("codings")
    np.testing.assert_allclose(codings, Autoencoder().encode(to_float(levels)), atol=1e-5)


def test_labels_choose_the_outputs_of_a_conditional_graph(client: Any) -> None:
    codings, labels = np.ones((3, CODINGS), np.float32), np.array([2, 0, 1])
    for shape in ((3, 1), (3,)):
        inputs = [given("labels", labels.reshape(shape)), given("codings", codings)]
        outputs = client.infer("cgan.decoder", inputs).as_numpy("outputs")
        np.testing.assert_allclose(outputs, ConditionalGan().decode(codings, labels), atol=1e-5)


def test_outputs_asked_for_come_in_that_order(client: Any) -> None:
    def ask(*names: str) -> dict[str, NDArray[Any]]:
        outputs = [triton.InferRequestedOutput(name) for name in names]
        result = client.infer("vae.encoder", [given("inputs", images(2))], outputs=outputs)
        return {one.name: result.as_numpy(one.name) for one in result.get_response().outputs}

    assert list(ask("log_variance", "codings")) == ["log_variance", "codings"]
    only = ask("log_variance")
    np.testing.assert_allclose(only.pop("log_variance"), Vae().log_variance(images(2)), atol=1e-5)
    assert not only


@pytest.mark.parametrize(
    ("name", "array", "field"),
    [
        ("inputs", images(2), "fp32_contents"),
        ("inputs", np.full((2, 1, 4, 4), 255, np.uint8), "uint_contents"),
    ],
)
def test_values_may_be_typed(stub: Any, name: str, array: NDArray[Any], field: str) -> None:
    request = messages.ModelInferRequest(
        model_name="stacked.encoder", inputs=[tensor(name, array, **{field: array.ravel().tolist()})]
    )
    response = stub.ModelInfer(request)
    expected = Autoencoder().encode(to_float(array))
    codings = np.frombuffer(response.raw_output_contents[0], np.float32).reshape(expected.shape)
    np.testing.assert_allclose(codings, expected, atol=1e-5)


async def test_many_calls_at_a_time_by_asyncio(address: str) -> None:
    async with triton_aio.InferenceServerClient(address) as client:
        results = await asyncio.gather(
            *(client.infer("stacked.encoder", [given("inputs", images(2, seed=seed))]) for seed in range(32))
        )
        assert (await client.get_model_metadata("stacked.encoder")).name == "stacked.encoder"
    for seed, result in enumerate(results):
        expected = Autoencoder().encode(images(2, seed=seed))
        np.testing.assert_allclose(result.as_numpy("codings"), expected, atol=1e-5)


def test_a_stream_answers_in_order_each_error_its_own(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    # The first one takes longest, and the fourth is wrong.
    rows = [MAX_REQUEST_ROWS, 1, 2, 0, 1, 3]
    for number, count in enumerate(rows):
        array = images(count) if count else images(1) * np.float32(math.nan)
        client.async_stream_infer("stacked.encoder", [given("inputs", array)], request_id=str(number))
    found = [answers.get(timeout=30) for _ in rows]
    client.stop_stream()
    for number, (count, (result, error)) in enumerate(zip(rows, found, strict=True)):
        if count:
            assert error is None
            assert result.get_response().id == str(number)
            assert result.get_response().parameters["triton_final_response"].bool_param
            np.testing.assert_allclose(result.as_numpy("codings"), Autoencoder().encode(images(count)), atol=1e-5)
        else:
            assert "inputs.data: expected finite values in [0, 1], got nan in row 0" in error.message()


def test_a_streamed_error_names_its_request(stub: Any) -> None:
    (response,) = stub.ModelStreamInfer(iter([messages.ModelInferRequest(model_name="nothing.encoder", id="5")]))
    assert response.error_message == "no model 'nothing'"
    assert (response.infer_response.id, len(response.infer_response.outputs)) == ("5", 0)


GOOD = images(1)
INT64_CODINGS = np.zeros((1, CODINGS), np.int64)
RAW_GOOD = [GOOD.tobytes()]


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"model_name": ""}, "NOT_FOUND", "no model ''"),
        ({"model_name": "stacked"}, "NOT_FOUND", "no model 'stacked'"),
        ({"model_name": "stacked.critic"}, "NOT_FOUND", "no model 'stacked.critic'"),
        ({"model_version": "9"}, "NOT_FOUND", "model 'stacked' has no version 9"),
        (
            {"model_version": "one"},
            "INVALID_ARGUMENT",
            "model_version: expected a whole number from 1, or nothing for the newest, got 'one'",
        ),
        ({"model_version": "-1"}, "INVALID_ARGUMENT", "model_version: expected a whole number from 1"),
        ({"model_version": "9" * 99}, "INVALID_ARGUMENT", "model_version: expected a whole number from 1"),
        ({"inputs": [], "raw_input_contents": []}, "INVALID_ARGUMENT", "inputs: expected inputs, got none"),
        ({"inputs": [tensor("images", GOOD)]}, "INVALID_ARGUMENT", "inputs: expected inputs, got images"),
        (
            {"inputs": [tensor("inputs", GOOD)] * 2, "raw_input_contents": RAW_GOOD * 2},
            "INVALID_ARGUMENT",
            "inputs: expected each input once, got inputs twice",
        ),
        (
            {"inputs": [messages.ModelInferRequest.InferInputTensor(name="inputs", datatype="FP16", shape=GOOD.shape)]},
            "INVALID_ARGUMENT",
            "inputs.datatype: expected FP32 or UINT8 or INT64, got 'FP16'",
        ),
        (
            {"inputs": [tensor("inputs", GOOD[:, 0])]},
            "INVALID_ARGUMENT",
            "inputs.shape: expected [N, 1, 4, 4], got [1, 4, 4]",
        ),
        (
            {"inputs": [messages.ModelInferRequest.InferInputTensor(name="inputs", datatype="FP32", shape=[-1, 16])]},
            "INVALID_ARGUMENT",
            "inputs.shape[0]: expected at least 1, got -1",
        ),
        (
            {"inputs": [tensor("inputs", images(2))]},
            "INVALID_ARGUMENT",
            "inputs.data: expected 128 bytes of FLOAT32 for shape [2, 1, 4, 4], got 64 bytes",
        ),
        (
            {"raw_input_contents": []},
            "INVALID_ARGUMENT",
            "inputs.contents: expected fp32_contents, as the datatype is FP32, or raw_input_contents, got nothing",
        ),
        (
            {"raw_input_contents": RAW_GOOD * 2},
            "INVALID_ARGUMENT",
            "raw_input_contents: expected one for each of 1 inputs, got 2",
        ),
        (
            {"inputs": [tensor("inputs", GOOD, fp32_contents=GOOD.ravel().tolist())]},
            "INVALID_ARGUMENT",
            "inputs.contents: expected nothing beside raw_input_contents, got fp32_contents",
        ),
        (
            {"inputs": [tensor("inputs", GOOD, int_contents=[1] * 16)], "raw_input_contents": []},
            "INVALID_ARGUMENT",
            "inputs.contents: expected fp32_contents, as the datatype is FP32, or raw_input_contents, got int_contents",
        ),
        (
            {
                "inputs": [tensor("inputs", np.zeros((1, 1, 4, 4), np.uint8), uint_contents=[256] * 16)],
                "raw_input_contents": [],
            },
            "INVALID_ARGUMENT",
            "inputs.contents: expected 0 to 255, as the datatype is UINT8, got 256",
        ),
        (
            {"inputs": [tensor("inputs", GOOD, fp32_contents=[0.5] * 15)], "raw_input_contents": []},
            "INVALID_ARGUMENT",
            "inputs.data: expected 64 bytes of FLOAT32 for shape [1, 1, 4, 4], got 60 bytes",
        ),
        (
            {"raw_input_contents": [(GOOD + 1).tobytes()]},
            "INVALID_ARGUMENT",
            "inputs.data: expected finite values in [0, 1], got 1.",
        ),
        (
            {
                "inputs": [tensor("inputs", images(MAX_REQUEST_ROWS + 1))],
                "raw_input_contents": [images(MAX_REQUEST_ROWS + 1).tobytes()],
            },
            "INVALID_ARGUMENT",
            "inputs.shape[0]: expected at most 64 rows in one request, got 65",
        ),
        (
            {
                "model_name": "stacked.decoder",
                "inputs": [tensor("codings", INT64_CODINGS)],
                "raw_input_contents": [INT64_CODINGS.tobytes()],
            },
            "INVALID_ARGUMENT",
            "codings.dtype: expected FLOAT32, got INT64",
        ),
        (
            {
                "model_name": "stacked.prior",
                "inputs": [tensor("noise", np.zeros((1, 4), np.float32))],
                "raw_input_contents": [np.full((1, 4), np.inf, np.float32).tobytes()],
            },
            "INVALID_ARGUMENT",
            "noise.data: expected finite values, got inf in row 0",
        ),
        (
            {"outputs": [messages.ModelInferRequest.InferRequestedOutputTensor(name="scores")]},
            "INVALID_ARGUMENT",
            "outputs: expected some of codings, each once, got scores",
        ),
        (
            {"outputs": [messages.ModelInferRequest.InferRequestedOutputTensor(name="codings")] * 2},
            "INVALID_ARGUMENT",
            "outputs: expected some of codings, each once, got codings, codings",
        ),
    ],
)
def test_bad_input(stub: Any, fields: dict[str, Any], code: str, message: str) -> None:
    good = {"model_name": "stacked.encoder", "inputs": [tensor("inputs", GOOD)], "raw_input_contents": RAW_GOOD}
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(messages.ModelInferRequest(**(good | fields)))
    assert caught.value.code() is grpc.StatusCode[code]
    assert message in str(caught.value.details())


@pytest.mark.parametrize(
    ("codings", "labels", "message"),
    [
        (2, [0], "labels.shape[0]: expected 2 rows, as codings, got 1"),
        (1, [len(LABELS)], "labels[0]: expected 0 to 2, got 3"),
        (1, [[0, 0]], "labels.shape: expected [N], got [1, 2]"),
        (1, [0.0], "labels.dtype: expected INT64, got FLOAT32"),
    ],
)
def test_bad_labels(client: Any, codings: int, labels: Sequence[Any], message: str) -> None:
    values = np.array(labels)
    values = values if values.dtype == np.int64 else values.astype(np.float32)
    inputs = [given("codings", np.zeros((codings, CODINGS), np.float32)), given("labels", values)]
    with refused("INVALID_ARGUMENT", message):
        client.infer("cgan.decoder", inputs)


def test_what_is_not_offered_is_refused(client: Any) -> None:
    with refused("UNIMPLEMENTED", "the extensions are model_repository"):
        client.register_system_shared_memory("region", "/key", 16)
    with refused("UNIMPLEMENTED", "not offered"):
        client.get_trace_settings()
    inputs = [given("inputs", GOOD)]
    with refused("INVALID_ARGUMENT", "parameters[sequence_id]: expected no such parameter: models keep nothing"):
        client.infer("stacked.encoder", inputs, sequence_id=3)
    with refused("INVALID_ARGUMENT", "codings.parameters[classification]: expected no such parameter"):
        client.infer("stacked.encoder", inputs, outputs=[triton.InferRequestedOutput("codings", class_count=2)])
    shared = triton.InferInput("inputs", GOOD.shape, "FP32")
    shared.set_shared_memory("region", GOOD.nbytes)
    with refused("INVALID_ARGUMENT", "inputs.parameters[shared_memory_region]: expected no such parameter"):
        client.infer("stacked.encoder", [shared])


def test_there_is_one_repository(stub: Any) -> None:
    with pytest.raises(grpc.RpcError, match="repository_name: expected nothing, as there is one repository"):
        stub.RepositoryIndex(messages.RepositoryIndexRequest(repository_name="other"))


def test_hints_are_ignored(client: Any) -> None:
    client.infer("stacked.encoder", [given("inputs", GOOD)], priority=3, timeout=60_000_000, parameters={"mine": "x"})


def test_a_timeout_in_the_request_is_a_deadline(client: Any) -> None:
    with refused("DEADLINE_EXCEEDED", "the deadline passed before the work was done"):
        client.infer("stacked.encoder", [given("inputs", GOOD)], timeout=1)


def test_statistics_add_up(client: Any) -> None:
    def statistics() -> Any:
        (found,) = client.get_inference_statistics("counted.denoiser").model_stats
        return found

    client.unload_model("counted")
    client.load_model("counted")
    before = statistics()
    assert (before.inference_count, before.execution_count, before.inference_stats.success.count) == (0, 0, 0)
    for rows in (1, 3):
        client.infer("counted.denoiser", [given("inputs", images(rows))])
    with refused("DEADLINE_EXCEEDED", "deadline"):
        client.infer("counted.denoiser", [given("inputs", GOOD)], timeout=1)
    after = statistics()
    assert (after.name, after.version) == ("counted.denoiser", "1")
    assert (after.inference_count, after.execution_count) == (4, 2)
    stats = after.inference_stats
    assert (stats.success.count, stats.queue.count, stats.compute_infer.count, stats.fail.count) == (2, 2, 2, 1)
    assert stats.success.ns == pytest.approx(stats.queue.ns + stats.compute_infer.ns, abs=2)
    assert stats.compute_infer.ns > 0
    assert after.last_inference > before.last_inference == 0


def test_statistics_of_all_graphs_that_are_ready(client: Any, stub: Any) -> None:
    names = {one.name for one in client.get_inference_statistics().model_stats}
    ready = stub.RepositoryIndex(messages.RepositoryIndexRequest(ready=True)).models
    assert names == {one.name for one in ready} >= {"vae.encoder", "gan.decoder"}


@pytest.mark.parametrize("name", ["hashing", "hashing.decoder"])
def test_a_model_is_unloaded_and_loaded_by_its_own_name_or_a_graphs(client: Any, name: str) -> None:
    def entry() -> tuple[str, str]:
        found = {one.name: one for one in client.get_model_repository_index().models}
        return found["hashing.encoder"].state, found["hashing.encoder"].reason

    assert entry() == ("READY", "")
    client.unload_model(name, unload_dependents=True)
    assert entry() == ("UNAVAILABLE", "unloaded")
    assert not client.is_model_ready("hashing.encoder")
    with refused("UNAVAILABLE", "model 'hashing' version 1 is unloaded"):
        client.infer("hashing.encoder", [given("inputs", GOOD)])
    with refused("NOT_FOUND", "does not have any version loaded"):
        client.unload_model(name)
    client.load_model(name)
    assert entry() == ("READY", "")
    assert client.is_model_ready("hashing.encoder")


def test_a_model_that_is_not_there_cannot_be_loaded_nor_one_be_configured(client: Any) -> None:
    with refused("NOT_FOUND", "no model 'nothing'"):
        client.load_model("nothing.encoder")
    with refused("NOT_FOUND", "no model 'nothing'"):
        client.unload_model("nothing")
    with refused("INVALID_ARGUMENT", "parameters: expected no parameters"):
        client.load_model("stacked", config="{}")


@pytest.mark.parametrize("name", ["new", "new.encoder"])
async def test_a_model_that_nobody_has_looked_for_is_loaded(tmp_path: Path, name: str) -> None:
    async with serve(tmp_path) as served:
        Autoencoder().write(tmp_path, "new")
        stub = GRPCInferenceServiceStub(served.channel)
        await stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name=name))
        assert (await stub.ModelReady(messages.ModelReadyRequest(name="new.encoder"))).ready


async def test_a_broken_version_is_in_the_index(tmp_path: Path) -> None:
    folder = Autoencoder().write(tmp_path)
    (folder / "manifest.json").write_text("{}")
    async with serve(tmp_path) as served:
        index = await GRPCInferenceServiceStub(served.channel).RepositoryIndex(messages.RepositoryIndexRequest())
    (entry,) = index.models
    assert (entry.name, entry.version, entry.state) == ("stacked", "1", "UNAVAILABLE")
    assert entry.reason.startswith("manifest.json: ")


async def test_without_the_token_only_readiness_is_told(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sesame")
    async with serve(repository, token_file=tmp_path / "token") as served, asking(served) as client:
        assert await client.is_server_live()
        assert await client.is_model_ready("stacked.encoder")
        with refused("UNAUTHENTICATED", "authorization: Bearer"):
            await client.infer("stacked.encoder", [given("inputs", GOOD)])
        headers = {"authorization": "Bearer sesame"}
        await client.infer("stacked.encoder", [given("inputs", GOOD)], headers=headers)


async def test_while_it_drains_the_server_is_live_but_not_ready(repository: Path) -> None:
    async with serve(repository) as served, asking(served) as client:
        served.server._drain.start()
        assert await client.is_server_live()
        assert not await client.is_server_ready()
        assert not await client.is_model_ready("stacked.encoder")
        with refused("UNAVAILABLE", "the server is shutting down"):
            await client.infer("stacked.encoder", [given("inputs", GOOD)])
