"""LitServe, over HTTP. Runs in the environment of requirements-litserve.txt."""

from pathlib import Path
from typing import Annotated

import litserve
import numpy as np
from fastapi import Body, Response
from numpy.typing import NDArray

from benchmarks.serving.peers.encoder import Encoder
from benchmarks.serving.peers.side import MAX_BATCH, MAX_WAIT_S, parse_side


class EncoderAPI(litserve.LitAPI):  # type: ignore[misc] # publishes no types
    """Takes the bytes of an array, and answers with those of another."""

    def __init__(self, graph: Path, *, batching: bool) -> None:
        super().__init__(
            api_path="/encode", **({"max_batch_size": MAX_BATCH, "batch_timeout": MAX_WAIT_S} if batching else {})
        )
        self._graph = graph

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Open the graph, in the process that runs it."""
        self._encode = Encoder(self._graph)

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/octet-stream")]
    ) -> NDArray[np.float32]:
        """[N, 1, 28, 28]; LitServe stacks those that it merges."""
        return np.frombuffer(request, np.float32).reshape(-1, 1, 28, 28)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """[..., N, 1, 28, 28] to [..., N, 30]."""
        return self._encode(x.reshape(-1, 1, 28, 28)).reshape(*x.shape[:-3], -1)

    def encode_response(self, output: NDArray[np.float32]) -> Response:
        """The codings' bytes."""
        return Response(output.tobytes(), media_type="application/octet-stream")


def main() -> None:
    """Serve until killed: one worker, one process for HTTP, ZeroMQ between them, as for many small requests."""
    side = parse_side()
    server = litserve.LitServer(
        EncoderAPI(side.graph, batching=side.batching), accelerator="cpu", devices=1, fast_queue=True
    )
    server.run(
        "127.0.0.1", side.port, num_api_servers=1, log_level="warning", generate_client_file=False, access_log=False
    )


if __name__ == "__main__":
    main()
