"""A bare grpc.aio server that answers every message with itself: the framework's limit."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
import uvloop


async def echo(request: bytes, _context: Any) -> bytes:  # noqa: ANN401
    """Answer a unary call."""
    return request


async def echo_stream(requests: AsyncIterator[bytes], context: Any) -> None:  # noqa: ANN401
    """Answer each message of a stream."""
    async for request in requests:
        await context.write(request)


def make_server(options: Sequence[tuple[str, int]]) -> tuple[grpc.aio.Server, str]:
    """Make a server with options of gRPC's, on a free port; return its address, too."""
    server = grpc.aio.server(options=options)
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo),
        "Stream": grpc.stream_stream_rpc_method_handler(echo_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
    return server, f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"


async def serve() -> None:
    """Serve on a free port, which is printed, until killed."""
    options = (
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
    )
    server, address = make_server(options)
    await server.start()
    print(f"listening on {address}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
