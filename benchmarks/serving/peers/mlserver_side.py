"""MLServer with a small runtime of its own, over gRPC. Runs in the environment of requirements-mlserver.txt."""

import asyncio

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from mlserver.utils import install_uvloop_event_loop

from benchmarks.serving.peers.encoder import Encoder
from benchmarks.serving.peers.process import free_port
from benchmarks.serving.peers.side import MAX_BATCH, MAX_WAIT_S, Side, parse_side


class Runtime(MLModel):  # type: ignore[misc] # publishes no types
    """Converts no more than MLServer asks for: its codec for arrays would look at every element again."""

    async def load(self) -> bool:
        """Open the graph."""
        self._encode = Encoder(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run it."""
        [images] = payload.inputs
        codings = self._encode(np.array(images.data.root, np.float32).reshape(images.shape))
        output = ResponseOutput.model_construct(
            name="codings", shape=list(codings.shape), datatype="FP32", data=codings.ravel().tolist(), parameters=None
        )
        return InferenceResponse.model_construct(model_name=self.name, outputs=[output])


async def serve(side: Side) -> None:
    """Serve until killed, in this process alone, without metrics and logs of calls."""
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=free_port(),
        grpc_port=side.port,
        metrics_endpoint=None,
        parallel_workers=0,
    )
    batching = {"max_batch_size": MAX_BATCH, "max_batch_time": MAX_WAIT_S} if side.batching else {}
    model = ModelSettings(
        name="stacked", implementation=Runtime, parameters=ModelParameters(uri=str(side.graph)), **batching
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(serve(parse_side()))
