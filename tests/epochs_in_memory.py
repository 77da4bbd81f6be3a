"""An epoch in memory, made of a disk image by the naive reading of docs/segment-format.md.

It satisfies `blockrep.transfer.source.EpochSource`, and can be damaged. It knows nothing of the
store: what is tested with it is what is done with an epoch that somebody has.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blockrep.chunks import (
    ENTRIES_PER_PAGE,
    Entry,
    chunk_digest,
    empty_pages,
    get_entry,
    map_pages,
    map_root,
    pick_blocks,
    seal_page,
    set_entry,
)
from blockrep.segment.content import ChunkBlocks
from blockrep.segment.epoch import Consistency, Epoch, EpochPartition, PartitionKind

BLOCK, CHUNK, PAGE = 4096, 65536, 4096
KEY = bytes(range(64))


@dataclass
class MemoryEpoch:
    """`stored` is mask and packed blocks by chunk; a chunk in `rotten` is found to be damaged."""

    epoch: Epoch
    pages: bytes
    stored: dict[int, tuple[int, bytes]]
    rotten: set[int] = field(default_factory=set)
    reads: int = 0

    def digest(self, chunk: int) -> bytes:
        return get_entry(self.pages, 0, chunk).digest

    def map_pages(self, first: int, count: int) -> bytes:
        return self.pages[first * PAGE : (first + count) * PAGE]

    def read(self, items: Sequence[tuple[int, int]]) -> ChunkBlocks:
        self.reads += 1
        blocks = [pick_blocks([self.stored[c][0]], [m], self.stored[c][1]) for c, m in items]
        return ChunkBlocks(b"".join(blocks), [chunk in self.rotten for chunk, _ in items])


def encrypt(key: bytes, number: int, block: bytes) -> bytes:
    """One data unit of AES-256-XTS whose tweak is the number of the block."""
    cipher = Cipher(algorithms.AES(key), modes.XTS(number.to_bytes(16, "little"))).encryptor()
    return cipher.update(block) + cipher.finalize()


def make_epoch(
    image: Path,
    content_bytes: int,
    *,
    key: bytes | None = KEY,
    sector_bytes: int = 512,
    partitions: Sequence[tuple[int, PartitionKind, int, int]] = (),
    skip: Callable[[int], bool] = lambda _block: False,
    number: int = 1,
) -> MemoryEpoch:
    """The epoch of an image; `skip` names blocks (by number) that are not in use."""
    stored: dict[int, tuple[int, bytes]] = {}
    pages = bytearray(empty_pages(0, map_pages(content_bytes)))
    with image.open("rb") as disk:
        for chunk in range(-(-content_bytes // CHUNK)):
            mask, blocks = _chunk_of(disk.fileno(), chunk, content_bytes, key, skip)
            if mask:
                stored[chunk] = (mask, blocks)
                set_entry(pages, 0, chunk, Entry(mask, 0, chunk_digest(mask, blocks)))
    view = memoryview(pages)
    for at in range(0, len(pages), PAGE):
        seal_page(view[at : at + PAGE])
    assert len(pages) // PAGE * ENTRIES_PER_PAGE >= -(-content_bytes // CHUNK)
    epoch = Epoch(
        number=number,
        id=bytes([number]) * 16,
        parent=bytes(16),
        root=map_root(pages, content_bytes),
        owner_key=bytes(32),
        device=bytes(16),
        group=bytes(16),
        writer=bytes(16),
        time_s=1_700_000_000,
        content_bytes=content_bytes,
        stored_bytes=BLOCK * sum(mask.bit_count() for mask, _ in stored.values()),
        disk_bytes=image.stat().st_size,
        sector_bytes=sector_bytes,
        key_id=hashlib.sha256(b"blockrep key id" + key).digest()[:8] if key else bytes(8),
        encrypted=key is not None,
        consistent=True,
        partitions=tuple(
            EpochPartition(n, Consistency.NOT_IN_USE, kind, start, length)
            for n, kind, start, length in partitions
        ),
    )
    return MemoryEpoch(epoch, bytes(pages), stored)


def _chunk_of(
    fd: int, chunk: int, content_bytes: int, key: bytes | None, skip: Callable[[int], bool]
) -> tuple[int, bytes]:
    mask, blocks = 0, []
    for index in range(16):
        number = chunk * 16 + index
        if number * BLOCK >= content_bytes or skip(number):
            continue
        block = os.pread(fd, BLOCK, number * BLOCK).ljust(BLOCK, b"\0")
        if block.strip(b"\0"):
            mask |= 1 << index
            blocks.append(encrypt(key, number, block) if key else block)
    return mask, b"".join(blocks)
