"""A real server in this process, and what tests need to call it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import onnxruntime
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub
from latentry.v1.model_service_pb2_grpc import ModelServiceStub
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_INT64, DATA_TYPE_UINT8, Tensor
from latentry_server.app import Server
from latentry_server.settings import Settings
from numpy.typing import NDArray

DTYPES = {DATA_TYPE_FLOAT32: np.float32, DATA_TYPE_UINT8: np.uint8, DATA_TYPE_INT64: np.int64}


@dataclass
class Served:
    """A running server, a channel to it and its stubs."""

    server: Server
    repository: Path
    channel: grpc.aio.Channel
    inference: Any
    models: Any

    def run_onnx(self, model: str, role: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the bundle's ONNX file directly."""
        session = onnxruntime.InferenceSession(self.repository / model / "1" / f"{role}.onnx")
        return list(session.run(None, inputs))


@asynccontextmanager
async def serve(repository: Path, **settings: Any) -> AsyncIterator[Served]:
    """Serve a repository on a free port of this machine, and stop at the end."""
    values: dict[str, Any] = {
        "port": 0,
        "metrics_port": 0,
        "device": "cpu",
        "threads": 1,
        "poll_interval_s": 0,
        "load_timeout_s": 0,
        "drain_refuse_s": 0,
    }
    server = Server(Settings(repository=str(repository), **(values | settings)))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Served(server, repository, channel, InferenceServiceStub(channel), ModelServiceStub(channel))
    finally:
        await server.stop()


def tensor(array: NDArray[Any]) -> Tensor:
    """Write a tensor by the API's description, without the server's converter."""
    data_type = next(data_type for data_type, dtype in DTYPES.items() if dtype == array.dtype)
    return Tensor(dtype=data_type, shape=array.shape, data=array.tobytes())


def array(message: Tensor) -> NDArray[Any]:
    """Read a tensor by the API's description."""
    return np.frombuffer(message.data, DTYPES[message.dtype]).reshape(tuple(message.shape))


def rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Read the google.rpc.Status of a failed call."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    return status


def details(status: status_pb2.Status) -> dict[str, Any]:
    """Unpack a status's details, by the names of their types."""
    found = {}
    for packed in status.details:
        detail = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        packed.Unpack(detail)
        found[type(detail).__name__] = detail
    return found
