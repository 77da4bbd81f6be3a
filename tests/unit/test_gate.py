"""A stranger at the gate has a place for a while, and keeps it by a good code alone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from blockrep.agent import gate
from blockrep.errors import BlockrepError, PeerBusy, PeerUnreachable
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.greeting import Greeting
from blockrep.transfer.messages import Hello
from blockrep.transfer.wire import Purpose

LIMIT_S = 0.5


class Seat:
    """One that knows whoever has said `good`."""

    def __init__(self) -> None:
        self.good = False

    def has_shown_code(self, key: bytes) -> bool:
        return self.good

    def answer_joiner(self, call: bytes, greeting: object) -> bytes:
        self.good |= call == b"good"
        return b"{}"


class Served:
    """A joiner's connection that is served by a thread."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        self.client = Channel(here, serving=False, alive_s=0.1)
        self.error: BlockrepError | None = None
        self.seat: Any = Seat()
        self._channel = Channel(there, serving=True)
        for channel in (self.client, self._channel):
            channel.talk.greeted(Purpose.JOIN)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        hello = Hello(1, 1, Purpose.JOIN.value, bytes(16), bytes(16), bytes(32), bytes(32))
        greeting = Greeting(1, Purpose.JOIN, hello, bytes(32), bytes(32))
        try:
            gate._answer_joiner(self._channel, self.seat, greeting)
        except BlockrepError as error:
            self.error = error

    def call(self, body: bytes) -> None:
        self.client.post(Kind.CALL, body)
        self.client.receive(10)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(gate, "STRANGER_S", LIMIT_S)
    made = Served()
    yield made
    made.client.close()
    made.thread.join(10)


def stay(served: Served, seconds: float) -> None:
    """Say ALIVE for so long, or until the other side has closed."""
    until = time.monotonic() + seconds
    while served.thread.is_alive() and time.monotonic() < until:
        try:
            served.client.step(0.05)
        except PeerUnreachable:
            return


def test_who_says_nothing_has_to_go(served: Served) -> None:
    stay(served, 10)
    assert isinstance(served.error, PeerUnreachable)


def test_who_talks_on_without_a_code_has_to_go(served: Served) -> None:
    with pytest.raises(PeerUnreachable):
        while True:
            served.call(b"bad")
    served.thread.join(10)
    # The limit may come between two calls, or while the next one is waited for.
    assert isinstance(served.error, PeerBusy | PeerUnreachable)


def test_who_has_shown_a_code_may_wait(served: Served) -> None:
    served.call(b"good")
    stay(served, 3 * LIMIT_S)
    assert served.error is None
    served.call(b"wait")
