"""BentoML, over HTTP. Runs in the environment of requirements-bentoml.txt."""

from base64 import b64decode
from typing import Annotated, Any

import bentoml
import numpy as np
import uvicorn
from numpy.typing import NDArray
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from starlette.responses import Response

from benchmarks.serving.peers.encoder import Encoder
from benchmarks.serving.peers.side import MAX_BATCH, Side, parse_side

MAX_LATENCY_MS = 10_000  # nothing is refused for being late


def _images(text: str | NDArray[np.float32]) -> NDArray[np.float32]:
    # Batches come back here as arrays.
    return np.frombuffer(b64decode(text), np.float32).reshape(-1, 1, 28, 28) if isinstance(text, str) else text


def _bytes(codings: NDArray[np.float32]) -> bytes:
    return codings.tobytes()


# Base64 in JSON: for a body of plain bytes BentoML derives a schema at every call, and is slower.
Images = Annotated[Any, BeforeValidator(_images)]
Codings = Annotated[Any, PlainSerializer(_bytes), WithJsonSchema({"type": "string", "format": "binary"})]


def service(side: Side) -> Any:  # noqa: ANN401
    """One worker without metrics and logs of calls; batches are merged and split along the first axis."""
    encode = Encoder(side.graph)
    batching: dict[str, Any] = {"batchable": True, "max_batch_size": MAX_BATCH, "max_latency_ms": MAX_LATENCY_MS}

    @bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
    class EncoderService:
        @bentoml.api(**(batching if side.batching else {}))  # type: ignore[untyped-decorator]
        async def encode(self, inputs: Images) -> Codings:
            codings = encode(inputs)
            return codings if side.batching else Response(codings.tobytes())

    return EncoderService


def main() -> None:
    """Serve until killed, in this process alone, as a worker of `bentoml serve` does."""
    side = parse_side()
    uvicorn.run(service(side).to_asgi(), host="127.0.0.1", port=side.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
