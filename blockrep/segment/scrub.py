"""Reading all that a segment holds, to find what rots before somebody needs it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from blockrep.chunks import EMPTY
from blockrep.errors import RecordDamaged
from blockrep.segment.chunk_map import ChunkMap
from blockrep.segment.geometry import BLOCK_BYTES, CHUNK_BYTES
from blockrep.segment.mend import CHECK_CHUNKS, agreeing
from blockrep.segment.part import SegmentPart
from blockrep.segment.walk import NOT_A_BATCH, BatchReader


def damaged_chunks(part: SegmentPart, chunk_map: ChunkMap, first: int) -> tuple[list[int], int]:
    """Of the next `CHECK_CHUNKS` chunks those without their digest, and the bytes read."""
    chunks = part.geometry.data_bytes // CHUNK_BYTES
    numbers = range(first, min(first + CHECK_CHUNKS, chunks))
    pairs = zip(numbers, chunk_map.entries(numbers), strict=True)
    used = [(chunk, entry) for chunk, entry in pairs if entry.mask or entry.digest != EMPTY.digest]
    agrees = agreeing(part, used)
    found = [chunk for (chunk, _), good in zip(used, agrees, strict=True) if not good]
    return found, len(used) * CHUNK_BYTES


def check_batch(reader: BatchReader, position: int, chain: bytes | None) -> tuple[int, bytes, int]:
    """Read a batch of the ring whole: where the next one is, its digest, the bytes read.

    `RecordDamaged` when it is not what was written, or does not follow the one before.
    """
    try:
        batch, _ = reader.found(position)
        whole = chain in (None, batch.chain) and reader.is_whole(batch)
    except NOT_A_BATCH as error:
        raise RecordDamaged(f"the history ring is damaged at {position}: {error}") from error
    if not whole:
        raise RecordDamaged(f"the history ring is damaged at {position}")
    return batch.end, batch.digest, batch.pages * BLOCK_BYTES


def paced(steps: Iterator[tuple[list[int], int]], bytes_per_s: int) -> Iterator[int]:
    """What the steps find, with pauses between them so that others can use the disk; 0: none."""
    for found, done_bytes in steps:
        yield from found
        if bytes_per_s:
            time.sleep(done_bytes / bytes_per_s)
