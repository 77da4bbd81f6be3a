"""The pump against a model that reads a disk block by block."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from blockrep import chunks
from blockrep.chunks import BLOCK_BYTES, CHUNK_BYTES, Entry
from blockrep.extents import Extent, normalise, round_up, scale
from blockrep.pump import WINDOW_BYTES, Batch, Pump

KEY = bytes(range(64))
MAX_BLOCKS = 3 * WINDOW_BYTES // BLOCK_BYTES

# What a run of blocks of the disk holds.
ZEROS, RANDOM, LAST_BYTE = range(3)
runs = st.lists(
    st.tuples(st.integers(1, 300), st.sampled_from([ZEROS, RANDOM, LAST_BYTE])), max_size=8
)
extents = st.lists(
    st.builds(Extent, st.integers(0, MAX_BLOCKS), st.integers(1, 100)), min_size=1, max_size=12
)
# Sectors of the last block, 8: all of it.
last_sectors = st.one_of(st.just(8), st.integers(1, 8))


@dataclass
class Model:
    """What a pass gives, from the definitions in docs/segment-format.md."""

    disk: bytes
    used: list[Extent]
    key: bytes | None
    entries: dict[int, Entry] = field(default_factory=dict)
    stored: dict[int, bytes] = field(default_factory=dict)  # by block

    def __post_init__(self) -> None:
        numbers = [
            b for e in self.used for b in range(e.start // 4096, (e.start + e.length) // 4096)
        ]
        for number in numbers:
            block = self.disk[number * 4096 :][:4096].ljust(4096, b"\0")
            if any(block):
                self.stored[number] = self.encrypted(number, block)
        for chunk in {number // 16 for number in numbers}:
            own = [b for b in range(chunk * 16, chunk * 16 + 16) if b in self.stored]
            mask = sum(1 << b % 16 for b in own)
            data = struct.pack("<H", mask) + b"".join(self.stored[b] for b in own)
            self.entries[chunk] = Entry(
                mask, 0, hashlib.sha256(data).digest() if own else bytes(32)
            )

    def encrypted(self, number: int, block: bytes) -> bytes:
        if self.key is None:
            return block
        tweak = number.to_bytes(16, "little")
        return Cipher(algorithms.AES(self.key), modes.XTS(tweak)).encryptor().update(block)

    def batches(self) -> Iterator[tuple[int, tuple[int, ...], bytes]]:
        count = -(-len(self.disk) // CHUNK_BYTES)
        for window in sorted({chunk // 16 for chunk in self.entries}):
            listed = range(window * 16, min(window * 16 + 16, count))
            masks = tuple(self.entries.get(c, chunks.EMPTY).mask for c in listed)
            own = sorted(b for b in self.stored if b // 256 == window)
            yield window * 16, masks, b"".join(self.stored[b] for b in own)


def disk_of(listed: list[tuple[int, int]], sectors: int, seed: int) -> bytes:
    random = Random(seed)
    make = {
        ZEROS: lambda: bytes(4096),
        RANDOM: lambda: random.randbytes(4096),
        LAST_BYTE: lambda: bytes(4095) + b"\1",
    }
    disk = b"".join(make[kind]() for length, kind in listed for _ in range(length))
    disk += random.randbytes(4096)
    return disk[: min(len(disk), MAX_BLOCKS * 4096) - 4096 + sectors * 512]


def clipped(listed: list[Extent], disk: bytes) -> list[Extent]:
    blocks = -(-len(disk) // 4096)
    cut = [Extent(e.start, min(e.end, blocks) - e.start) for e in listed]
    return scale(normalise(e for e in cut if e.length > 0), 4096)


def copied(batch: Batch) -> tuple[int, tuple[int, ...], bytes]:
    return batch.first_chunk, batch.masks, bytes(batch.blocks)


def empty_map(content_bytes: int) -> bytearray:
    return bytearray(chunks.empty_pages(0, chunks.map_pages(content_bytes)))


def check_map(pages: bytearray, content_bytes: int, entries: dict[int, Entry]) -> None:
    for number in range(chunks.map_pages(content_bytes)):
        assert chunks.page_is_sound(pages[number * 4096 :][:4096], number)
    for chunk in range(chunks.chunk_count(content_bytes)):
        assert chunks.get_entry(pages, 0, chunk) == entries.get(chunk, chunks.EMPTY)


@given(
    runs,
    extents,
    last_sectors,
    st.sampled_from([None, KEY]),
    st.sampled_from([0, os.O_DIRECT]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 2**32),
)
def test_pump(
    listed: list[tuple[int, int]],
    chosen: list[Extent],
    sectors: int,
    key: bytes | None,
    direct: int,
    workers: int,
    slots: int,
    seed: int,
) -> None:
    disk = disk_of(listed, sectors, seed)
    model = Model(disk, clipped(chosen, disk), key)
    new_map = empty_map(len(disk))
    with NamedTemporaryFile() as file:
        file.write(disk)
        file.flush()
        fd = os.open(file.name, os.O_RDONLY | direct)
        with Pump(fd, len(disk), model.used, key, new_map, workers, slots) as pump:
            os.close(fd)
            assert [copied(batch) for batch in pump] == list(model.batches())
    check_map(new_map, len(disk), model.entries)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[int]:
    """Eight MiB of random bytes."""
    path = tmp_path / "image"
    path.write_bytes(Random(1).randbytes(8 << 20))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    yield fd
    os.close(fd)


def test_a_second_pass_over_what_changed(image: int) -> None:
    """Entries of chunks that are not read again stay, what the holder keeps of the others too."""
    disk = Random(1).randbytes(8 << 20)
    first = Model(disk, [Extent(0, 5 << 20)], None)
    new_map = empty_map(8 << 20)
    with Pump(image, 8 << 20, first.used, None, new_map) as pump:
        list(pump)
    chunks.set_entry(new_map, 0, 18, first.entries[18]._replace(kept=0xFF00))
    again = Model(disk, [Extent(18 * CHUNK_BYTES, 8 * BLOCK_BYTES)], None)
    with Pump(image, 8 << 20, again.used, None, new_map) as pump:
        assert [copied(batch) for batch in pump] == list(again.batches())
    new = again.entries[18]._replace(kept=0xFF00)
    check_map(new_map, 8 << 20, {**first.entries, 18: new})


def test_what_lies_past_the_content_is_not_seen(image: int) -> None:
    content_bytes = (2 << 20) + 512
    disk = Random(1).randbytes(8 << 20)[:content_bytes]
    model = Model(disk, [Extent(0, round_up(content_bytes, 4096))], KEY)
    new_map = empty_map(content_bytes)
    with Pump(image, content_bytes, model.used, KEY, new_map) as pump:
        assert [copied(batch) for batch in pump] == list(model.batches())
    check_map(new_map, content_bytes, model.entries)
