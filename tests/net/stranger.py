"""What somebody does who is no member; run as a program on a machine of the test network.

    stranger.py HOW HOST PORT

It prints what came of it as JSON: how long the other side listened, and what it said.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from collections.abc import Callable

from blockrep.errors import BlockrepError
from blockrep.group.identity import new_identity
from blockrep.group.tls import client_context
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.greeting import Self, hello_of
from blockrep.transfer.wire import Purpose

LIMIT_S = 30.0
Place = tuple[str, int]


def rest_of(sock: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    said = b""
    try:
        while piece := sock.recv(65536):
            said += piece
    except OSError:
        pass
    return said


def garbage(place: Place) -> str:
    with socket.create_connection(place, LIMIT_S) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        return rest_of(sock).hex()


def silence(place: Place) -> str:
    with socket.create_connection(place, LIMIT_S) as sock:
        return rest_of(sock).hex()


def drip(place: Place) -> str:
    """A TLS handshake that takes for ever, a byte a second."""
    with socket.create_connection(place, LIMIT_S) as sock:
        sock.settimeout(1)
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100):
            try:
                sock.sendall(bytes([byte]))
                if not sock.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return ""


def unknown_key(place: Place) -> str:
    return _speak(place, client_context(new_identity()), Purpose.READ)


def no_key(place: Place) -> str:
    return _speak(place, client_context(None), Purpose.REPLICATE)


def _speak(place: Place, context: ssl.SSLContext, purpose: Purpose) -> str:
    """Say HELLO, and tell what the answer is."""
    try:
        sock = context.wrap_socket(socket.create_connection(place, LIMIT_S))
        with Channel(sock, serving=False, name="there") as channel:
            me = Self(bytes(16), bytes(16), new_identity().key)
            channel.post(Kind.HELLO, hello_of(me, purpose))
            return channel.receive(LIMIT_S).kind.name
    except BlockrepError as error:
        return f"{type(error).__name__}: {error.message}"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def crowd(place: Place) -> str:
    """As many connections as there can be, kept for some seconds; how many were let in."""
    socks = []
    for _ in range(100):
        socks.append(socket.create_connection(place, LIMIT_S))
        time.sleep(0.05)
    open_ones = 0
    for sock in socks:
        sock.setblocking(False)
        try:
            sock.recv(1)
        except BlockingIOError:
            open_ones += 1
        except OSError:
            pass
    print("crowded", flush=True)
    time.sleep(3)
    for sock in socks:
        sock.close()
    return str(open_ones)


WAYS: dict[str, Callable[[Place], str]] = {
    "garbage": garbage,
    "silence": silence,
    "drip": drip,
    "unknown-key": unknown_key,
    "no-key": no_key,
    "crowd": crowd,
}


def main() -> None:
    how, host, port = sys.argv[1:]
    began = time.monotonic()
    said = WAYS[how]((host, int(port)))
    print(json.dumps({"said": said, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()
