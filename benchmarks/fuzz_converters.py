"""Feeds the converters bytes that atheris finds by watching which lines they reach.

    pip install atheris
    python -m benchmarks.fuzz_converters -runs=1000000

Nothing but InvalidInputError and ModelNotFoundError may come out. Flags are libFuzzer's. It starts from good requests.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports():
    from google.protobuf.message import DecodeError
    from latentry.open_inference import grpc_service_pb2
    from latentry.v1 import inference_service_pb2, tensor_pb2
    from latentry_server.errors import InvalidInputError, ModelNotFoundError
    from latentry_server.transport import converters, model_service
    from latentry_server.transport.open_inference import names, tensors

import numpy as np
from latentry_server.spec import GraphRole, GraphSpec, TensorSpec

GRAPH = GraphSpec(
    role=GraphRole.DECODER,
    path=Path("decoder.onnx"),
    sha256="",
    inputs=(
        TensorSpec(name="codings", dtype=np.dtype(np.float32), shape=(-1, 3)),
        TensorSpec(name="labels", dtype=np.dtype(np.int64), shape=(-1,)),
    ),
    outputs=(TensorSpec(name="outputs", dtype=np.dtype(np.float32), shape=(-1, 1, 4, 4)),),
)


def to_array(content: bytes) -> None:
    """Read a tensor."""
    array = converters.to_array(tensor_pb2.Tensor.FromString(content), "inputs")
    assert array.nbytes <= len(content)


def to_source(content: bytes) -> None:
    """Read a source of rows."""
    converters.to_source(inference_service_pb2.Source.FromString(content), "start")


def read_infer_request(content: bytes) -> None:
    """Read a request of the Open Inference Protocol."""
    request = grpc_service_pb2.ModelInferRequest.FromString(content)
    names.split_name(request.model_name)
    names.read_version(request.model_version, "model_version")
    tensors.read_timeout_s(request)
    tensors.read_outputs(request)
    tensors.read_inputs(request, GRAPH)


def take_page(content: bytes) -> None:
    """Read a page's token."""
    model_service.take_page([], 1, content.decode(errors="replace"))


TARGETS: tuple[Callable[[bytes], None], ...] = (to_array, to_source, read_infer_request, take_page)


def good_requests() -> Iterator[bytes]:
    """Give what each target reads without an error."""
    codings = np.ones((2, 3), np.float32)
    tensor = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=codings.shape, data=codings.tobytes())
    infer = grpc_service_pb2.ModelInferRequest(model_name="cgan.decoder", model_version="1", id="7")
    infer.inputs.add(name="codings", datatype="FP32", shape=codings.shape)
    infer.inputs.add(name="labels", datatype="INT64", shape=(2, 1))
    infer.outputs.add(name="outputs")
    infer.parameters["timeout"].int64_param = 1000
    typed = grpc_service_pb2.ModelInferRequest.FromString(infer.SerializeToString())
    infer.raw_input_contents.extend([codings.tobytes(), np.zeros(2, np.int64).tobytes()])
    typed.inputs[0].contents.fp32_contents.extend(codings.ravel())
    typed.inputs[1].contents.int64_contents.extend([0, 1])
    seeds = inference_service_pb2.Source(seeds=inference_service_pb2.Seeds(values=[1, 2]))
    for target, messages in (
        (to_array, [tensor]),
        (to_source, [inference_service_pb2.Source(codings=tensor), seeds]),
        (read_infer_request, [infer, typed]),
    ):
        for message in messages:
            yield bytes([TARGETS.index(target)]) + message.SerializeToString()


def try_one(content: bytes) -> None:
    """Give a target, which the first byte picks, the other bytes."""
    if content:
        with contextlib.suppress(DecodeError, InvalidInputError, ModelNotFoundError):
            TARGETS[content[0] % len(TARGETS)](content[1:])


if __name__ == "__main__":
    with TemporaryDirectory() as corpus:
        for number, request in enumerate(good_requests()):
            TARGETS[request[0]](request[1:])
            (Path(corpus) / str(number)).write_bytes(request)
        atheris.Setup([*sys.argv, corpus], try_one)
        atheris.Fuzz()
