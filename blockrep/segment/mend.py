"""A page of the map whose checksum is wrong: each of its chunks is asked what it is.

A write that was torn changes only entries that the ring names; rot may change any. So an entry
that its chunk agrees with stays; of the others only those are left as they are that settling
looks at anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from blockrep.chunks import EMPTY, ENTRIES_PER_PAGE, Entry, empty_pages, get_entry, set_entry
from blockrep.disk.device import new_buffer
from blockrep.segment.geometry import CHUNK_BYTES
from blockrep.segment.part import SegmentPart
from blockrep.stage import NO_SLOT, StageChunk, check_chunks

ALL_BLOCKS = 0xFFFF
CHECK_CHUNKS = 64  # are read and checked at once


def agreeing(part: SegmentPart, entries: list[tuple[int, Entry]]) -> list[bool]:
    """Whether the data of each of at most `CHECK_CHUNKS` ascending chunks has its digest."""
    buffer = new_buffer(max(1, len(entries)) * CHUNK_BYTES)
    part.read_slots([chunk for chunk, _ in entries], buffer)
    return agreeing_slots([entry for _, entry in entries], buffer)


def agreeing_slots(entries: list[Entry], buffer: memoryview) -> list[bool]:
    """The same for chunks that were read into slots."""
    table = [
        StageChunk(0, 0, entry.mask, 0, slot, EMPTY.digest, entry.digest)
        if entry.mask
        else StageChunk(0, 0, 0, 0, NO_SLOT, EMPTY.digest, EMPTY.digest)
        for slot, entry in enumerate(entries)
    ]
    checked = check_chunks(table, b"", buffer)
    return [
        check.old_good if entry.mask else entry.digest == EMPTY.digest
        for entry, check in zip(entries, checked, strict=True)
    ]


def mend_page(
    part: SegmentPart, number: int, page: bytearray, is_named: Callable[[int], bool]
) -> list[int]:
    """Make the page sound; the chunks whose entries are lost, and are empty now.

    What a kept version needs of a chunk is not known any more, hence everything is kept.
    """
    chunks = part.geometry.data_bytes // CHUNK_BYTES
    first = number * ENTRIES_PER_PAGE
    numbers = range(first, min(first + ENTRIES_PER_PAGE, chunks))
    old = [(chunk, get_entry(page, number, chunk)) for chunk in numbers]
    good: list[bool] = []
    for at in range(0, len(old), CHECK_CHUNKS):
        good += agreeing(part, old[at : at + CHECK_CHUNKS])
    page[:] = empty_pages(number, 1)
    lost = []
    for (chunk, entry), agrees in zip(old, good, strict=True):
        if not agrees and not is_named(chunk):
            lost.append(chunk)
            entry = EMPTY
        set_entry(page, number, chunk, entry._replace(kept=ALL_BLOCKS & ~entry.mask))
    return lost
