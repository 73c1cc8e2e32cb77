"""What bad input gets: the right status, with the field, what was expected and what came; and nobody else fails."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import model_service_pb2
from latentry.v1.tensor_pb2 import DATA_TYPE_INT64, DataType, Tensor

from tests.server.bundles import CODINGS, INPUT_SHAPE, NUM_STYLES, PIXELS, STYLE_DIM, Autoencoder, Classifier, images
from tests.server.serving import Served, array, details, rich_status, serve, tensor

ONE_CODING = np.zeros((1, CODINGS), np.float32)
TWO_CODINGS = np.zeros((2, CODINGS), np.float32)


def encode(inputs: np.ndarray | Tensor, model: str = "stacked") -> messages.EncodeRequest:
    return messages.EncodeRequest(model=model, inputs=tensor(inputs) if isinstance(inputs, np.ndarray) else inputs)


def classify(inputs: np.ndarray | Tensor) -> messages.ClassifyRequest:
    given = tensor(inputs) if isinstance(inputs, np.ndarray) else inputs
    return messages.ClassifyRequest(model="classifier", inputs=given)


def score(model: str, inputs: np.ndarray, labels: Sequence[int] = ()) -> messages.ScoreRequest:
    return messages.ScoreRequest(model=model, inputs=tensor(inputs), labels=labels)


def image_with(value: float) -> np.ndarray:
    given = images(3)
    given[1, 0, 2, 2] = value
    return given


def codings_source(rows: int) -> messages.Source:
    return messages.Source(codings=tensor(np.zeros((rows, CODINGS), np.float32)))


def inputs_source(rows: int) -> messages.Source:
    return messages.Source(inputs=tensor(images(rows)))


def styles_source(rows: int) -> messages.Source:
    return messages.Source(styles=tensor(np.zeros((rows, STYLE_DIM), np.float32)))


def seeds(count: int) -> messages.Source:
    return messages.Source(seeds=messages.Seeds(values=range(count)))


def interpolate(**fields: Any) -> messages.InterpolateRequest:
    given: dict[str, Any] = {"model": "gan", "start": codings_source(2), "end": codings_source(2), "steps": 3}
    return messages.InterpolateRequest(**(given | fields))


def style_mix(**fields: Any) -> messages.StyleMixRequest:
    given: dict[str, Any] = {"model": "stylegan", "rows": seeds(2), "columns": seeds(2), "layers": [0]}
    return messages.StyleMixRequest(**(given | fields))


def sample(**fields: Any) -> messages.SampleRequest:
    given: dict[str, Any] = {"model": "gan", "count": 2, "seed": 1}
    return messages.SampleRequest(**(given | fields))


def decode_zeros(rows: int) -> messages.DecodeRequest:
    return messages.DecodeRequest(model="gan", codings=tensor(np.zeros((rows, CODINGS), np.float32)))


def list_page(token: str) -> model_service_pb2.ListModelsRequest:
    return model_service_pb2.ListModelsRequest(page_token=token)


WRONG_FIELDS: list[tuple[Any, str, str, str]] = [
    # What every request names
    (messages.EncodeRequest(inputs=tensor(images(1))), "model", "a model's name", "nothing"),
    (messages.EncodeRequest(model="stacked", version=-1, inputs=tensor(images(1))), "version", "at least 1", "-1"),
    # Inputs
    (messages.EncodeRequest(model="stacked"), "inputs.shape", "1 to 8 axes", "0 axes"),
    (encode(images(2).reshape(2, 16)), "inputs.shape", "[N, 1, 4, 4]", "[2, 16]"),
    (encode(images(2)[:, :, :3]), "inputs.shape", "[N, 1, 4, 4]", "[2, 1, 3, 4]"),
    (encode(images(1)[0]), "inputs.shape", "[N, 1, 4, 4]", "[1, 4, 4]"),
    (encode(Tensor(shape=[0, *INPUT_SHAPE])), "inputs.shape[0]", "at least 1", "0"),
    (encode(images(101)), "inputs.shape[0]", "at most 100 rows", "101"),
    (encode(images(1).astype(np.int64)), "inputs.dtype", "FLOAT32 or UINT8", "INT64"),
    (encode(Tensor(dtype=DataType.ValueType(9), shape=[1], data=b"1")), "inputs.dtype", "FLOAT32 or UINT8", "9"),
    (encode(Tensor(shape=[1, *INPUT_SHAPE], data=b"123")), "inputs.data", "64 bytes", "3 bytes"),
    (encode(Tensor(shape=[2**62, *INPUT_SHAPE])), "inputs.data", f"{2**68} bytes", "0 bytes"),
    (encode(image_with(math.nan)), "inputs.data", "finite values in [0, 1]", "nan in row 1"),
    (encode(image_with(math.inf)), "inputs.data", "finite values in [0, 1]", "inf in row 1"),
    (encode(image_with(-math.inf)), "inputs.data", "finite values in [0, 1]", "-inf in row 1"),
    (encode(image_with(1.5)), "inputs.data", "finite values in [0, 1]", "1.5 in row 1"),
    (encode(image_with(-0.25)), "inputs.data", "finite values in [0, 1]", "-0.25 in row 1"),
    (encode(image_with(-1e-45)), "inputs.data", "finite values in [0, 1]", "-1.4013e-45 in row 1"),
    (encode(image_with(1.0000001)), "inputs.data", "finite values in [0, 1]", " in row 1"),
    (messages.ScoreRequest(model="vae", inputs=tensor(image_with(2))), "inputs.data", "[0, 1]", "2 in row 1"),
    (
        messages.DenoiseRequest(model="stacked", inputs=tensor(images(1)), output_dtype=DATA_TYPE_INT64),
        "output_dtype", "FLOAT32 or UINT8", "INT64",
    ),
    (
        messages.ReconstructRequest(model="stacked", inputs=tensor(images(1)), output_dtype=DataType.ValueType(9)),
        "output_dtype", "FLOAT32 or UINT8", "9",
    ),
    # Flat inputs
    (encode(images(2), model="flat"), "inputs.shape", "[N, 16]", "[2, 1, 4, 4]"),
    (encode(images(1)[0, 0], model="flat"), "inputs.shape", "[N, 16]", "[4, 4]"),
    (encode(images(1).reshape(PIXELS), model="flat"), "inputs.shape", "[N, 16]", "[16]"),
    (
        encode(image_with(math.nan).reshape(3, PIXELS), model="flat"),
        "inputs.data", "finite values in [0, 1]", "nan in row 1",
    ),
    # Classify
    (messages.ClassifyRequest(inputs=tensor(images(1))), "model", "a model's name", "nothing"),
    (messages.ClassifyRequest(model="classifier"), "inputs.shape", "1 to 8 axes", "0 axes"),
    (
        messages.ClassifyRequest(model="classifier", version=-1, inputs=tensor(images(1))),
        "version", "at least 1", "-1",
    ),
    (classify(images(2).reshape(2, 16)), "inputs.shape", "[N, 1, 4, 4]", "[2, 16]"),
    (classify(Tensor(shape=[0, *INPUT_SHAPE])), "inputs.shape[0]", "at least 1", "0"),
    (classify(images(101)), "inputs.shape[0]", "at most 100 rows", "101"),
    (classify(images(1).astype(np.int64)), "inputs.dtype", "FLOAT32 or UINT8", "INT64"),
    (classify(Tensor(shape=[1, *INPUT_SHAPE], data=b"123")), "inputs.data", "64 bytes", "3 bytes"),
    (classify(image_with(math.nan)), "inputs.data", "finite values in [0, 1]", "nan in row 1"),
    (classify(image_with(1.5)), "inputs.data", "finite values in [0, 1]", "1.5 in row 1"),
    # Score by a critic
    (score("dcgan", images(2), labels=[0, 1]), "labels", "no labels: the critic is not conditional", "2 labels"),
    (score("vae", images(2), labels=[0, 1]), "labels", "no labels: reconstruction takes none", "2 labels"),
    (score("cstylegan", images(2)), "labels", "2 labels, one a row: the critic is conditional", "0 labels"),
    (score("cstylegan", images(2), labels=[0]), "labels", "2 labels", "1 labels"),
    (score("cstylegan", images(2), labels=[0, 3]), "labels[1]", "0 to 2", "3"),
    (score("dcgan", image_with(math.nan)), "inputs.data", "finite values in [0, 1]", "nan in row 1"),
    # Codings, labels, truncation
    (
        messages.DecodeRequest(model="classifier", codings=tensor(ONE_CODING), labels=[0]),
        "labels", "no labels: the model is not conditional", "1 labels",
    ),
    (sample(model="classifier", labels=[0, 1]), "labels", "no labels", "2 labels"),
    (messages.DecodeRequest(model="gan", codings=tensor(ONE_CODING[:, :2])), "codings.shape", "[N, 3]", "[1, 2]"),
    (
        messages.DecodeRequest(model="gan", codings=tensor(ONE_CODING.astype(np.uint8))),
        "codings.dtype", "FLOAT32", "UINT8",
    ),
    (
        messages.DecodeRequest(model="gan", codings=tensor(ONE_CODING * np.float32(math.nan))),
        "codings.data", "finite values", "nan in row 0",
    ),
    (messages.DecodeRequest(model="gan", codings=tensor(ONE_CODING), labels=[0]), "labels", "no labels", "1 labels"),
    (messages.DecodeRequest(model="cgan", codings=tensor(TWO_CODINGS)), "labels", "2 labels", "0 labels"),
    (
        messages.DecodeRequest(model="cgan", codings=tensor(TWO_CODINGS), labels=[0, 3]),
        "labels[1]", "0 to 2", "3",
    ),
    (
        messages.DecodeRequest(model="cgan", codings=tensor(TWO_CODINGS), labels=[-1, 0]),
        "labels[0]", "0 to 2", "-1",
    ),
    (
        messages.DecodeRequest(model="gan", codings=tensor(ONE_CODING), truncation=messages.Truncation(psi=0.5)),
        "truncation", "no truncation", "psi 0.5",
    ),
    (messages.DecodeRequest(model="cstylegan", codings=tensor(TWO_CODINGS)), "labels", "2 labels", "0 labels"),
    # Sample
    (sample(count=0), "count", "at least 1 row", "0"),
    (sample(count=-5), "count", "at least 1 row", "-5"),
    (sample(count=101), "count", "at most 100 rows", "101"),
    (sample(first_row=-1), "first_row", "at least 0", "-1"),
    (sample(labels=[0, 1]), "labels", "no labels", "2 labels"),
    (sample(model="cgan", labels=[0]), "labels", "2 labels", "1 labels"),
    (sample(model="cgan", labels=[0, 2**40]), "labels[1]", "0 to 2", str(2**40)),
    (sample(truncation=messages.Truncation(psi=0.5, cutoff=1)), "truncation", "no truncation", "psi 0.5"),
    (sample(model="stylegan", labels=[0, 1]), "labels", "no labels", "2 labels"),
    (sample(model="stylegan", truncation=messages.Truncation(psi=2.5)), "truncation.psi", "from -2 to 2", "2.5"),
    (sample(model="stylegan", truncation=messages.Truncation(psi=math.inf)), "truncation.psi", "finite", "inf"),
    (sample(model="stylegan", truncation=messages.Truncation(psi=math.nan)), "truncation.psi", "finite", "nan"),
    (sample(model="stylegan", truncation=messages.Truncation(cutoff=3)), "truncation.cutoff", "0 to 2", "3"),
    (sample(model="stylegan", truncation=messages.Truncation(cutoff=-1)), "truncation.cutoff", "0 to 2", "-1"),
    # Interpolate
    (interpolate(start=None), "start", "one of inputs, codings, seeds and styles", "none"),
    (interpolate(end=messages.Source()), "end", "one of inputs, codings, seeds and styles", "none"),
    (interpolate(end=codings_source(3)), "end.codings", "2 rows, as start.codings", "3 rows"),
    (interpolate(start=messages.Source(seeds=messages.Seeds())), "start.seeds.values", "at least 1 row", "0"),
    (interpolate(steps=1), "steps", "at least 2", "1"),
    (interpolate(steps=-(2**31)), "steps", "at least 2", str(-(2**31))),
    (interpolate(steps=51), "steps", "at most 100 rows", "102"),
    (interpolate(steps=2**31 - 1), "steps", "at most 100 rows", str(2 * (2**31 - 1))),
    (interpolate(mode=5), "mode", "LINEAR or SPHERICAL", "5"),
    (interpolate(labels=[0, 0]), "labels", "no labels", "2 labels"),
    (interpolate(model="cgan"), "labels", "2 labels", "0 labels"),
    (
        interpolate(start=messages.Source(codings=tensor(TWO_CODINGS + np.float32(math.inf)))),
        "start.codings.data", "finite values", "inf in row 0",
    ),
    (
        interpolate(
            model="stylegan",
            start=styles_source(2),
            mode=messages.INTERPOLATION_MODE_SPHERICAL,
        ),
        "mode", "LINEAR", "SPHERICAL",
    ),
    (interpolate(truncation=messages.Truncation(psi=0.5)), "truncation", "no truncation", "psi 0.5"),
    # Sources of different kinds: each is checked as what it is, and labels are those of the one that needs them
    (
        interpolate(model="vae", start=inputs_source(2), end=messages.Source(codings=tensor(TWO_CODINGS[:, :2]))),
        "end.codings.shape", "[N, 3]", "[2, 2]",
    ),
    (interpolate(model="vae", start=inputs_source(2), end=codings_source(1)), "end.codings", "2 rows", "1 rows"),
    (interpolate(model="cstylegan", start=inputs_source(2), end=seeds(2)), "labels", "2 labels", "0 labels"),
    (
        interpolate(model="cstylegan", start=inputs_source(2), end=styles_source(2), labels=[0, 1]),
        "labels", "no labels: styles are past the layers that take them", "2 labels",
    ),
    (
        interpolate(
            model="cstylegan",
            start=inputs_source(2),
            end=inputs_source(2),
            mode=messages.INTERPOLATION_MODE_SPHERICAL,
        ),
        "labels", "2 labels", "0 labels",
    ),
    # StyleMix
    (style_mix(rows=None), "rows", "one of inputs, codings, seeds and styles", "none"),
    (style_mix(layers=[0, NUM_STYLES]), f"layers[{1}]", "0 to 1", "2"),
    (style_mix(layers=[-1]), "layers[0]", "0 to 1", "-1"),
    (style_mix(layers=[1, 0, 1]), "layers[2]", "each layer once", "1 again"),
    (style_mix(rows=seeds(10), columns=seeds(11)), "columns", "at most 100 rows", "110"),
    (style_mix(columns=seeds(3), layout=messages.STYLE_MIX_LAYOUT_PAIRS), "columns.seeds", "2 rows", "3 rows"),
    (style_mix(layout=9), "layout", "GRID or PAIRS", "9"),
    (style_mix(row_labels=[0, 0]), "row_labels", "no labels", "2 labels"),
    (
        style_mix(columns=messages.Source(styles=tensor(np.zeros((1, 4), np.float32)))),
        "columns.styles.shape", f"[N, {STYLE_DIM}] or [N, {NUM_STYLES}, {STYLE_DIM}]", "[1, 4]",
    ),
    (style_mix(truncation=messages.Truncation(psi=math.nan)), "truncation.psi", "finite", "nan"),
    (style_mix(truncation=messages.Truncation(psi=0.5, cutoff=-1)), "truncation.cutoff", "0 to 2", "-1"),
    (style_mix(model="cstylegan", column_labels=[0, 0]), "row_labels", "2 labels", "0 labels"),
    (style_mix(model="cstylegan", row_labels=[0, 0]), "column_labels", "2 labels", "0 labels"),
    (style_mix(model="cstylegan", row_labels=[0] * 3, column_labels=[0, 0]), "row_labels", "2 labels", "3 labels"),
    (style_mix(model="cstylegan", row_labels=[0, 0], column_labels=[0]), "column_labels", "2 labels", "1 labels"),
    (style_mix(model="cstylegan", row_labels=[0, 0], column_labels=[0, 9]), "column_labels[1]", "0 to 2", "9"),
    (
        style_mix(model="cstylegan", rows=styles_source(2), row_labels=[0, 0], column_labels=[0, 0]),
        "row_labels", "no labels: styles are past the layers that take them", "2 labels",
    ),
    (style_mix(model="cstylegan", rows=styles_source(2)), "column_labels", "2 labels", "0 labels"),
    (
        style_mix(model="cstylegan", rows=inputs_source(2), row_labels=[0, 0], column_labels=[0, 0]),
        "row_labels", "no labels: styles are past the layers that take them", "2 labels",
    ),
    # ModelService
    (model_service_pb2.ListModelsRequest(page_size=-1), "page_size", "at least 0", "-1"),
    (list_page("no"), "page_token", "a next_page_token of this server", "no"),
    (list_page("bm8="), "page_token", "a next_page_token of this server", "bm8="),
    (model_service_pb2.GetModelRequest(model="vae", version=-2), "version", "at least 1", "-2"),
]  # fmt: skip


def call(served: Served, request: Any) -> Awaitable[Any]:
    """Call the RPC that takes this request."""
    name = type(request).__name__.removesuffix("Request")
    stub = served.models if "Model" in name else served.inference
    result: Awaitable[Any] = getattr(stub, name)(request)
    return result


async def failure(calling: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calling
    return caught.value


async def test_every_wrong_field_is_named_and_the_server_goes_on(repository: Path) -> None:
    async with serve(repository, max_request_rows=100) as served:
        for request, field, expected, got in WRONG_FIELDS:
            error = await failure(call(served, request))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, (request, error)
            found = details(rich_status(error))
            (violation,) = found["BadRequest"].field_violations
            assert violation.field == field, (request, violation)
            wanted, _, came = violation.description.partition(", got ")
            assert expected in wanted, (request, violation)
            assert got in came, (request, violation)
            assert found["ErrorInfo"].reason == "INVALID_INPUT"
        await call(served, encode(images(100)))


@pytest.mark.parametrize(
    ("request_", "reason", "resource"),
    [
        (encode(images(1), model="nothing"), "MODEL_NOT_FOUND", "nothing"),
        (encode(images(1), model="../stacked"), "MODEL_NOT_FOUND", "../stacked"),
        (messages.SampleRequest(model="gan", version=7, count=1), "VERSION_NOT_FOUND", "gan/7"),
        (model_service_pb2.GetModelRequest(model="nothing"), "MODEL_NOT_FOUND", "nothing"),
        (model_service_pb2.LoadModelRequest(model="../repository/vae"), "MODEL_NOT_FOUND", "../repository/vae"),
        (model_service_pb2.LoadModelRequest(model="vae", version=9), "VERSION_NOT_FOUND", "vae/9"),
        (model_service_pb2.UnloadModelRequest(model="nothing"), "MODEL_NOT_FOUND", "nothing"),
    ],
)
async def test_an_unknown_model_or_version_is_not_found(
    served: Served, request_: Any, reason: str, resource: str
) -> None:
    error = await failure(call(served, request_))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    found = details(rich_status(error))
    assert (found["ErrorInfo"].reason, found["ResourceInfo"].resource_name) == (reason, resource)


@pytest.mark.parametrize(
    ("request_", "operation"),
    [
        (encode(images(1), model="gan"), "ENCODE"),
        (messages.ScoreRequest(model="gan", inputs=tensor(images(1))), "SCORE"),
        (messages.ClassifyRequest(model="stacked", inputs=tensor(images(1))), "CLASSIFY"),
        (messages.ReconstructRequest(model="gan", inputs=tensor(images(1))), "RECONSTRUCT"),
        (messages.DenoiseRequest(model="vae", inputs=tensor(images(1))), "DENOISE"),
        (style_mix(model="gan"), "STYLE_MIX"),
        (interpolate(start=messages.Source(inputs=tensor(images(2)))), "ENCODE"),
        (interpolate(start=messages.Source(styles=tensor(TWO_CODINGS))), "STYLE_MIX"),
        (style_mix(model="cgan", truncation=messages.Truncation(psi=0.5)), "STYLE_MIX"),
        (style_mix(rows=inputs_source(2)), "ENCODE"),
    ],
)
async def test_an_operation_that_the_model_lacks_comes_with_those_it_has(
    served: Served, request_: Any, operation: str
) -> None:
    error = await failure(call(served, request_))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    info = details(rich_status(error))["ErrorInfo"]
    assert (info.reason, info.metadata["operation"]) == ("CAPABILITY_MISSING", operation)
    assert "SAMPLE" in info.metadata["capabilities"].split(",")
    assert "SAMPLE" in str(error.details())


async def test_a_message_over_the_limit_is_refused_either_way(repository: Path) -> None:
    async with serve(repository, max_message_mib=1, max_request_rows=40_000, max_queue_rows=40_000) as served:
        error = await failure(call(served, encode(images(17_000))))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # An answer that would be over the limit is refused before the work, and the largest that is not refused fits.
        too_many = sample(model="cgan", count=40_000, include_codings=True)
        error = await failure(call(served, too_many))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        (violation,) = details(rich_status(error))["BadRequest"].field_violations
        (fitting_rows,) = re.findall(r"at most (\d+) rows", violation.description)
        assert 12_000 < int(fitting_rows) < 2**20 // 76  # 64 bytes of image and 12 of codings a row, and its label
        await call(served, sample(model="cgan", count=int(fitting_rows), include_codings=True))
        # Room for the rows alone is not enough.
        error = await failure(call(served, decode_zeros(2**20 // 64)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        await call(served, encode(images(16_000)))


async def test_long_label_names_count_as_part_of_the_answer(tmp_path: Path) -> None:
    class Verbose(Classifier):
        label_names = tuple(letter * 200_000 for letter in "abc")

    Verbose().write(tmp_path)
    inputs = np.zeros((30_000, *INPUT_SHAPE), np.uint8)
    async with serve(tmp_path, max_message_mib=1, max_request_rows=40_000, max_queue_rows=40_000) as served:
        error = await failure(call(served, classify(inputs)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        (violation,) = details(rich_status(error))["BadRequest"].field_violations
        (fitting_rows,) = re.findall(r"at most (\d+) rows", violation.description)
        assert int(fitting_rows) > 20_000
        response = await call(served, classify(inputs[: int(fitting_rows)]))
        assert len(response.labels) == int(fitting_rows)


async def test_a_classifier_that_answers_with_no_numbers_is_no_answer(tmp_path: Path) -> None:
    broken = Classifier()
    broken.weights["classify_bias"] = np.full(3, math.nan, np.float32)
    broken.write(tmp_path)
    async with serve(tmp_path) as served:
        error = await failure(call(served, classify(images(1))))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert details(rich_status(error))["ErrorInfo"].reason == "RUNTIME_FAILED"


async def test_a_full_queue_says_when_to_try_again(repository: Path) -> None:
    async with serve(repository, max_request_rows=8, max_batch_rows=8, max_queue_rows=8, max_delay_ms=500) as served:
        both = await asyncio.gather(*(call(served, encode(images(5))) for _ in range(2)), return_exceptions=True)
        (response,) = [answer for answer in both if not isinstance(answer, BaseException)]
        (error,) = [answer for answer in both if isinstance(answer, grpc.aio.AioRpcError)]
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(rich_status(error))["RetryInfo"].retry_delay.ToNanoseconds() > 0
        np.testing.assert_allclose(array(response.codings), Autoencoder().encode(images(5)), atol=1e-5)


async def test_an_expired_deadline_is_exceeded(repository: Path) -> None:
    async with serve(repository, max_delay_ms=2000) as served:
        error = await failure(served.inference.Encode(encode(images(1)), timeout=0.05))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_broken_message_is_an_error_of_that_call_alone(served: Served) -> None:
    encode_bytes: Callable[..., Awaitable[Any]] = served.channel.unary_unary("/latentry.v1.InferenceService/Encode")
    error = await failure(encode_bytes(b"\xff\xff\xff not a message"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(rich_status(error))["BadRequest"].field_violations[0].field == "request"
    await call(served, encode(images(1)))


async def test_one_callers_bad_input_or_cancellation_leaves_every_batch_mate_right(repository: Path) -> None:
    async with serve(repository, max_delay_ms=50, max_batch_rows=1024) as served:
        inputs = [images(3, seed=seed) for seed in range(40)]
        good = [asyncio.ensure_future(call(served, encode(given))) for given in inputs]
        cancelled = [served.inference.Encode(encode(images(2))) for _ in range(10)]
        bad = [asyncio.ensure_future(failure(call(served, encode(image_with(math.nan))))) for _ in range(10)]
        await asyncio.sleep(0.02)  # into the window in which the batch gathers
        for one in cancelled:
            one.cancel()
        for given, response in zip(inputs, await asyncio.gather(*good), strict=True):
            np.testing.assert_allclose(array(response.codings), Autoencoder().encode(given), atol=1e-5)
        for error in await asyncio.gather(*bad):
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        for one in cancelled:
            assert await one.code() is grpc.StatusCode.CANCELLED
