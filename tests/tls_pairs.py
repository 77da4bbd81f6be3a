"""Real TLS connections over loopback TCP, both ends in this process."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT_S = 10


class Served:
    """What the accepting side saw of one connection."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.connection: ssl.SSLSocket | None = None


@contextmanager
def listening(context: ssl.SSLContext) -> Iterator[tuple[tuple[str, int], Served]]:
    """Accept one connection, answer its first byte with the same, keep it until the end."""
    served = Served()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT_S)
        thread = threading.Thread(target=_serve, args=(server, context, served))
        thread.start()
        try:
            yield server.getsockname(), served
        finally:
            thread.join(TIMEOUT_S)
            if served.connection is not None:
                served.connection.close()
    assert not thread.is_alive()


def _serve(server: socket.socket, context: ssl.SSLContext, served: Served) -> None:
    try:
        raw, _ = server.accept()
        raw.settimeout(TIMEOUT_S)
        try:
            served.connection = context.wrap_socket(raw, server_side=True)
        except BaseException:
            raw.close()
            raise
        served.connection.sendall(served.connection.recv(1))
    except (OSError, ssl.SSLError) as error:
        served.error = error


@contextmanager
def connected(address: tuple[str, int], context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(address, TIMEOUT_S) as raw,
        context.wrap_socket(raw) as connection,
    ):
        yield connection


def echo(connection: ssl.SSLSocket) -> bytes:
    """A byte there and back: in TLS 1.3 a client learns only now that it was refused."""
    connection.sendall(b"x")
    return connection.recv(1)
