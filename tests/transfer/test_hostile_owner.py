"""A member that lies to a holder: each lie ends its connection, and nothing else."""

from __future__ import annotations

import hashlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from replicas import BLOCK
from sides import GROUP, HolderSide, OwnerSide, change_blocks, random_disk, two_sides

from blockrep.chunks import chunk_digest, short_digests
from blockrep.errors import BlockrepError
from blockrep.group.identity import identity_from_seed
from blockrep.group.tls import client_context
from blockrep.segment.epoch import Epoch, build_epoch, parse_epoch
from blockrep.segment.geometry import MIB
from blockrep.transfer.bulk import (
    Applied,
    Chunks,
    Compare,
    ComparedChunk,
    Encoded,
    Read,
    ReadChunk,
    SentChunk,
    Want,
)
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import CAPS, HEADER, Kind
from blockrep.transfer.greeting import HIGHEST_VERSION
from blockrep.transfer.messages import Begin, Hello, MapGet, Open, Pin, Select, State
from blockrep.transfer.receipt import Receipt, make_receipt
from blockrep.transfer.takeover import make_takeover

SIZE = 2 * MIB
CHUNKS = SIZE // 65536
EPOCH_ID = b"e" * 16


class Raw:
    """A member that says whatever it likes."""

    def __init__(self, owner: OwnerSide, holder: HolderSide) -> None:
        self.owner = owner
        self.holder = holder
        self.channel = owner.dial(holder)
        self.channel.talk.sent = lambda kind: None  # type: ignore[method-assign]
        self.channel.talk.received = lambda kind: None  # type: ignore[method-assign]
        self.channel._reader._admit = lambda kind: None

    def say(self, kind: Kind, *parts: bytes | memoryview) -> None:
        self.channel.post(kind, *parts)

    def ask(self, kind: Kind, *parts: bytes | memoryview) -> bytes:
        self.say(kind, *parts)
        return bytes(self.channel.receive(10).body)

    def hello(self, purpose: int = 1, **changes: Any) -> Hello:
        me = self.owner.me
        hello = Hello(1, 1, purpose, me.group_id, me.instance_id, b"n" * 32, me.key)
        return Hello.parse(self.ask(Kind.HELLO, replace(hello, **changes).build()))

    def open(self, **changes: Any) -> State:
        self.hello()
        asked = Open(self.owner.device_id, self.owner.instance, SIZE, True, False, "anna", b"")
        return State.parse(self.ask(Kind.OPEN, replace(asked, **changes).build()))

    def begin(self, **changes: Any) -> State:
        state = self.open()
        base = parse_epoch(state.record or b"")
        begin = Begin(EPOCH_ID, base.number + 1, base.id, False, b"")
        self.ask(Kind.BEGIN, replace(begin, **changes).build())
        return state

    def refusal(self) -> int:
        """The code of the ERROR that ends it."""
        while True:
            self.channel.step(1)
            while self.channel._inbox:
                frame = self.channel._inbox.popleft()
                if frame.kind is Kind.ERROR:
                    return int.from_bytes(frame.body[:4], "little")


@contextmanager
def attack(tmp_path: Path) -> Iterator[tuple[Raw, OwnerSide, HolderSide]]:
    """A holder with one good epoch; afterwards it must be as it was, and useful."""
    with two_sides(tmp_path, random_disk(1, SIZE), segment_mib=12, ring_mib=2) as (
        owner,
        (holder,),
    ):
        assert owner.back_up(holder)[0].error is None
        before = owner.expected()
        raw = Raw(owner, holder)
        with raw.channel:
            yield raw, owner, holder
        holder.wait()
        assert owner.replica(holder) == before
        holder.reopen()
        assert owner.replica(holder) == before
        change_blocks(owner.path, [1], 1)
        assert owner.back_up(holder)[0].error is None
        assert owner.replica(holder) == owner.expected()


def chunks(*items: SentChunk, blocks: bytes = b"", codec: int = 0, raw: int | None = None) -> bytes:
    encoded = Encoded(codec, len(blocks) if raw is None else raw, blocks)
    return b"".join(Chunks(1, items, encoded).build())


def one_block(chunk: int, mask: int = 1) -> bytes:
    block = bytes([7]) * BLOCK * mask.bit_count()
    return chunks(SentChunk(chunk, mask, mask, chunk_digest(mask, block)), blocks=block)


FORGED = b"".join([b"BLKREPOC", bytes(1016)])

OUT_OF_ORDER: dict[str, Callable[[Raw], None]] = {
    "nothing but noise": lambda raw: raw.say(Kind.ERROR, b"\1\0\0\0") or raw.say(Kind.OPEN),
    "open before hello": lambda raw: raw.say(Kind.OPEN, bytes(2160)),
    "bulk before hello": lambda raw: raw.say(Kind.CHUNKS, bytes(1_000_000)),
    "two hellos": lambda raw: (raw.hello(), raw.say(Kind.HELLO, bytes(128)))[1],
    "begin before open": lambda raw: (raw.hello(), raw.say(Kind.BEGIN, bytes(48)))[1],
    "two opens": lambda raw: (raw.open(), raw.say(Kind.OPEN, bytes(2160)))[1],
    "chunks before begin": lambda raw: (raw.open(), raw.say(Kind.CHUNKS, one_block(0)))[1],
    "commit before begin": lambda raw: (raw.open(), raw.say(Kind.COMMIT, FORGED))[1],
    "abort before begin": lambda raw: (raw.open(), raw.say(Kind.ABORT))[1],
    "read while writing": lambda raw: (raw.open(), raw.say(Kind.READ, bytes(34)))[1],
    "an answer": lambda raw: (raw.open(), raw.say(Kind.STATE, bytes(1104)))[1],
    "map after begin": lambda raw: (raw.begin(), raw.say(Kind.MAP_GET, bytes(32)))[1],
    "calls of another purpose": lambda raw: (raw.hello(), raw.say(Kind.CALL, b"{}"))[1],
    "write while reading": lambda raw: (raw.hello(2), raw.say(Kind.OPEN, bytes(2160)))[1],
}  # type: ignore[dict-item, func-returns-value]


@pytest.mark.parametrize("name", [n for n in OUT_OF_ORDER if n != "nothing but noise"])
def test_frames_out_of_order(tmp_path: Path, name: str) -> None:
    with attack(tmp_path) as (raw, _, _):
        OUT_OF_ORDER[name](raw)
        assert raw.refusal() == 1


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ((CAPS[Kind.HELLO] + 1, Kind.HELLO, 0), b""),
        (((1 << 32) - 1, Kind.HELLO, 0), b""),
        ((0, 999, 0), b""),
        ((127, Kind.HELLO, 0), bytes(127)),
        ((128, Kind.HELLO, 0), bytes(128)),
    ],
)
def test_headers_that_lie(tmp_path: Path, header: tuple[int, int, int], body: bytes) -> None:
    with attack(tmp_path) as (raw, _, _):
        raw.channel._outbox.append(memoryview(HEADER.pack(*header) + body))
        assert raw.refusal() == 1


BULK: dict[str, bytes] = {
    "past the content": one_block(CHUNKS),
    "far past the segment": one_block(1 << 40),
    "at the last number there is": one_block((1 << 64) - 1),
    "emptied past the segment": chunks(SentChunk(1 << 30, 0, 0, bytes(32))),
    "more sent than there is": chunks(SentChunk(0, 1, 3, b"d" * 32), blocks=bytes(2 * BLOCK)),
    "fewer blocks than said": chunks(SentChunk(0, 3, 3, b"d" * 32), blocks=bytes(BLOCK)),
    "no chunks": chunks(),
    "twice the same": chunks(*[SentChunk(0, 0, 0, bytes(32))] * 2),
    "not ascending": chunks(SentChunk(1, 0, 0, bytes(32)), SentChunk(0, 0, 0, bytes(32))),
    "a count that lies": struct.pack("<QIIII", 1, 256, 0, 0, 0),
    "a length that lies": struct.pack("<QIIII", 1, 1, 0, BLOCK, (1 << 32) - 1) + bytes(48),
    "an unknown codec": chunks(SentChunk(0, 1, 1, b"d" * 32), blocks=bytes(9), codec=7, raw=BLOCK),
    "noise as lz4": chunks(SentChunk(0, 1, 1, b"d" * 32), blocks=b"\xff" * 99, codec=1, raw=BLOCK),
    "empty with a digest": chunks(SentChunk(0, 0, 0, b"d" * 32)),
}


@pytest.mark.parametrize("name", BULK)
def test_chunks_that_lie(tmp_path: Path, name: str) -> None:
    with attack(tmp_path) as (raw, _, _):
        raw.begin()
        raw.say(Kind.CHUNKS, BULK[name])
        assert raw.refusal() == 1


def test_an_empty_map_may_not_hide_a_digest(tmp_path: Path) -> None:
    """A chunk whose blocks are not those of its digest is never taken in."""
    with attack(tmp_path) as (raw, _, _):
        raw.begin()
        item = SentChunk(3, 1, 1, hashlib.sha256(b"something else").digest())
        for _ in range(3):
            answer = raw.ask(Kind.CHUNKS, chunks(item, blocks=bytes([1]) * BLOCK))
            assert Applied.parse(answer).whole == (3,)
        part = SentChunk(4, 3, 1, b"d" * 32)
        answer = raw.ask(Kind.CHUNKS, chunks(part, blocks=bytes([1]) * BLOCK))
        assert Applied.parse(answer).whole == (4,)
        raw.say(Kind.BYE)


@pytest.mark.parametrize(
    "item",
    [(CHUNKS, 1), (1 << 41, 1), (0, 0), ((1 << 64) - 1, 0xFFFF)],
)
def test_comparisons_that_lie(tmp_path: Path, item: tuple[int, int]) -> None:
    with attack(tmp_path) as (raw, _, _):
        raw.begin()
        chunk, mask = item
        compared = ComparedChunk(chunk, mask, b"d" * 32, bytes(8 * mask.bit_count()))
        raw.say(Kind.COMPARE, Compare(1, b"s" * 16, (compared,)).build())
        assert raw.refusal() == 1


def test_nothing_of_an_earlier_user_is_found_by_comparing(tmp_path: Path) -> None:
    with attack(tmp_path) as (raw, owner, holder):
        disk = owner.path.read_bytes()
        empty = [n for n in range(16) if not any(disk[n * BLOCK : (n + 1) * BLOCK])]
        assert empty
        place = holder.store._opened.part.chunk_offset(0) + empty[0] * BLOCK
        secret = b"secret" * 682 + bytes(4)
        holder.store._opened.part.write(place, secret)
        raw.begin()
        mask = 1 << empty[0]
        item = ComparedChunk(0, mask, b"d" * 32, short_digests(b"s" * 16, secret))
        answer = raw.ask(Kind.COMPARE, Compare(1, b"s" * 16, (item,)).build())
        assert Want.parse(answer).masks == (mask,)
        raw.say(Kind.BYE)


def forge(raw: Raw, state: State, **changes: Any) -> bytes:
    """A record that would fit, but for the changes; signed by the owner unless said otherwise."""
    base = parse_epoch(state.record or b"")
    sign = changes.pop("sign", raw.owner.identity.sign)
    epoch: Epoch = replace(base, id=EPOCH_ID, number=base.number + 1, parent=base.id, **changes)
    return build_epoch(epoch, sign)


@pytest.mark.parametrize(
    "changes",
    [
        {"root": b"r" * 32},
        {"content_bytes": SIZE - 65536},
        {"device": b"D" * 16},
        {"group": b"G" * 16},
        {"writer": b"W" * 16},
        {"owner_key": identity_from_seed(b"\x09" * 32).key},
        {"sign": identity_from_seed(b"\x09" * 32).sign},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_records_that_lie(tmp_path: Path, changes: dict[str, Any]) -> None:
    with attack(tmp_path) as (raw, _, _):
        state = raw.begin()
        raw.say(Kind.COMMIT, forge(raw, state, **changes))
        assert raw.refusal() == 13


def test_a_record_with_another_number_or_id_than_was_begun(tmp_path: Path) -> None:
    with attack(tmp_path) as (raw, _, _):
        state = raw.begin(number=17)
        raw.say(Kind.COMMIT, forge(raw, state))
        assert raw.refusal() == 13


def test_an_old_record_said_again(tmp_path: Path) -> None:
    with attack(tmp_path) as (raw, _, _):
        state = raw.begin()
        raw.say(Kind.COMMIT, state.record or b"")
        assert raw.refusal() == 13


def test_garbage_as_a_record(tmp_path: Path) -> None:
    with attack(tmp_path) as (raw, _, _):
        raw.begin()
        raw.say(Kind.COMMIT, bytes(range(256)) * 4)
        assert raw.refusal() in (9, 13)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"number": 1}, 7),
        ({"parent": b"p" * 16}, 7),
        ({"parent": bytes(16)}, 7),
        ({"number": 0}, 1),
        ({"number": 1 << 63}, 1),
        ({"epoch_id": bytes(16)}, 1),
    ],
)
def test_beginnings_that_lie(tmp_path: Path, changes: dict[str, Any], code: int) -> None:
    with attack(tmp_path) as (raw, _, _):
        state = raw.open()
        base = parse_epoch(state.record or b"")
        begin = Begin(EPOCH_ID, base.number + 1, base.id, False, b"")
        raw.say(Kind.BEGIN, replace(begin, **changes).build())
        assert raw.refusal() == code


def receipt_of(seed: int, record: bytes, **changes: Any) -> Receipt:
    member = identity_from_seed(bytes([seed]) * 32)
    return replace(make_receipt(member.key, b"s" * 16, 1, 1, record, member.sign), **changes)


@pytest.mark.parametrize(
    "forged",
    [
        lambda raw, state: receipt_of(9, state.record),
        lambda raw, state: receipt_of(1, state.record),
        lambda raw, state: receipt_of(8, state.record, time_s=2),
        lambda raw, state: receipt_of(8, forge(raw, state, device=b"D" * 16)),
        lambda raw, state: receipt_of(
            8, forge(raw, state, sign=identity_from_seed(b"\x09" * 32).sign)
        ),
    ],
    ids=["a stranger's", "its own", "changed", "another device", "a forged epoch"],
)
def test_receipts_that_prove_nothing(tmp_path: Path, forged: Any) -> None:
    with attack(tmp_path) as (raw, _, holder):
        holder.others = frozenset({identity_from_seed(b"\x08" * 32).key})
        state = raw.open()
        base = parse_epoch(state.record or b"")
        begin = Begin(EPOCH_ID, base.number + 1, base.id, False, forged(raw, state).build())
        raw.say(Kind.BEGIN, begin.build())
        assert raw.refusal() in (9, 13)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"content_bytes": 1 << 50}, 5),
        ({"writer": b"W" * 16}, 6),
        ({"device_id": b"D" * 16}, 5),
        ({"device_id": b"D" * 16, "assign": False}, 5),
    ],
)
def test_openings_that_are_refused(tmp_path: Path, changes: dict[str, Any], code: int) -> None:
    with attack(tmp_path) as (raw, _, _):
        raw.hello()
        asked = Open(raw.owner.device_id, raw.owner.instance, SIZE, True, False, "anna", b"")
        raw.say(Kind.OPEN, replace(asked, **changes).build())
        assert raw.refusal() == code


def test_a_name_that_would_act_on_a_terminal(tmp_path: Path) -> None:
    with attack(tmp_path) as (raw, _, _):
        raw.hello()
        body = bytearray(
            Open(b"D" * 16, raw.owner.instance, SIZE, True, False, "anna", b"").build()
        )
        body[48:52] = b"\x1b[2J"
        raw.say(Kind.OPEN, bytes(body))
        assert raw.refusal() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": b"k" * 32}, 3),
        ({"group_id": b"G" * 16}, 3),
        ({"purpose": 9}, 1),
        ({"lowest_version": HIGHEST_VERSION + 1, "highest_version": HIGHEST_VERSION + 3}, 2),
    ],
)
def test_hellos_that_are_refused(tmp_path: Path, changes: dict[str, Any], code: int) -> None:
    with attack(tmp_path) as (raw, owner, _):
        hello = Hello(1, 1, 1, GROUP, owner.instance, b"n" * 32, owner.identity.key)
        raw.say(Kind.HELLO, replace(hello, **changes).build())
        assert raw.refusal() == code


READS: dict[str, tuple[Kind, bytes, int]] = {
    "an epoch that is not there": (Kind.READ, Read(b"n" * 16, (ReadChunk(0, 1),)).build(), 12),
    "a map that is not there": (Kind.MAP_GET, MapGet(b"n" * 16, 0, 1).build(), 12),
    "a pin of nothing": (Kind.PIN, Pin(b"n" * 16, 9).build(), 12),
    "pages past the map": (Kind.MAP_GET, MapGet(None, 1 << 39, 256).build(), 1),
    "more pages than allowed": (Kind.MAP_GET, struct.pack("<16sQI4x", bytes(16), 0, 257), 1),
    "no pages": (Kind.MAP_GET, struct.pack("<16sQI4x", bytes(16), 0, 0), 1),
}


@pytest.mark.parametrize("name", READS)
def test_reads_that_lie(tmp_path: Path, name: str) -> None:
    with attack(tmp_path) as (raw, owner, _):
        raw.hello(2)
        raw.ask(Kind.SELECT, Select(owner.identity.key, owner.device_id).build())
        kind, body, code = READS[name]
        raw.say(kind, body)
        assert raw.refusal() == code


def test_blocks_that_the_epoch_does_not_have(tmp_path: Path) -> None:
    with attack(tmp_path) as (raw, owner, holder):
        raw.hello(2)
        raw.ask(Kind.SELECT, Select(owner.identity.key, owner.device_id).build())
        epoch_id = parse_epoch(holder.store.info.epoch or b"").id
        raw.say(Kind.READ, Read(epoch_id, (ReadChunk(0, 0xFFFF), ReadChunk(1 << 39, 1))).build())
        assert raw.refusal() == 1


def test_a_takeover_said_again_on_another_connection(tmp_path: Path) -> None:
    with attack(tmp_path) as (raw, owner, holder):
        first = raw.hello(2)
        raw.ask(Kind.SELECT, Select(owner.identity.key, owner.device_id).build())
        sign = owner.identity.sign
        asked = make_takeover(owner.identity.key, owner.device_id, b"W" * 16, 1, b"x" * 32, sign)
        raw.say(Kind.TAKEOVER, asked.build())
        assert raw.refusal() == 13
        assert first.nonce != b"x" * 32
        assert holder.store.info.writer == owner.instance


def test_a_client_without_a_certificate(tmp_path: Path) -> None:
    with attack(tmp_path) as (raw, owner, holder):
        raw.say(Kind.BYE)
        with socket.create_connection(holder.address(), 10) as plain:
            tls = client_context(None, holder.identity.certificate).wrap_socket(plain)
            with Channel(tls, serving=False) as channel:
                hello = Hello(1, 1, 1, GROUP, owner.instance, b"n" * 32, owner.identity.key)
                channel.post(Kind.HELLO, hello.build())
                with pytest.raises(BlockrepError, match="certificate"):
                    channel.receive(10)


def test_silence_after_the_handshake_ends_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("blockrep.transfer.greeting.GREETING_S", 0.5)
    with attack(tmp_path) as (raw, _, holder):
        began = time.monotonic()
        holder.wait()
        assert time.monotonic() - began < 10
        assert "0 s" in str(holder.errors[0])
        raw.channel.close()


@pytest.mark.parametrize("phase", ["in a frame", "between frames"])
def test_a_trickle_is_silence(tmp_path: Path, phase: str) -> None:
    """A byte now and then keeps no session alive; whole frames do."""
    with attack(tmp_path) as (raw, _, holder):
        holder.silence_s = 1.0
        raw.channel.close()
        holder.wait()
        raw = Raw(raw.owner, holder)
        with raw.channel:
            raw.open()
            for _ in range(8):  # ALIVE keeps it
                raw.say(Kind.ALIVE)
                raw.channel.step(0.25)
                time.sleep(0.2)
            state = raw.ask(Kind.MAP_GET, MapGet(None, 0, 1).build())
            assert len(state) == 16 + 4096
            if phase == "in a frame":
                raw.channel._outbox.append(memoryview(HEADER.pack(1000, Kind.COMPARE, 0)[:4]))
            began = time.monotonic()
            while time.monotonic() - began < 10 and not holder.errors:
                if phase == "in a frame":
                    raw.channel._outbox.append(memoryview(b"\0"))
                try:
                    raw.channel.step(0.1)
                except BlockrepError:
                    break
                time.sleep(0.1)
            assert time.monotonic() - began < 5


def test_whoever_does_not_take_answers_is_not_read_from(tmp_path: Path) -> None:
    """Requests without end whose answers nobody reads: the holder's memory does not grow."""
    with attack(tmp_path) as (raw, owner, holder):
        raw.hello(2)
        raw.ask(Kind.SELECT, Select(owner.identity.key, owner.device_id).build())
        epoch_id = parse_epoch(holder.store.info.epoch or b"").id
        masks = {}
        for chunk in range(16):
            page = holder.store.map_pages(0, 1)
            masks[chunk] = int.from_bytes(page[16 + 40 * chunk :][:2], "little")
        items = tuple(ReadChunk(c, m) for c, m in masks.items() if m)
        seen: list[int] = []
        post = Channel.post

        def watch(self: Channel, kind: Kind, *parts: Any) -> None:
            post(self, kind, *parts)
            if kind is Kind.DATA:
                seen.append(self.queued_bytes)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Channel, "post", watch)
            for _ in range(200):
                post(raw.channel, Kind.READ, Read(epoch_id, items).build())
            began = time.monotonic()
            while time.monotonic() - began < 2:
                raw.channel.step(0.1, reading=False)
        assert 0 < len(seen) < 100
        assert max(seen) < 8 * MIB
