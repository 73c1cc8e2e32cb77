"""The port that all workers of a server share."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from latentry_server.errors import StartError


def address(host: str, port: int) -> str:
    """Write host and port as gRPC reads them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def reserve_port(host: str, port: int) -> Iterator[int]:
    """Hold a port, 0 = a free one, that other processes of this user can then listen on together; yield its number.

    Nothing listens meanwhile: connections are refused until a worker is ready.

    Raises:
        StartError: another server has it, or there is no such address.
    """
    with ExitStack() as held:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, (ip, *_) in found:
                port = held.enter_context(_bound(family, str(ip), port)).getsockname()[1]
            # Another supervisor, whose workers do not listen yet, is not seen above.
            lock = held.enter_context(socket.socket(socket.AF_UNIX))
            lock.bind(f"\0latentry-server {address(host, port)}")
        except OSError as error:
            why = "is the port taken?" if error.errno == errno.EADDRINUSE else f"{error.strerror}"
            raise StartError(f"port: cannot listen on {address(host, port)}; {why}") from error
        yield port


def _bound(family: socket.AddressFamily, ip: str, port: int) -> socket.socket:
    bound = socket.socket(family)
    try:
        # With this alone, what a former server left behind (TIME_WAIT) is no hindrance, but one that listens is.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((ip, port))
        # From here on, sockets with the same option may join.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        bound.close()
        raise
    return bound
