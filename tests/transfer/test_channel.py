"""One connection, both ways at once, over real TLS and over plain sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from blockrep.errors import NoSuchEpoch, PeerUnreachable, ProtocolError
from blockrep.group.identity import identity_from_seed
from blockrep.group.tls import client_context, server_context
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import CAPS, HEADER, Kind
from blockrep.transfer.wire import Purpose

SERVER, CLIENT = identity_from_seed(b"\1" * 32), identity_from_seed(b"\2" * 32)


@contextmanager
def pair(*, tls: bool, **options: float) -> Iterator[tuple[Channel, Channel]]:
    """Client and server, greeted for calls, whose bodies may be anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    if tls:
        wrapped = []
        context = server_context(SERVER, [CLIENT.certificate])
        thread = threading.Thread(
            target=lambda: wrapped.append(context.wrap_socket(right, server_side=True))
        )
        thread.start()
        left = client_context(CLIENT, SERVER.certificate).wrap_socket(left)
        thread.join()
        right = wrapped[0]
    with (
        Channel(left, serving=False, name="server", **options) as client,
        Channel(right, serving=True, name="client", **options) as server,
    ):
        client.talk.greeted(Purpose.GROUP)
        server.talk.greeted(Purpose.GROUP)
        yield client, server


TLS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def body(number: int) -> bytes:
    return bytes([number % 251]) * (CAPS[Kind.CALL] - number)


@TLS
def test_much_in_both_directions_at_once(tls: bool) -> None:
    """Neither side waits for the other: each has more to send than the kernel takes."""
    with pair(tls=tls) as (client, server):

        def answer() -> None:
            for number in range(40):
                frame = server.receive(20)
                assert frame.body == body(number)
                server.give_back(frame)
                server.post(Kind.REPLY, body(number)[:100], memoryview(body(number))[100:])
            server.flush(20)

        thread = threading.Thread(target=answer)
        thread.start()
        asked = answered = 0
        while answered < 40:
            while asked < 40 and client.talk.has_room and client.queued_bytes < 4 << 20:
                client.post(Kind.CALL, body(asked))
                asked += 1
            client.step(1)
            while (frame := client.take()) is not None:
                assert frame.body == body(answered)
                client.give_back(frame)
                answered += 1
        thread.join()
        assert client.sent_bytes == sum(len(body(n)) + 8 for n in range(40))
        assert client.received_bytes == client.sent_bytes


@TLS
def test_small_frames_and_other_threads(tls: bool) -> None:
    with pair(tls=tls) as (client, server):
        frames = iter(range(30))
        lock = threading.Lock()

        def ask() -> None:
            while True:
                with lock:
                    number = next(frames, None)
                    if number is None:
                        return
                    client.post(Kind.CALL, b"%d" % number)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(30):
            client.step(0.05)
            assert bytes(server.receive(5).body) == b"%d" % number


@TLS
def test_an_error_is_heard_although_we_were_speaking(tls: bool) -> None:
    """The server refuses in the middle of a flood: the client learns why, not just that."""
    with pair(tls=tls) as (client, server):
        for number in range(12):
            client.post(Kind.CALL, body(number))
        refusing = threading.Thread(target=lambda: server.end(NoSuchEpoch("no such thing")))
        refusing.start()
        with pytest.raises(NoSuchEpoch, match="server: no such thing"):
            client.receive(10)
        client.close()
        refusing.join(10)
        assert not refusing.is_alive()


@TLS
def test_good_bye_and_just_gone(tls: bool) -> None:
    for said in (True, False):
        with pair(tls=tls) as (client, server):
            ending = threading.Thread(target=server.end if said else server.close)
            ending.start()
            with pytest.raises(PeerUnreachable, match="good-bye" if said else "closed|reset"):
                client.receive(10)
            client.close()
            ending.join(10)
            with pytest.raises(PeerUnreachable):
                client.post(Kind.CALL, b"")


@TLS
def test_alive_is_said_in_silence_and_keeps_the_connection(tls: bool) -> None:
    with pair(tls=tls, alive_s=0.1, silence_s=0.6) as (client, server):
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                server.step(0.05)

        thread = threading.Thread(target=listen)
        thread.start()
        with pytest.raises(PeerUnreachable, match="no answer within 2 s"):
            client.receive(1.5)
        over.set()
        thread.join()


def test_silence_is_the_end_but_not_our_own() -> None:
    with pair(tls=True, alive_s=0.1, silence_s=0.4) as (client, _):
        began = time.monotonic()
        while time.monotonic() - began < 0.8:
            client.step(0.1, reading=False)
        with pytest.raises(PeerUnreachable, match="nothing was heard"):
            client.receive(5)


def test_a_thread_that_waits_for_room_is_let_go() -> None:
    with pair(tls=True) as (client, server):
        for _ in range(8):
            client.post(Kind.CALL, bytes(CAPS[Kind.CALL]))
        failures: list[Exception] = []

        def wait() -> None:
            try:
                client.wait_for_room(1 << 20)
            except PeerUnreachable as error:
                failures.append(error)

        waiting = [threading.Thread(target=wait) for _ in range(2)]
        for thread in waiting:
            thread.start()
        client.release_waiting()
        for thread in waiting:
            thread.join(5)
        assert len(failures) == 2
        assert server.talk.under_way == 0


def test_what_we_must_not_say_is_not_sent() -> None:
    with pair(tls=False) as (client, _):
        with pytest.raises(ProtocolError):
            client.post(Kind.REPLY, b"")
        with pytest.raises(ValueError, match="CALL"):
            client.post(Kind.CALL, bytes(CAPS[Kind.CALL] + 1))
        assert client.queued_bytes == 0


def test_a_header_that_lies_ends_it_before_its_body() -> None:
    with pair(tls=False) as (client, server):
        client._outbox.append(memoryview(HEADER.pack((1 << 32) - 1, Kind.CALL, 0)))
        client.step(1)
        with pytest.raises(ProtocolError, match="at most"):
            server.receive(5)
