"""What keeps one caller from harming the others: shares of the queue."""

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub

from tests.server.bundles import Autoencoder, images
from tests.server.serving import array, details, rich_status, serve, tensor

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def encode(seed: int = 0) -> messages.EncodeRequest:
    return messages.EncodeRequest(model="stacked", inputs=tensor(images(1, seed=seed)))


async def test_one_connection_cannot_fill_the_queue(repository: Path) -> None:
    """Of sixteen rows that may wait, a flood gets eight; the rest of it is told when to come back."""
    limits = {"max_batch_rows": 16, "max_queue_rows": 16, "max_request_rows": 16, "max_delay_ms": 1_000}
    async with serve(repository, **limits) as served:
        flood = [asyncio.ensure_future(served.inference.Encode(encode(seed))) for seed in range(12)]
        await asyncio.wait(flood, return_when=asyncio.FIRST_EXCEPTION)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.server.port}", options=OWN_CONNECTION) as channel:
            response = await InferenceServiceStub(channel).Encode(encode(99))
        np.testing.assert_allclose(array(response.codings), Autoencoder().encode(images(1, seed=99)), atol=1e-5)
        errors = [
            end for end in await asyncio.gather(*flood, return_exceptions=True) if isinstance(end, grpc.aio.AioRpcError)
        ]
    assert len(errors) == 4
    for error in errors:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        found = details(rich_status(error))
        assert found["ErrorInfo"].reason == "QUEUE_FULL"
        assert found["RetryInfo"].retry_delay.ToNanoseconds() > 0
