"""Python SDK and command line of latentry.

`Client` and `AsyncClient` call a server; `requests` holds each operation's arguments, `results` what they return,
`exceptions` what can go wrong, `tensors` how arrays and images are read, `hashing` how near two codes are.
"""

from latentry_client import exceptions, hashing, requests, results
from latentry_client.async_client import AsyncClient
from latentry_client.channel import Tls
from latentry_client.client import Client
from latentry_client.exceptions import LatentryError
from latentry_client.sources import FromCodings, FromSeeds, FromStyles

__all__ = [
    "AsyncClient",
    "Client",
    "FromCodings",
    "FromSeeds",
    "FromStyles",
    "LatentryError",
    "Tls",
    "exceptions",
    "hashing",
    "requests",
    "results",
]
