"""Which blocks of a chunk an owner has to send: those whose short digests differ. Hints only."""

from __future__ import annotations

from collections.abc import Sequence

from blockrep.chunks import SHORT_DIGEST_BYTES, Entry, pick_blocks, short_digests
from blockrep.disk.device import new_buffer
from blockrep.errors import ProtocolError
from blockrep.segment.chunk_map import ChunkMap
from blockrep.segment.geometry import CHUNK_BYTES
from blockrep.segment.part import SegmentPart

MAX_COMPARED = 16
_ALL_BLOCKS = 0xFFFF

Compared = tuple[int, int, bytes, bytes]
"""A chunk as its owner has it: number, mask, digest, a short digest for each block of the mask."""


class Comparer:
    """Compares what owners say with what lies in the data."""

    def __init__(self, part: SegmentPart, chunk_map: ChunkMap) -> None:
        self._part = part
        self._map = chunk_map
        self._slots = new_buffer(MAX_COMPARED * CHUNK_BYTES)

    def wanted(self, salt: bytes, items: Sequence[Compared], verify: bool) -> list[int]:
        """The blocks to be sent of each chunk.

        A chunk whose entry has the digest already needs none; with `verify` its data is read all
        the same. `ProtocolError` for chunks that are too many, out of order or not there.
        """
        self._check(items)
        entries = self._map.entries([item[0] for item in items])
        differing = [
            (item, entry)
            for item, entry in zip(items, entries, strict=True)
            if verify or (item[1], item[2]) != (entry.mask, entry.digest)
        ]
        found = self._differing_blocks(salt, differing)
        return [found.get(item[0], 0) for item in items]

    def _differing_blocks(self, salt: bytes, pairs: list[tuple[Compared, Entry]]) -> dict[int, int]:
        slots = self._slots[: len(pairs) * CHUNK_BYTES]
        self._part.read_slots([item[0] for item, _ in pairs], slots)
        # What is neither stored nor kept is not the owner's: it may be of whoever had the segment
        # before, and nobody shall find out by comparing.
        here = [item[1] & (entry.mask | entry.kept) for item, entry in pairs]
        blocks = pick_blocks([_ALL_BLOCKS] * len(pairs), here, slots)
        mine = memoryview(short_digests(salt, blocks)).cast("Q").tolist()
        found, at = {}, 0
        for (item, _), known in zip(pairs, here, strict=True):
            count = known.bit_count()
            found[item[0]] = _blocks_to_send(item, known, mine[at : at + count])
            at += count
        return found

    def _check(self, items: Sequence[Compared]) -> None:
        last, chunks = -1, self._part.geometry.data_bytes // CHUNK_BYTES
        for chunk, mask, _, short in items:
            length = SHORT_DIGEST_BYTES * mask.bit_count()
            if not last < chunk < chunks or mask >> 16 or len(short) != length:
                raise ProtocolError(f"the comparison of chunk {chunk} contradicts itself")
            last = chunk
        if len(items) > MAX_COMPARED:
            raise ProtocolError(f"{len(items)} chunks are compared at once")


def _blocks_to_send(item: Compared, known: int, mine: list[int]) -> int:
    """The blocks of the mask that are not here, or differ; `mine` has those of `known`."""
    _, mask, _, short = item
    wanted, at = mask & ~known, 0
    for digest, bit in zip(memoryview(short).cast("Q").tolist(), _bits(mask), strict=True):
        if known & bit:
            if mine[at] != digest:
                wanted |= bit
            at += 1
    return wanted


def _bits(mask: int) -> list[int]:
    return [1 << n for n in range(16) if mask >> n & 1]
