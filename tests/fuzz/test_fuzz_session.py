"""A member that says sensible messages in no sensible order, and nonsense in a sensible one."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replicas import START, FakeClock, MemoryDisk, Owner, new_disk
from wire_messages import MESSAGES, body_of

from blockrep.chunks import chunk_digest
from blockrep.errors import BlockrepError, InternalError
from blockrep.segment.geometry import MIB
from blockrep.segment.store import Store
from blockrep.transfer.bulk import Chunks, Encoded, Read, ReadChunk, SentChunk
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import HEADER, Kind
from blockrep.transfer.greeting import Greeting
from blockrep.transfer.hold import HolderSession
from blockrep.transfer.messages import Begin, Hello, MapGet, Open, Pin, Select
from blockrep.transfer.stores import Holder, Peer, Writers
from blockrep.transfer.wire import Purpose

CONTENT = 2 * MIB
OWNER = Owner()
DISK = bytes(new_disk(8 * MIB, 2 * MIB))
ID = OWNER.next_id()
BLOCK = bytes([5]) * 4096


class OneSegment:
    def __init__(self, store: Store) -> None:
        self.store = store

    def find(self, owner_key: bytes, device_id: bytes) -> Store | None:
        held = self.store.info
        known = (held.owner_key, held.device_id) == (owner_key, device_id)
        return self.store if known else None

    def assign(self, request: Any) -> Store:
        self.store.assign(replace(OWNER.assignment(CONTENT), device_id=request.device_id))
        return self.store


# What gets somewhere, so that a random order of it does, too.
SELECT = (Kind.SELECT, Select(OWNER.public, OWNER.device).build())
SENSIBLE: list[tuple[Kind, bytes]] = [
    (Kind.OPEN, Open(OWNER.device, OWNER.writer, CONTENT, True, False, "anna", b"x").build()),
    (Kind.BEGIN, Begin(ID, 1, bytes(16), False, b"").build()),
    (
        Kind.CHUNKS,
        b"".join(
            Chunks(
                1, (SentChunk(3, 1, 1, chunk_digest(1, BLOCK)),), Encoded(0, 4096, BLOCK)
            ).build()
        ),
    ),
    (Kind.COMMIT, OWNER.record({48: BLOCK}, CONTENT)),
    (Kind.MAP_GET, MapGet(None, 0, 1).build()),
    (Kind.ABORT, b""),
    SELECT,
    (Kind.READ, Read(OWNER.next_id(), (ReadChunk(3, 1),)).build()),
    (Kind.PIN, Pin(OWNER.next_id(), 5).build()),
    (Kind.ESCROW_GET, b""),
    (Kind.ALIVE, b""),
]
ANY = st.sampled_from(list(MESSAGES)).flatmap(
    lambda kind: MESSAGES[kind][1].map(lambda message: (kind, body_of(message)))
)
NOISE = st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=200))


@pytest.mark.parametrize("in_order", [False, True], ids=["out of order", "in order"])
@pytest.mark.parametrize("purpose", [Purpose.REPLICATE, Purpose.READ], ids=["write", "read"])
@settings(max_examples=60)
@given(
    said=st.lists(
        st.one_of(st.sampled_from(SENSIBLE), st.sampled_from(SENSIBLE), ANY, NOISE), max_size=12
    )
)
def test_whatever_is_said(purpose: Purpose, said: list[tuple[Kind, bytes]], in_order: bool) -> None:
    if in_order:
        begin = SENSIBLE[:3] if purpose is Purpose.REPLICATE else [SELECT]
        said = [*begin, *said]
    disk, clock = MemoryDisk(DISK), FakeClock()
    store = Store.open(disk, START, clock)
    if purpose is Purpose.READ:
        serve(store, Purpose.REPLICATE, SENSIBLE[:4], clock)
    error = serve(store, purpose, said, clock)
    assert not isinstance(error, InternalError), error
    # Whatever it was, the segment can be opened, and its next user can use it.
    again = Store.open(disk, START, clock)
    assert again.info.damage is None
    if again.info.owner_key:
        again.release()
    again.assign(OWNER.assignment(CONTENT))


def serve(
    store: Store, purpose: Purpose, said: list[tuple[Kind, bytes]], clock: FakeClock
) -> Exception | None:
    ours, theirs = socket.socketpair()
    hello = Hello(1, 1, purpose.value, OWNER.group, OWNER.writer, bytes(32), OWNER.public)
    greeting = Greeting(1, purpose, hello, b"n" * 32, b"m" * 32)
    peer = Peer(OWNER.public, "anna", True, frozenset({OWNER.public}))
    holder = Holder(OWNER.public, OWNER.key.sign, lambda key: True, clock)
    talking = threading.Thread(target=talk, args=(theirs, said))
    talking.start()
    try:
        with Channel(ours, serving=True, silence_s=5) as channel:
            channel.talk.greeted(purpose)
            HolderSession(channel, greeting, peer, OneSegment(store), Writers(), holder).run()
    except BlockrepError as error:
        return error
    finally:
        talking.join()
        theirs.close()
    return None


def talk(sock: socket.socket, said: list[tuple[Kind, bytes]]) -> None:
    """Say one after the other, each when the one before was answered; to the end, or an ERROR."""
    with contextlib.suppress(OSError), sock.makefile("rb") as answers:
        for kind, body in said:
            sock.sendall(HEADER.pack(len(body), kind, 0) + body)
            if kind is not Kind.ALIVE and not is_answered(answers):
                break
        sock.shutdown(socket.SHUT_WR)
        answers.read()


def is_answered(answers: BinaryIO) -> bool:
    """Whether there is an answer, and it is no ERROR."""
    header = answers.read(HEADER.size)
    if len(header) < HEADER.size:
        return False
    length, kind, _ = HEADER.unpack(header)
    answers.read(length)
    return kind not in (Kind.ERROR, Kind.BYE)
