"""Both clients against a real gRPC server: every operation, in one call and in chunks, gives numpy's answer."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as pb
from latentry_client import AsyncClient, Client, FromCodings, FromSeeds, FromStyles, hashing, requests
from latentry_client.exceptions import BadResponseError, FailedPreconditionError
from latentry_client.requests import Request
from latentry_client.tensors import to_tensor

from tests.client.plain_service import PlainService, classified, decoded, drawn, encoded

CODINGS = np.random.default_rng(1).random((600, 2), np.float32)
LABELS = np.arange(600) % 3

# Every inference operation, on more rows than one call carries.
LARGE: dict[str, Callable[[np.ndarray], Request[Any]]] = {
    "encode": lambda images: requests.encode("plain", images),
    "encode uint8": lambda images: requests.encode("plain", (images * 255).astype(np.uint8)),
    "encode variational": lambda images: requests.encode("variational", images),
    "decode": lambda _: requests.decode("plain", CODINGS, labels=LABELS, truncation_psi=0.5),
    "denoise": lambda images: requests.denoise("plain", images),
    "reconstruct": lambda images: requests.reconstruct("plain", images, output_dtype="uint8"),
    "sample": lambda _: requests.sample("plain", 600, seed=5, first_row=7, labels=LABELS, include_codings=True),
    "interpolate": lambda images: requests.interpolate(
        "plain", images, FromSeeds(list(range(600))), steps=3, mode="linear"
    ),
    "hash": lambda images: requests.hash("plain", images),
    "score": lambda images: requests.score("plain", images),
    "encode styled": lambda images: requests.encode("styled", images),
    "score labelled": lambda images: requests.score("plain", images, labels=LABELS),
    "score calibrated": lambda images: requests.score("calibrated", images),
    "classify": lambda images: requests.classify("plain", images),
    "style_mix grid": lambda _: requests.style_mix(
        "plain", FromCodings(CODINGS), FromStyles(CODINGS[:5]), layers=[1], noise_seed=4
    ),
    "style_mix pairs": lambda _: requests.style_mix(
        "plain", FromCodings(CODINGS), FromSeeds(range(600)), layers=[1], layout="pairs", noise_seed=4
    ),
}


def assert_equal(left: object, right: object) -> None:
    assert type(left) is type(right)
    for name in (field.name for field in fields(left)):  # type: ignore[arg-type]
        if name != "run":
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def test_encode(client: Client, images: np.ndarray) -> None:
    encoding = client.encode("plain", images[:5])
    np.testing.assert_allclose(encoding.codings, encoded(images[:5]), rtol=1e-6)
    assert encoding.log_variance is None
    assert encoding.styles is None
    assert (encoding.run.model, encoding.run.version, encoding.run.queue_us) == ("plain", 3, 1)
    variational = client.encode("variational", images[:5], version=2)
    np.testing.assert_array_equal(variational.log_variance, -variational.codings)
    assert variational.run.version == 2
    styled = client.encode("styled", images[:5])
    np.testing.assert_array_equal(styled.styles, styled.codings * 2)


def test_uint8_stays_uint8(client: Client, service: PlainService, images: np.ndarray) -> None:
    pixels = (images[:2] * 255).astype(np.uint8)
    encoding = client.encode("plain", pixels)
    assert len(service.requests[0].inputs.data) == 2 * 16
    np.testing.assert_allclose(encoding.codings, encoded(pixels.astype(np.float32) / 255), rtol=1e-6)
    assert client.reconstruct("plain", pixels, output_dtype="uint8").outputs.dtype == np.uint8


def test_scores_above_the_threshold_are_anomalies(client: Client) -> None:
    halves = np.zeros((3, 1, 4, 4), np.float32)
    halves[0], halves[1, 0, :2] = 1, 1  # reconstructed as they are, and as half 0.5 and half 1: MSE 0 and 0.375
    scores = client.score("calibrated", halves)
    assert scores.threshold == 0.125
    assert scores.is_anomaly is not None
    assert scores.is_anomaly.tolist() == [False, True, False]
    plain = client.score("plain", halves)
    assert (plain.threshold, plain.is_anomaly) == (None, None)


def test_classify(client: Client, images: np.ndarray) -> None:
    classification = client.classify("plain", images[:5])
    np.testing.assert_array_equal(classification.probabilities, classified(images[:5]))
    assert classification.labels.tolist() == (images[:5, 0, 0, 0] > 0.5).astype(int).tolist()
    assert classification.label_names == ("dark", "bright")
    assert classification.names == ["bright" if label else "dark" for label in classification.labels]
    assert classification.labels.dtype == np.int64


def test_labels_without_a_name_are_no_answer(client: Client, images: np.ndarray) -> None:
    with pytest.raises(BadResponseError, match=r"5 labels of 2 names with probabilities of shape \[5, 2\]"):
        client.classify("miscounting", images[:5])


def test_hash(client: Client, images: np.ndarray) -> None:
    hashes = client.hash("plain", images[:5])
    assert (hashes.codes.shape, hashes.num_bits, hashes.run.model) == ((5, 1), 2, "plain")
    np.testing.assert_array_equal(hashing.to_bits(hashes.codes, hashes.num_bits), encoded(images[:5]) > 0.5)


def test_codings_that_stand_for_no_bits_are_refused() -> None:
    request = requests.hash("plain", np.zeros((1, 1, 4, 4), np.float32))
    negative = pb.EncodeResponse(codings=to_tensor(np.array([[-0.5, 0.5]])), run=pb.RunInfo(model="plain"))
    with pytest.raises(FailedPreconditionError, match=r"'plain' is not trained for hashing: .* got -0\.5 to 0\.5"):
        request.parse(negative)


def test_sample_and_its_seed(client: Client) -> None:
    samples = client.sample("plain", 4, include_codings=True)
    again = client.sample("plain", 2, seed=samples.seed, first_row=2)
    np.testing.assert_array_equal(again.outputs, samples.outputs[2:])
    assert again.codings is None
    assert samples.labels is None
    np.testing.assert_array_equal(samples.codings, np.stack([drawn(samples.seed, i) for i in range(4)]))


def test_interpolate(client: Client) -> None:
    way = client.interpolate("plain", FromCodings([[0.0, 1.0]]), FromCodings([[1.0, 0.0]]), steps=3)
    np.testing.assert_array_equal(way.outputs[0], decoded(np.array([[0, 1], [0.5, 0.5], [1, 0]], np.float32)))


def test_style_mix(client: Client) -> None:
    mixes = client.style_mix("plain", FromSeeds([1, 2]), FromSeeds([3, 4, 5]), layers=[1])
    again = client.style_mix("plain", FromSeeds([2]), FromSeeds([5]), layers=[1], noise_seed=mixes.noise_seed)
    assert mixes.outputs.shape == (2, 3, 1, 4, 4)
    np.testing.assert_array_equal(again.outputs[0, 0], mixes.outputs[1, 2])


def test_models_and_health(client: Client) -> None:
    models = client.list_models()
    assert [(model.name, model.state, model.error) for model in models] == [
        ("plain", "ready", ""),
        ("broken", "failed", "encoder.onnx: wrong hash"),
    ]
    assert models[1].manifest is None
    model = client.get_model("plain", version=2)
    assert model.version == 2
    assert model.capabilities == {"encode", "style_mix"}
    assert (model.input_shape, model.codings_shape, model.variant) == ((1, 4, 4), (2,), "stacked")
    assert model.metrics[0].split == "validation"
    assert client.load_model("plain").state == "ready"
    assert [model.name for model in client.unload_model("plain")] == ["plain"]
    assert client.health().serving
    assert client.health("broken").status == "not_serving"


@pytest.mark.parametrize("name", LARGE)
async def test_chunks_and_both_clients_agree(
    name: str, address: str, service: PlainService, images: np.ndarray
) -> None:
    request = LARGE[name](images)
    with Client(address, max_rows=10_000) as client:
        whole = await asyncio.to_thread(client.run, request)
    assert len(service.requests) == 1
    done: list[int] = []
    with Client(address, max_rows=250) as client:
        chunked = await asyncio.to_thread(client.run, request, progress=done.append)
    assert sum(done) == 600
    assert len(done) == len(service.requests) - 1 >= 3
    assert chunked.run.queue_us == len(done)
    async with AsyncClient(address, max_rows=97) as async_client:
        from_async = await async_client.run(request)
    assert_equal(chunked, whole)
    assert_equal(from_async, whole)


def test_chunks_share_the_drawn_seed_and_the_version(address: str, service: PlainService) -> None:
    with Client(address, max_rows=100) as client:
        samples = client.sample("moving", 250)
        mixes = client.style_mix("moving", FromSeeds(range(250)), FromSeeds([1]), layers=[0])
    expected = np.stack([drawn(samples.seed, i) for i in range(250)])
    np.testing.assert_array_equal(samples.outputs, decoded(expected))
    assert {request.version for request in service.requests[1:3]} == {samples.run.version}
    assert {request.noise_seed for request in service.requests[4:]} == {mixes.noise_seed}


def test_bytes_bound_chunks_too(address: str, service: PlainService, images: np.ndarray) -> None:
    with Client(address, max_bytes=64 * 10) as client:
        client.encode("plain", images[:25])
    assert [request.inputs.shape[0] for request in service.requests] == [10, 10, 5]


async def test_a_failing_chunk_stops_the_rest(address: str, service: PlainService, images: np.ndarray) -> None:
    spoilt = images.copy()
    spoilt[130] = 2
    async with AsyncClient(address, max_rows=50) as client:
        with pytest.raises(ValueError, match=r"Encode of 'plain', rows 100 to 149: inputs: out of range"):
            await client.encode("plain", spoilt)
    assert len(service.requests) < 12


def test_methods_are_documented() -> None:
    for client_class in (Client, AsyncClient):
        signature = inspect.signature(client_class.sample)
        assert list(signature.parameters)[:3] == ["self", "model", "count"]
        assert signature.return_annotation.__name__ == "Samples"
        assert str(client_class.sample.__doc__).startswith("Draw new outputs")


async def test_concurrent_calls(address: str, images: np.ndarray) -> None:
    async with AsyncClient(address) as client:
        results = await asyncio.gather(*(client.encode("plain", images[i : i + 1]) for i in range(50)))
    np.testing.assert_allclose(np.concatenate([r.codings for r in results]), encoded(images[:50]), rtol=1e-6)
