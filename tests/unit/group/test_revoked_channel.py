"""What a machine that was removed is told when it connects: real TLS, the channel of the wire."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
from group_builders import identity

from blockrep.errors import PeerRefused
from blockrep.group.tls import client_context, server_context
from blockrep.transfer.channel import Channel
from blockrep.transfer.greeting import Self, greet
from blockrep.transfer.wire import Purpose

HOLDER, REMOVED = identity(0), identity(1)


@pytest.mark.parametrize("attempt", range(5))
def test_it_is_told_that_it_is_no_member(attempt: int) -> None:
    context = server_context(HOLDER, [HOLDER.certificate])
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_refuse, args=(server, context))
        thread.start()
        try:
            raw = socket.create_connection(server.getsockname(), 10)
            secure = client_context(REMOVED, HOLDER.certificate).wrap_socket(raw)
            with (
                Channel(secure, serving=False, name="m0") as channel,
                pytest.raises(PeerRefused, match="m0 does not know this machine as a member"),
            ):
                me = Self(bytes(16), bytes(16), REMOVED.key)
                greet(channel, me, Purpose.REPLICATE, HOLDER.key)
        finally:
            thread.join(10)


def _refuse(server: socket.socket, context: ssl.SSLContext) -> None:
    raw, _ = server.accept()
    with raw, contextlib.suppress(ssl.SSLError), context.wrap_socket(raw, server_side=True):
        pass
