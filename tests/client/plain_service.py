"""A real gRPC server whose models are a line of numpy each, to test the client against: every row's answer is known.

Images are [1, 4, 4], codings [2] (mean, max). The model `plain` answers; other names misbehave as they say.
"""

# ruff: noqa: N802 - gRPC names the methods

import itertools
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from latentry.v1 import inference_service_pb2 as pb
from latentry.v1 import inference_service_pb2_grpc, manifest_pb2, model_service_pb2_grpc
from latentry.v1 import model_service_pb2 as model_pb
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_UINT8, Tensor


class RefusalError(Exception):
    """A call's failure, as a google.rpc.Status."""

    def __init__(self, code: int, message: str, *details: Message) -> None:
        super().__init__(message)
        self.status = status_pb2.Status(code=code, message=message)
        for detail in details:
            self.status.details.add().Pack(detail)


def info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain="latentry", metadata=metadata)


VIOLATION = error_details_pb2.BadRequest.FieldViolation(
    field="inputs.shape", description="expected [N, 1, 4, 4], got [1, 1, 4, 5]"
)
DELAY = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=250_000_000))

# By the model's name.
REFUSALS: dict[str, tuple[int, str, tuple[Message, ...]]] = {
    "invalid": (
        code_pb2.INVALID_ARGUMENT,
        "inputs.shape is wrong",
        (info("INVALID_INPUT"), error_details_pb2.BadRequest(field_violations=[VIOLATION])),
    ),
    "missing": (code_pb2.NOT_FOUND, "no model 'missing'", (info("MODEL_NOT_FOUND"),)),
    "incapable": (
        code_pb2.FAILED_PRECONDITION,
        "lacks ENCODE; it has SAMPLE",
        (info("CAPABILITY_MISSING", operation="ENCODE", capabilities="SAMPLE"),),
    ),
    "full": (code_pb2.RESOURCE_EXHAUSTED, "the queue is full", (info("QUEUE_FULL"), DELAY)),
    "away": (code_pb2.UNAVAILABLE, "the server is shutting down", (info("SHUTTING_DOWN"),)),
    "locked": (code_pb2.UNAUTHENTICATED, "no token", (info("UNAUTHENTICATED"),)),
    "forbidden": (code_pb2.PERMISSION_DENIED, "not yours", ()),
    "absent": (code_pb2.UNIMPLEMENTED, "no such call", ()),
    "late": (code_pb2.DEADLINE_EXCEEDED, "too late", (info("DEADLINE_EXCEEDED"),)),
    "crashing": (code_pb2.INTERNAL, "it broke", (info("RUNTIME_FAILED"),)),
}


InferenceRequest = (
    pb.EncodeRequest
    | pb.DecodeRequest
    | pb.DenoiseRequest
    | pb.ReconstructRequest
    | pb.SampleRequest
    | pb.InterpolateRequest
    | pb.ScoreRequest
    | pb.StyleMixRequest
    | pb.ClassifyRequest
)
ModelRequest = model_pb.GetModelRequest | model_pb.LoadModelRequest | model_pb.UnloadModelRequest


def read_metadata(context: grpc.ServicerContext) -> dict[str, str | bytes]:
    return dict(context.invocation_metadata())


def to_numpy(tensor: Tensor) -> np.ndarray:
    dtype = np.uint8 if tensor.dtype == DATA_TYPE_UINT8 else np.float32
    array = np.frombuffer(tensor.data, dtype).reshape(tensor.shape)
    return array.astype(np.float32) / 255 if dtype == np.uint8 else array


def to_message(array: np.ndarray, dtype: int = DATA_TYPE_FLOAT32) -> Tensor:
    if dtype == DATA_TYPE_UINT8:
        data = np.round(array * 255).astype(np.uint8)
        return Tensor(dtype=DATA_TYPE_UINT8, shape=data.shape, data=data.tobytes())
    return Tensor(dtype=DATA_TYPE_FLOAT32, shape=array.shape, data=array.astype("<f4").tobytes())


def encoded(inputs: np.ndarray) -> np.ndarray:
    flat = inputs.reshape(len(inputs), -1)
    return np.stack([flat.mean(1), flat.max(1)], 1)


def classified(inputs: np.ndarray) -> np.ndarray:
    """Let an image be as bright as its first pixel."""
    bright = inputs[:, 0, 0, 0]
    return np.stack([1 - bright, bright], 1)


def decoded(codings: np.ndarray) -> np.ndarray:
    """Paint half of each image with each coding."""
    return np.repeat(np.clip(codings, 0, 1), 8, axis=1).reshape(len(codings), 1, 4, 4)


def drawn(seed: int, row: int) -> np.ndarray:
    return np.random.default_rng([seed, row]).random(2, np.float32)


def source_codings(source: pb.Source) -> np.ndarray:
    match source.WhichOneof("source"):
        case "inputs":
            return encoded(to_numpy(source.inputs))
        case "codings":
            return to_numpy(source.codings)
        case "styles":
            return to_numpy(source.styles)
        case _:
            return np.stack([drawn(seed, 0) for seed in source.seeds.values])


class PlainService(inference_service_pb2_grpc.InferenceServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Answers, and writes down what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.peers: set[str] = set()
        self.breaks: list[int] = []
        """Of the streams to come: after how many answers each breaks off."""
        self.failures_left: dict[str, int] = defaultdict(int)
        self.version = 3
        self.gate = threading.Semaphore(0)

    def answer(self, request: InferenceRequest, context: grpc.ServicerContext) -> Any:
        """Answer an inference call, or end it as its model's name says."""
        self.peers.add(context.peer())
        self.metadata.append(read_metadata(context))
        try:
            return self.compute(request)
        except RefusalError as error:
            details = (("grpc-status-details-bin", error.status.SerializeToString()),)
            context.set_trailing_metadata(details)
            code = next(code for code in grpc.StatusCode if code.value[0] == error.status.code)
            context.abort(code, error.status.message)

    def compute(self, request: InferenceRequest) -> Any:
        self.requests.append(request)
        if self.failures_left[request.model] > 0:
            self.failures_left[request.model] -= 1
            raise RefusalError(code_pb2.UNAVAILABLE, "not yet")
        if request.model in REFUSALS:
            code, message, details = REFUSALS[request.model]
            raise RefusalError(code, message, *details)
        if request.model == "slow":
            time.sleep(0.5)
        if request.model == "gated":
            self.gate.acquire()
        kind = type(request).__name__.removesuffix("Request")
        version, self.version = request.version or self.version, self.version + (request.model == "moving")
        response = getattr(self, f"_{kind.lower()}")(request)
        response.run.CopyFrom(pb.RunInfo(model=request.model, version=version, queue_us=1, compute_us=2))
        return response

    Encode = Decode = Denoise = Reconstruct = Sample = Interpolate = Score = StyleMix = Classify = answer

    def _encode(self, request: pb.EncodeRequest) -> pb.EncodeResponse:
        inputs = to_numpy(request.inputs)
        if (inputs > 1).any():
            raise RefusalError(code_pb2.INVALID_ARGUMENT, "inputs: out of range")
        codings = encoded(inputs)
        response = pb.EncodeResponse(codings=to_message(codings))
        if request.model == "variational":
            response.log_variance.CopyFrom(to_message(-codings))
        if request.model == "styled":
            response.styles.CopyFrom(to_message(codings * 2))
        return response

    def _decode(self, request: pb.DecodeRequest) -> pb.DecodeResponse:
        codings = to_numpy(request.codings)
        if request.labels:
            codings = codings + np.array(request.labels, np.float32)[:, None] / 10
        if request.HasField("truncation"):
            codings = codings * request.truncation.psi
        return pb.DecodeResponse(outputs=to_message(decoded(codings), request.output_dtype))

    def _denoise(self, request: pb.DenoiseRequest) -> pb.DenoiseResponse:
        return pb.DenoiseResponse(outputs=to_message(np.round(to_numpy(request.inputs)), request.output_dtype))

    def _reconstruct(self, request: pb.ReconstructRequest) -> pb.ReconstructResponse:
        outputs = decoded(encoded(to_numpy(request.inputs)))
        return pb.ReconstructResponse(outputs=to_message(outputs, request.output_dtype))

    def _sample(self, request: pb.SampleRequest) -> pb.SampleResponse:
        seed = request.seed if request.HasField("seed") else time.time_ns()
        codings = np.stack([drawn(seed, request.first_row + i) for i in range(request.count)])
        response = pb.SampleResponse(
            outputs=to_message(decoded(codings), request.output_dtype), seed=seed, labels=request.labels
        )
        if request.include_codings:
            response.codings.CopyFrom(to_message(codings))
        return response

    def _interpolate(self, request: pb.InterpolateRequest) -> pb.InterpolateResponse:
        start, end = source_codings(request.start), source_codings(request.end)
        weights = np.linspace(0, 1, request.steps, dtype=np.float32)[None, :, None]
        points = start[:, None] * (1 - weights) + end[:, None] * weights
        outputs = decoded(points.reshape(-1, 2)).reshape(len(start), request.steps, 1, 4, 4)
        return pb.InterpolateResponse(outputs=to_message(outputs, request.output_dtype))

    def _score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        inputs = to_numpy(request.inputs)
        scores = ((inputs - decoded(encoded(inputs))) ** 2).mean((1, 2, 3))
        if request.labels:
            scores = -scores - np.array(request.labels, np.float32)
        threshold = 0.125 if request.model == "calibrated" else None
        return pb.ScoreResponse(scores=to_message(scores), threshold=threshold)

    def _classify(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        inputs = to_numpy(request.inputs)
        probabilities = classified(inputs)
        labels = probabilities.argmax(1) + (2 if request.model == "miscounting" else 0)
        return pb.ClassifyResponse(
            labels=labels.tolist(), probabilities=to_message(probabilities), label_names=["dark", "bright"]
        )

    def _stylemix(self, request: pb.StyleMixRequest) -> pb.StyleMixResponse:
        rows, columns = source_codings(request.rows), source_codings(request.columns)
        seed = request.noise_seed if request.HasField("noise_seed") else time.time_ns()
        if request.layout == pb.STYLE_MIX_LAYOUT_GRID:
            shape: tuple[int, ...] = (len(rows), len(columns))
            rows = np.broadcast_to(rows[:, None], (*shape, 2)).reshape(-1, 2)
            columns = np.broadcast_to(columns[None], (*shape, 2)).reshape(-1, 2)
        else:
            shape = (len(rows),)
        mixed = np.where(np.isin(np.arange(2), request.layers), columns, rows)
        outputs = decoded((mixed + drawn(seed, 0)) / 2).reshape(*shape, 1, 4, 4)
        return pb.StyleMixResponse(outputs=to_message(outputs, request.output_dtype), noise_seed=seed)

    def Stream(self, request_iterator: Iterator[pb.StreamRequest], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a few at a time: results come in any order."""
        self.peers.add(context.peer())
        self.metadata.append(read_metadata(context))
        answers: queue.SimpleQueue[pb.StreamResponse | None] = queue.SimpleQueue()

        def read() -> None:
            with suppress(grpc.RpcError, Exception), futures.ThreadPoolExecutor(4) as pool:
                for request in request_iterator:
                    pool.submit(self.put_streamed, request, answers)
            answers.put(None)

        threading.Thread(target=read, daemon=True).start()
        if self.breaks:
            yield from itertools.islice(iter(answers.get, None), self.breaks.pop(0))
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")
        yield from iter(answers.get, None)

    def put_streamed(self, request: pb.StreamRequest, answers: queue.SimpleQueue[pb.StreamResponse | None]) -> None:
        answers.put(self.streamed(request))

    def streamed(self, request: pb.StreamRequest) -> pb.StreamResponse | None:
        field = str(request.WhichOneof("request"))
        operation = getattr(request, field)
        response = pb.StreamResponse(request_id=request.request_id)
        if operation.model == "hanging-up":
            return None
        if operation.model == "confused":
            response.request_id = "no such id"
        time.sleep(hash(request.request_id) % 4 / 1000)
        try:
            getattr(response, field).CopyFrom(self.compute(operation))
        except RefusalError as error:
            response.error.CopyFrom(error.status)
        return response

    def ListModels(
        self, request: model_pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_pb.ListModelsResponse:
        """Two pages of one model."""
        self.metadata.append(read_metadata(context))
        if not request.page_token:
            return model_pb.ListModelsResponse(models=[plain_model(3)], next_page_token="2")  # noqa: S106
        broken = model_pb.Model(
            name="broken", version=1, state=model_pb.MODEL_STATE_FAILED, error="encoder.onnx: wrong hash"
        )
        return model_pb.ListModelsResponse(models=[broken])

    def GetModel(self, request: model_pb.GetModelRequest, context: grpc.ServicerContext) -> model_pb.GetModelResponse:
        self.answer_failures(request, context)
        return model_pb.GetModelResponse(model=plain_model(request.version or 3))

    def LoadModel(
        self, request: model_pb.LoadModelRequest, context: grpc.ServicerContext
    ) -> model_pb.LoadModelResponse:
        self.answer_failures(request, context)
        return model_pb.LoadModelResponse(model=plain_model(request.version or 3))

    def UnloadModel(
        self, request: model_pb.UnloadModelRequest, context: grpc.ServicerContext
    ) -> model_pb.UnloadModelResponse:
        self.answer_failures(request, context)
        return model_pb.UnloadModelResponse(models=[plain_model(3)])

    def answer_failures(self, request: ModelRequest, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        if self.failures_left[request.model] > 0:
            self.failures_left[request.model] -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        if request.model == "missing":
            context.abort(grpc.StatusCode.NOT_FOUND, "no model 'missing'")


def plain_model(version: int) -> model_pb.Model:
    manifest = manifest_pb2.Manifest(
        name="plain",
        version=version,
        variant="stacked",
        preset="stacked-quick",
        capabilities=[manifest_pb2.CAPABILITY_ENCODE, manifest_pb2.CAPABILITY_STYLE_MIX],
        input_shape=[1, 4, 4],
        codings_shape=[2],
        metrics=[manifest_pb2.Metric(name="bce", value=0.28, split="validation")],
    )
    state = model_pb.MODEL_STATE_READY
    return model_pb.Model(name="plain", version=version, state=state, manifest=manifest)


@contextmanager
def serving(
    service: PlainService, credentials: grpc.ServerCredentials | None = None, *, listen: str = "127.0.0.1:0"
) -> Iterator[str]:
    """Serve on an address; yields it with the port that it got."""
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        options=[("grpc.max_receive_message_length", 64 * 1024**2), ("grpc.so_reuseport", 0)],
    )
    inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    status = health.HealthServicer()
    status.set("", health_pb2.HealthCheckResponse.SERVING)
    status.set("plain", health_pb2.HealthCheckResponse.SERVING)
    status.set("broken", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
    server.start()
    try:
        yield listen if listen.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
