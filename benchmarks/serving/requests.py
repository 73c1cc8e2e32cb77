"""The requests that are sent, serialised once."""

from pathlib import Path
from typing import Any

import numpy as np
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_UINT8, Tensor
from numpy.typing import NDArray

SERVICE = "/latentry.v1.InferenceService"
STREAM_REQUESTS = 64
ROWS = (1, 4, 16, 64, 256)


def write_requests(folder: Path) -> None:
    """Write one file a request: `encode-<rows>`, float32; `encode-uint8-<rows>`; `conv`, `dcgan`; `stream-<id>`."""
    rng = np.random.default_rng(0)

    def images(rows: int) -> NDArray[np.float32]:
        return rng.random((rows, 1, 28, 28), np.float32)

    lone = messages.EncodeRequest(model="stacked", inputs=_tensor(images(1)))
    requests: dict[str, Any] = {
        f"stream-{number}": messages.StreamRequest(request_id=str(number), encode=lone)
        for number in range(STREAM_REQUESTS)
    }
    for rows in ROWS:
        floats, levels = images(rows), rng.integers(0, 256, (rows, 1, 28, 28), np.uint8)
        requests[f"encode-{rows}"] = messages.EncodeRequest(model="stacked", inputs=_tensor(floats))
        requests[f"encode-uint8-{rows}"] = messages.EncodeRequest(model="stacked", inputs=_tensor(levels))
    requests["conv"] = messages.EncodeRequest(model="conv", inputs=_tensor(images(64)))
    codings = rng.standard_normal((64, 100)).astype(np.float32)
    requests["dcgan"] = messages.DecodeRequest(model="dcgan", codings=_tensor(codings))
    for name, request in requests.items():
        (folder / name).write_bytes(request.SerializeToString())


def _tensor(array: NDArray[np.float32] | NDArray[np.uint8]) -> Tensor:
    dtype = DATA_TYPE_UINT8 if array.dtype == np.uint8 else DATA_TYPE_FLOAT32
    return Tensor(dtype=dtype, shape=array.shape, data=array.tobytes())
