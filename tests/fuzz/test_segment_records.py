"""Random and mutated headers, epochs, batches and map pages fail only as documented."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replicas import (
    CHUNK,
    START,
    FakeClock,
    MemoryDisk,
    Owner,
    messages,
    new_disk,
    random_blocks,
    read_all,
    send,
)

from blockrep.disk.device import new_buffer
from blockrep.disk.records import seal_record
from blockrep.errors import BlockrepError, InternalError, RecordDamaged, RecordUnsupported
from blockrep.native import crc32c
from blockrep.segment.batch import MAX_ENTRIES, parse_batch, parse_entries, parse_epoch_record
from blockrep.segment.epoch import parse_epoch, verify_epoch
from blockrep.segment.geometry import MIB
from blockrep.segment.header import SLOT_OFFSETS, build_header, parse_header, parse_slots
from blockrep.segment.store import Store

CHUNKS = 20
CONTENT = CHUNKS * CHUNK
Parsed = TypeVar("Parsed")


@cache
def example() -> tuple[bytes, bytes, bytes, bytes, Owner]:
    """A disk in the middle of an epoch; its header, a batch, a record."""
    rng = random.Random(3)
    disk = MemoryDisk(new_disk(8 * MIB, 2 * MIB))
    owner = Owner()
    store = Store.open(disk, START, FakeClock())
    store.assign(owner.assignment(CONTENT))
    first = random_blocks(rng, CHUNKS, 0.5)
    second = random_blocks(rng, CHUNKS, 0.5)
    record = send(store, owner, first, None, CONTENT)
    store.begin(owner.next_id(), owner.number + 1, owner.last)
    for items, blocks in messages(range(CHUNKS), second, None, 20):
        assert store.apply(items, blocks) == []
    store.drain()
    held = store._opened.held
    batch = store._opened.batches.head(held.head).end
    page = bytearray(4096)
    view = new_buffer(4096)
    store._opened.ring.read(batch, view)
    page[:] = view
    return bytes(disk.content), build_header(store._opened.header), bytes(page), record, owner


def tried(parse: Callable[[], Parsed]) -> Parsed | None:
    try:
        return parse()
    except (RecordDamaged, RecordUnsupported) as error:
        assert error.message
        return None


def changed(data: bytes, changes: list[tuple[int, int]]) -> bytearray:
    found = bytearray(data)
    for offset, value in changes:
        found[offset % len(found)] = value
    return found


def changes_in(*ranges: tuple[int, int]) -> st.SearchStrategy[list[tuple[int, int]]]:
    places = st.one_of(*(st.integers(first, end - 1) for first, end in ranges))
    values = st.one_of(st.integers(0, 255), st.sampled_from((0, 1, 127, 128, 255)))
    return st.lists(st.tuples(places, values), min_size=1, max_size=12)


@settings(max_examples=400)
@given(changes_in((8, 425), (500, 800), (1530, 1545), (3580, 3590)))
def test_a_mutated_assigned_header(changes: list[tuple[int, int]]) -> None:
    record = seal_record(changed(example()[1], changes))
    header = tried(lambda: parse_header(record))
    if header is not None:
        assert parse_header(build_header(header)) == header
    for slots in ((record, bytes(4096)), (bytes(4096), record)):
        tried(lambda slots=slots: parse_slots(slots))  # type: ignore[misc]


@given(st.binary(max_size=1100))
def test_any_epoch_record(data: bytes) -> None:
    assert tried(lambda: parse_epoch(data)) is None


@settings(max_examples=400)
@given(changes_in((0, 300), (860, 1024)))
def test_a_mutated_epoch_record(changes: list[tuple[int, int]]) -> None:
    _, _, _, record, owner = example()
    data = bytes(changed(record, changes))
    tried(lambda: parse_epoch(data))
    verified = tried(lambda: verify_epoch(data, owner.public))
    assert (verified is not None) == (data == record)


@given(st.binary(min_size=160, max_size=4096))
def test_any_batch(data: bytes) -> None:
    assert tried(lambda: parse_batch(data, 500)) is None


@settings(max_examples=400)
@given(changes_in((0, 160), (160, 400)), st.integers(1, 1 << 20))
def test_a_mutated_batch(changes: list[tuple[int, int]], ring_pages: int) -> None:
    page = bytes(changed(example()[2], changes))
    batch = tried(lambda: parse_batch(page, ring_pages))
    if batch is None:
        return
    assert batch.pages <= ring_pages
    assert batch.entry_count <= MAX_ENTRIES
    header = page.ljust(batch.header_pages * 4096, b"\0")
    entries = tried(lambda: parse_entries(batch, header, CHUNKS))
    if entries is not None:
        assert all(entry.chunk < CHUNKS for entry in entries)
        assert sum(entry.saved.bit_count() for entry in entries) == batch.data_pages
    tried(lambda: parse_epoch_record(page))


@pytest.mark.parametrize("where", ["map", "ring", "header"])
@settings(max_examples=40)
@given(changes=changes_in((0, 200), (0, 4096)), page=st.integers(0, 60), digest=st.booleans())
def test_a_segment_that_somebody_has_forged(
    where: str, changes: list[tuple[int, int]], page: int, digest: bool
) -> None:
    """Right checksums over nonsense: opening, reading and scrubbing fail as documented."""
    content = example()[0]
    disk = MemoryDisk(content)
    at = START + {"map": 2 * MIB, "ring": 3 * MIB + 4096 * page, "header": 0}[where]
    if where == "header":
        for offset in SLOT_OFFSETS:
            old = content[at + offset : at + offset + 4096]
            disk.content[at + offset : at + offset + 4096] = seal_record(changed(old, changes))
    else:
        new = changed(content[at : at + 4096], changes)
        if where == "map":
            struct.pack_into("<I", new, 0, _crc(bytes(new[4:])))
        elif digest:
            new[128:160] = hashlib.sha256(bytes(new[:128]) + bytes(32) + new[160:]).digest()
        disk.content[at : at + 4096] = new
    try:
        store = Store.open(disk, START, FakeClock())
        for _ in store.scrub():
            pass
        for stored in store.epochs():
            read_all(store, stored.epoch.id, CHUNKS)
        store.undo()
    except (BlockrepError, AssertionError) as error:
        assert not isinstance(error, InternalError)
        assert not isinstance(error, AssertionError) or str(error).startswith("damaged")
    outside = START + 8 * MIB
    assert disk.content[:START] == content[:START]
    assert disk.content[outside:] == content[outside:]


def _crc(data: bytes) -> int:
    return crc32c(0xFFFFFFFF, data) ^ 0xFFFFFFFF
