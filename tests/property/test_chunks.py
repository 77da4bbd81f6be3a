"""Chunks and their map against a model in Python with hashlib."""

from __future__ import annotations

import hashlib
import struct
from mmap import mmap
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrep import chunks
from blockrep.chunks import BLOCK_BYTES, CHUNK_BYTES, ENTRIES_PER_PAGE, PAGE_BYTES, Entry

masks = st.one_of(st.sampled_from([0, 1, 0x8000, 0xFFFF]), st.integers(0, 0xFFFF))
seeds = st.integers(0, 2**32)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def packed(listed: list[int], seed: int) -> bytes:
    return Random(seed).randbytes(chunks.packed_bytes(listed))


def blocks_of(mask: int, blocks: bytes) -> dict[int, bytes]:
    """From bit to block."""
    bits = [bit for bit in range(16) if mask >> bit & 1]
    return {bit: blocks[i * BLOCK_BYTES :][:BLOCK_BYTES] for i, bit in enumerate(bits)}


@given(st.lists(masks, max_size=5), seeds)
def test_digests(listed: list[int], seed: int) -> None:
    blocks = packed(listed, seed)
    wanted, at = b"", 0
    for mask in listed:
        own = blocks[at : at + mask.bit_count() * BLOCK_BYTES]
        at += len(own)
        one = sha256(struct.pack("<H", mask), own) if mask else bytes(32)
        assert chunks.chunk_digest(mask, own) == one
        wanted += one
    assert chunks.chunk_digests(listed, memoryview(blocks)) == wanted


@given(st.binary(max_size=40), st.integers(0, 20), seeds)
def test_short_digests(salt: bytes, count: int, seed: int) -> None:
    blocks = Random(seed).randbytes(count * BLOCK_BYTES)
    pieces = [blocks[i * BLOCK_BYTES :][:BLOCK_BYTES] for i in range(count)]
    assert chunks.short_digests(salt, blocks) == b"".join(sha256(salt, p)[:8] for p in pieces)


@given(st.lists(st.tuples(masks, masks), max_size=5), seeds)
def test_pick_blocks(pairs: list[tuple[int, int]], seed: int) -> None:
    there = [a for a, _ in pairs]
    wanted = [a & b for a, b in pairs]
    blocks = packed(there, seed)
    model, at = b"", 0
    for mask, want in zip(there, wanted, strict=True):
        own = blocks_of(mask, blocks[at:])
        at += len(own) * BLOCK_BYTES
        model += b"".join(block for bit, block in own.items() if want >> bit & 1)
    assert chunks.pick_blocks(there, wanted, blocks) == model


class Map:
    """The model of a map: a dictionary."""

    def __init__(self, entries: dict[int, Entry]) -> None:
        self.entries = entries

    def entry(self, chunk: int) -> Entry:
        return self.entries.get(chunk, chunks.EMPTY)

    def page(self, number: int) -> bytes:
        first = number * ENTRIES_PER_PAGE
        listed = [self.entry(first + i) for i in range(ENTRIES_PER_PAGE)]
        body = struct.pack("<4sQ", b"BMAP", number)
        body += b"".join(struct.pack("<HHI32s", e.mask, e.kept, 0, e.digest) for e in listed)
        return struct.pack("<I", crc32c(body)) + body

    def root(self, content_bytes: int) -> bytes:
        count = -(-content_bytes // CHUNK_BYTES)
        listed = [
            struct.pack("<H", self.entry(i).mask) + self.entry(i).digest for i in range(count)
        ]
        leaves = [
            sha256(b"blockrep leaf 1\0", *listed[at : at + ENTRIES_PER_PAGE])
            for at in range(0, count, ENTRIES_PER_PAGE)
        ]
        return sha256(b"blockrep root 1\0", struct.pack("<Q", content_bytes), *leaves)


def crc32c(data: bytes) -> int:
    """Bit by bit, from the definition in RFC 3720 (byte by byte with a table of the same)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = [crc_of_byte(byte) for byte in range(256)]

entries = st.builds(Entry, masks, masks, st.binary(min_size=32, max_size=32))
CHUNKS = 3 * ENTRIES_PER_PAGE
some_entries = st.dictionaries(st.integers(0, CHUNKS - 1), entries, max_size=12)


def filled(model: Map, first: int, count: int) -> bytearray:
    """Pages made with the functions that are tested."""
    pages = bytearray(chunks.empty_pages(first, count))
    for chunk, entry in model.entries.items():
        if first <= chunk // ENTRIES_PER_PAGE < first + count:
            chunks.set_entry(pages, first, chunk, entry)
    for i in range(count):
        chunks.seal_page(memoryview(pages)[i * PAGE_BYTES : (i + 1) * PAGE_BYTES])
    return pages


@given(some_entries, st.integers(0, 2), st.integers(1, 3))
def test_pages(listed: dict[int, Entry], first: int, count: int) -> None:
    model, count = Map(listed), min(count, 3 - first)
    pages = filled(model, first, count)
    assert pages == b"".join(model.page(first + i) for i in range(count))
    for chunk in range(first * ENTRIES_PER_PAGE, (first + count) * ENTRIES_PER_PAGE, 7):
        assert chunks.get_entry(pages, first, chunk) == model.entry(chunk)


@given(some_entries, st.integers(1, CHUNKS * CHUNK_BYTES))
def test_root(listed: dict[int, Entry], content_bytes: int) -> None:
    pages = filled(Map(listed), 0, chunks.map_pages(content_bytes))
    root = Map(listed).root(content_bytes)
    assert chunks.map_root(pages, content_bytes) == root
    hasher = chunks.RootHasher(content_bytes)
    for at in range(0, len(pages), PAGE_BYTES):
        hasher.update(memoryview(pages)[at : at + PAGE_BYTES])
    assert hasher.finish() == root


@given(some_entries, some_entries, st.integers(0, CHUNKS - 1), st.integers(1, 64))
def test_changed_chunks(
    listed: dict[int, Entry], others: dict[int, Entry], first: int, count: int
) -> None:
    first_page = first // ENTRIES_PER_PAGE
    count = min(count, CHUNKS - first)
    a, b = Map(listed), Map({**listed, **others})
    pages = [filled(model, first_page, 3 - first_page) for model in (a, b)]
    model = 0
    for i in range(count):
        x, y = a.entry(first + i), b.entry(first + i)
        model |= ((x.mask, x.digest) != (y.mask, y.digest)) << i
    assert chunks.changed_chunks(*pages, first_page, first, count) == model


@given(entries, st.integers(0, PAGE_BYTES * 8 - 1))
def test_every_flipped_bit_of_a_page_is_seen(entry: Entry, bit: int) -> None:
    page = filled(Map({205: entry}), 2, 1)
    assert chunks.page_is_sound(page, 2)
    assert not chunks.page_is_sound(page, 3)
    page[bit // 8] ^= 1 << bit % 8
    assert not chunks.page_is_sound(page, 2)


def test_a_page_of_something_else_is_no_page() -> None:
    page = bytearray(chunks.empty_pages(0, 1))
    page[4] ^= 1
    chunks.seal_page(page)
    assert not chunks.page_is_sound(page, 0)


@pytest.mark.parametrize(
    ("content_bytes", "count", "pages"),
    [(0, 0, 0), (1, 1, 1), (CHUNK_BYTES, 1, 1), (CHUNK_BYTES + 1, 2, 1), (102 << 16, 102, 1),
     ((102 << 16) + 512, 103, 2)],
)  # fmt: skip
def test_counts(content_bytes: int, count: int, pages: int) -> None:
    assert chunks.chunk_count(content_bytes) == count
    assert chunks.map_pages(content_bytes) == pages


def test_arguments_that_do_not_fit_each_other() -> None:
    page = bytearray(chunks.empty_pages(5, 1))
    first = 5 * ENTRIES_PER_PAGE
    hasher = chunks.RootHasher(CHUNK_BYTES)
    calls = [
        lambda: chunks.chunk_digest(3, bytes(BLOCK_BYTES)),
        lambda: chunks.chunk_digests([1, 0], bytes(2 * BLOCK_BYTES)),
        lambda: chunks.short_digests(b"", bytes(BLOCK_BYTES - 1)),
        lambda: chunks.pick_blocks([1], [2], bytes(BLOCK_BYTES)),
        lambda: chunks.pick_blocks([1], [1, 0], bytes(BLOCK_BYTES)),
        lambda: chunks.pick_blocks([3], [1], bytes(BLOCK_BYTES)),
        lambda: chunks.seal_page(page[:-1]),
        lambda: chunks.page_is_sound(page + page, 5),
        lambda: chunks.get_entry(page, 5, first - 1),
        lambda: chunks.get_entry(page, 5, first + ENTRIES_PER_PAGE),
        lambda: chunks.set_entry(page, 5, -1, chunks.EMPTY),
        lambda: chunks.changed_chunks(page, page, 5, first + 100, 3),
        lambda: chunks.changed_chunks(page, page, 5, first, 65),
        lambda: chunks.changed_chunks(page, page, 5, first, 0),
        lambda: chunks.map_root(page[:-1], CHUNK_BYTES),
        lambda: chunks.map_root(page, 0),
        lambda: chunks.map_root(page, (102 << 16) + 1),
        lambda: hasher.update(page + page),
        hasher.finish,
    ]
    for call in calls:
        with pytest.raises(ValueError):
            call()


def test_what_is_written_to_must_be_writable() -> None:
    with pytest.raises(BufferError):
        chunks.clear_pages(memoryview(bytes(PAGE_BYTES)), 0)


def test_a_mapped_file_can_hold_a_map() -> None:
    with mmap(-1, 4 * PAGE_BYTES) as pages:
        chunks.clear_pages(pages, 9)
        assert bytes(pages) == chunks.empty_pages(9, 4)
