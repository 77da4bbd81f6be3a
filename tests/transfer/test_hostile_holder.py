"""A holder that lies to an owner: it gets no receipt accepted, and the others go on."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from replicas import START
from sides import change_blocks, random_disk, two_sides

from blockrep.errors import BlockrepError, EpochRefused, PeerUnreachable, ProtocolError
from blockrep.extents import Extent
from blockrep.group.identity import identity_from_seed
from blockrep.segment.epoch import build_epoch, parse_epoch
from blockrep.segment.geometry import MIB
from blockrep.transfer import stream
from blockrep.transfer.bulk import Applied, Want
from blockrep.transfer.frames import Kind
from blockrep.transfer.messages import Hello, State
from blockrep.transfer.receipt import Receipt

SIZE = 2 * MIB
START_OF_MAP = 2 * MIB  # of a segment
STRANGER = identity_from_seed(b"\x09" * 32)

Change = Callable[[bytes], bytes | None]


def only(kind: Kind, change: Change) -> Callable[[Kind, bytes], bytes | None]:
    return lambda said, body: change(body) if said is kind else body


def state(**changes: object) -> Change:
    return lambda body: replace(State.parse(body), **changes).build()  # type: ignore[arg-type]


def forged(body: bytes) -> bytes:
    found = State.parse(body)
    epoch = replace(parse_epoch(found.record or b""), number=1 << 61, owner_key=STRANGER.key)
    return replace(found, record=build_epoch(epoch, STRANGER.sign)).build()


def claimed(body: bytes) -> bytes:
    """The owner's own words, with a number that it never gave."""
    found = State.parse(body)
    record = bytearray(found.record or b"")
    struct.pack_into("<Q", record, 16, 1 << 61)
    return replace(found, record=bytes(record)).build()


def receipt(**changes: object) -> Change:
    return lambda body: replace(Receipt.parse(body), **changes).build()  # type: ignore[arg-type]


def another_want(body: bytes) -> bytes:
    want = Want.parse(body)
    return Want(want.sequence + 1, want.masks).build()


def too_many(body: bytes) -> bytes:
    want = Want.parse(body)
    return Want(want.sequence, (*want.masks, 1)).build()


def everything(body: bytes) -> bytes:
    want = Want.parse(body)
    return Want(want.sequence, (0xFFFF,) * len(want.masks)).build()


def whole_again(body: bytes) -> bytes:
    applied = Applied.parse(body)
    return Applied(applied.sequence, (31,)).build()


LIES: dict[str, tuple[Kind, Change]] = {
    "another key": (Kind.HELLO, lambda b: replace(Hello.parse(b), key=STRANGER.key).build()),
    "another group": (Kind.HELLO, lambda b: replace(Hello.parse(b), group_id=b"G" * 16).build()),
    "no hello": (Kind.HELLO, lambda b: bytes(128)),
    "an epoch of a stranger": (Kind.STATE, forged),
    "an epoch with another number": (Kind.STATE, claimed),
    "a state that is cut": (Kind.STATE, lambda b: b[:-1]),
    "a want for another comparison": (Kind.WANT, another_want),
    "a want for more chunks": (Kind.WANT, too_many),
    "a want for blocks that are not there": (Kind.WANT, everything),
    "a want that is cut": (Kind.WANT, lambda b: b[:-1]),
    "chunks again that were not sent": (Kind.APPLIED, whole_again),
    "a count that lies": (Kind.APPLIED, lambda b: struct.pack("<QI4x", 1, 256)),
    "a receipt by another key": (Kind.COMMITTED, receipt(holder_key=STRANGER.key)),
    "a receipt that was changed": (Kind.COMMITTED, receipt(time_s=7)),
    "a receipt for something else": (Kind.COMMITTED, receipt(record=bytes(1024))),
    "a receipt of another segment": (Kind.COMMITTED, receipt(segment=b"s" * 16)),
    "a receipt without a signature": (Kind.COMMITTED, receipt(signature=bytes(64))),
}


@pytest.mark.parametrize("name", LIES)
def test_lies(tmp_path: Path, name: str) -> None:
    shape = {"holders": 2, "segment_mib": 12, "ring_mib": 2}
    with two_sides(tmp_path, random_disk(1, SIZE), **shape) as (owner, (liar, honest)):
        assert all(r.error is None for r in owner.back_up(liar, honest))
        change_blocks(owner.path, [3, 100], 1)
        liar.twist = only(*LIES[name])
        results = owner.back_up(liar, honest)
        assert results[0].receipt is None
        assert isinstance(results[0].error, BlockrepError)
        assert not isinstance(results[0].error, PeerUnreachable)
        assert results[1].error is None
        number = parse_epoch(results[1].receipt.record).number  # type: ignore[union-attr]
        assert number == 2
        assert owner.replica(honest) == owner.expected()
        liar.twist = None
        liar.wait()
        change_blocks(owner.path, [4], 2)
        assert all(r.error is None for r in owner.back_up(liar, honest))
        assert owner.replica(liar) == owner.expected()


def test_a_map_that_lies_is_found_out_at_the_commit(tmp_path: Path) -> None:
    """Asked for its map it gives another one: what is sent then does not have the root."""
    with two_sides(tmp_path, random_disk(1, SIZE), segment_mib=12, ring_mib=2) as (owner, (liar,)):
        assert owner.back_up(liar)[0].error is None
        stale = liar.store.map_pages(0, 1)
        change_blocks(owner.path, [3, 100], 1)
        assert owner.back_up(liar)[0].error is None
        owner.path.write_bytes(random_disk(1, SIZE))
        owner.forget()
        true = liar.store.map_pages
        liar.store.map_pages = lambda *a: stale + true(*a)[4096:]  # type: ignore[method-assign]
        assert isinstance(owner.back_up(liar)[0].error, EpochRefused)
        liar.store.map_pages = true  # type: ignore[method-assign]
        assert owner.back_up(liar)[0].error is None
        assert owner.replica(liar) == owner.expected()


def test_a_damaged_page_of_the_map_makes_its_chunks_come_again(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, 9 * MIB)) as (owner, (holder,)):
        assert owner.back_up(holder)[0].error is None
        page = bytearray(holder.device.read(START + START_OF_MAP, 4096))
        page[100] ^= 1
        holder.device.write(START + START_OF_MAP, bytes(page))
        holder.reopen()
        owner.forget()
        owner.used = [Extent(0, 5 * MIB)]
        results = owner.back_up(holder)
        if results[0].error is not None:
            raise results[0].error
        assert owner.replica(holder) == owner.expected()


@pytest.mark.parametrize("kind", [Kind.STATE, Kind.READY, Kind.WANT, Kind.APPLIED, Kind.COMMITTED])
def test_a_holder_that_never_answers(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says ALIVE, and nothing else."""
    for module in ("sender", "stream", "base_map"):
        monkeypatch.setattr(f"blockrep.transfer.{module}.ANSWER_S", 1.0)
    monkeypatch.setattr(stream, "STEP_S", 0.2)
    shape = {"holders": 2, "segment_mib": 12, "ring_mib": 2}
    with two_sides(tmp_path, random_disk(1, SIZE), **shape) as (owner, (mute, honest)):
        assert all(r.error is None for r in owner.back_up(mute, honest))
        change_blocks(owner.path, [3], 1)
        mute.twist = only(kind, lambda body: None)
        results = owner.back_up(mute, honest)
        assert isinstance(results[0].error, PeerUnreachable)
        assert results[1].error is None
        mute.twist = None


def test_answers_to_nothing(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE), segment_mib=12, ring_mib=2) as (owner, (liar,)):
        serve = liar.serve

        def talkative(channel, key):  # type: ignore[no-untyped-def]
            channel.talk.sent = lambda kind: None
            channel.post(Kind.APPLIED, Applied(1, ()).build())
            serve(channel, key)

        liar.serve = talkative  # type: ignore[method-assign]
        assert isinstance(owner.back_up(liar)[0].error, ProtocolError)
