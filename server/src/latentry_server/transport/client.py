"""Whose call it is: what the queue's turns and shares go by."""

from typing import Any

import grpc.aio


def client_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Name a call's client: by its certificate where it has shown one, else by its connection."""
    identities = context.peer_identities()
    return ",".join(name.decode(errors="replace") for name in identities) if identities else context.peer()
