"""What is done with an epoch that was cut: after it every chunk agrees with its map entry again.

A cut leaves any part of the writes since the last flush. The ring names each chunk that may have
been written; one that agrees with its entry, old or new, stays, so that the owner need not send it
again; of the others the old content and the old entry are put back (S4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blockrep.chunks import EMPTY, ENTRIES_PER_PAGE, PAGE_BYTES, Entry, get_entry
from blockrep.segment.assignment import Held
from blockrep.segment.batch import BatchKind
from blockrep.segment.chunk_map import ChunkMap
from blockrep.segment.geometry import CHUNK_BYTES
from blockrep.segment.mend import CHECK_CHUNKS, agreeing
from blockrep.segment.part import SegmentPart
from blockrep.segment.ring import Ring
from blockrep.segment.saved import SavedBlocks
from blockrep.segment.undo import Restorer, named_groups
from blockrep.segment.version_index import VersionIndex
from blockrep.segment.walk import BatchReader, unfinished_batches


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What the ring says of the epoch that was cut: its end, and what it has saved."""

    end: int
    chain: bytes
    saved: SavedBlocks
    index: VersionIndex


def read_unfinished(reader: BatchReader, held: Held, chunks: int) -> Unfinished:
    """Follow the batches of the epoch that is being applied; `DeviceIO`."""
    index = VersionIndex(reader, held.head, chunks)
    saved = SavedBlocks(chunks)
    end, chain = held.head, held.chain
    has_versions = held.tail < held.head
    limit = held.tail + reader.ring.pages
    for batch, entries in unfinished_batches(reader, end, limit, chain, held.applying):
        if (batch.kind is BatchKind.EPOCH) != (end == held.head):
            break
        index.add(batch.position, entries)
        for entry in entries:
            saved.add(entry, entry.mask | (entry.kept if has_versions else 0))
        end, chain = batch.end, batch.digest
    index.end = end
    return Unfinished(end, chain, saved, index)


def settle_over_base(
    part: SegmentPart, ring: Ring, chunk_map: ChunkMap, unfinished: Unfinished
) -> int:
    """Make every chunk agree with its entry; gives how many were put back."""
    chunks = part.geometry.data_bytes // CHUNK_BYTES
    restorer = Restorer(part, ring, chunk_map)
    put_back = 0
    for group in named_groups(unfinished.index, chunks):
        entries = list(zip(group, chunk_map.entries(group), strict=True))
        agrees = agreeing(part, entries)
        torn = [chunk for chunk, good in zip(group, agrees, strict=True) if not good]
        restorer.put_back(torn, unfinished.index)
        put_back += len(torn)
    return put_back


def settle_without_base(part: SegmentPart, chunk_map: ChunkMap) -> int:
    """The same where nothing was saved: a chunk that does not agree becomes empty."""
    emptied = 0
    for group in used_groups(chunk_map, part.geometry.data_bytes // CHUNK_BYTES):
        agrees = agreeing(part, group)
        torn = [chunk for (chunk, _), good in zip(group, agrees, strict=True) if not good]
        chunk_map.entries(torn)
        for chunk in torn:
            chunk_map.set(chunk, EMPTY)
        chunk_map.write_changed()
        emptied += len(torn)
    return emptied


def used_groups(chunk_map: ChunkMap, chunks: int) -> Iterator[list[tuple[int, Entry]]]:
    """All chunks whose entries are not empty, in groups of at most `CHECK_CHUNKS`."""
    group: list[tuple[int, Entry]] = []
    for first, pages in chunk_map.sound_pages():
        start = first * ENTRIES_PER_PAGE
        count = len(pages) // PAGE_BYTES * ENTRIES_PER_PAGE
        for chunk in range(start, min(start + count, chunks)):
            entry = get_entry(pages, first, chunk)
            if entry != EMPTY:
                group.append((chunk, entry))
            if len(group) == CHECK_CHUNKS:
                yield group
                group = []
    yield group
