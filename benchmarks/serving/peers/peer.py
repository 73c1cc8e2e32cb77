"""The servers that are compared, and how each is asked."""

import http.client
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
from latentry.open_inference.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from latentry.v1.inference_service_pb2 import EncodeRequest, EncodeResponse
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor
from numpy.typing import NDArray

TIMEOUT_S = 20
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Protocol:
    """How one server is asked to encode images, and by which load generator."""

    load: str
    """Module of the load generator."""
    method: str
    """Method or path."""
    request: Callable[[Images], bytes]
    """Serialises images, [N, 1, 28, 28]."""
    codings: Callable[[bytes], bytes]
    """Finds the codings in an answer: the bytes of FLOAT32, [N, 30]."""
    call: Callable[[str, str, bytes], bytes]
    """Asks once: address, method, request."""


@dataclass(frozen=True)
class Peer:
    """Another server; its key names its side's module and its environment."""

    name: str
    protocol: Protocol


def call_grpc(address: str, method: str, request: bytes) -> bytes:
    """Make one unary call."""
    with grpc.insecure_channel(address, OPTIONS) as channel:
        call: Any = channel.unary_unary(method)
        response: bytes = call(request, timeout=TIMEOUT_S)
        return response


def call_http(address: str, path: str, body: bytes) -> bytes:
    """Post once; OSError where the answer is not 200."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise OSError(f"{response.status}: {content[:1000]!r}")
    return content


def _encode(images: Images) -> bytes:
    tensor = Tensor(dtype=DATA_TYPE_FLOAT32, shape=images.shape, data=images.tobytes())
    return EncodeRequest(model="stacked", inputs=tensor).SerializeToString()


def _infer(images: Images) -> bytes:
    tensor = ModelInferRequest.InferInputTensor(name="inputs", datatype="FP32", shape=images.shape)
    request = ModelInferRequest(model_name="stacked", inputs=[tensor], raw_input_contents=[images.tobytes()])
    return request.SerializeToString()


LATENTRY = Protocol(
    "load",
    "/latentry.v1.InferenceService/Encode",
    _encode,
    lambda response: EncodeResponse.FromString(response).codings.data,
    call_grpc,
)
OPEN_INFERENCE = Protocol(
    "load",
    "/inference.GRPCInferenceService/ModelInfer",
    _infer,
    lambda response: ModelInferResponse.FromString(response).raw_output_contents[0],
    call_grpc,
)
BYTES = Protocol("peers.http_load", "/encode", lambda images: images.tobytes(), lambda body: body, call_http)
BASE64 = replace(BYTES, request=lambda images: json.dumps({"inputs": b64encode(images.tobytes()).decode()}).encode())

PEERS = {
    "mlserver": Peer("MLServer", OPEN_INFERENCE),
    "litserve": Peer("LitServe", BYTES),
    "bentoml": Peer("BentoML", BASE64),
}
