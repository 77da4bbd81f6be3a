"""Batches of the history ring: their headers and entries as bytes.

Byte table: docs/segment-format.md, "The history ring".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.segment.assignment import NO_POSITION
from blockrep.segment.epoch import EPOCH_BYTES, parse_epoch
from blockrep.segment.geometry import BLOCK_BYTES

MAX_ENTRIES = 256
# As many as there are in a single header page.
PAGE_ENTRIES = 61

_MAGIC = b"BLKRRING"
_VERSION = 1
_HEAD = struct.Struct("<8sII16sQ16sIIIIQQQ32s32s")
_ENTRY = struct.Struct("<QHHHHI12x32s")
_DIGEST_OFFSET = 128
_DIGEST_END = 160
_EPOCH_OFFSET = 512
_FLAG_DAMAGED = 1
_LIMIT = 1 << 62


class BatchKind(IntEnum):
    """What is in a batch."""

    EPOCH = 1  # the record of the epoch that the following batches lead back to
    OLD = 2  # old entries of the map, and old content


class OldEntry(NamedTuple):
    """What a chunk was before it was written over."""

    chunk: int
    mask: int
    kept: int
    saved: int  # blocks whose content is in the data pages, ascending
    damaged: bool  # the content did not agree with the digest when it was saved
    first_page: int  # of its content, from the first data page of the batch
    digest: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch without its content; `position` is that of its first page."""

    kind: BatchKind
    segment: bytes
    position: int
    applying: bytes
    data_pages: int
    time_s: int
    uptime_s: int
    before: int  # kind EPOCH: position of the one before, or NO_POSITION
    chain: bytes
    header_pages: int = 1
    digest: bytes = b""
    entry_count: int = 0

    @property
    def pages(self) -> int:
        return self.header_pages + self.data_pages

    @property
    def end(self) -> int:
        return self.position + self.pages


def header_pages_for(entries: int) -> int:
    """The pages of the header of a batch of old content."""
    return -(-(_HEAD.size + entries * _ENTRY.size) // BLOCK_BYTES)


def build_epoch_batch(batch: Batch, record: bytes, view: memoryview) -> bytes:
    """Fill the page `view` with a batch of kind EPOCH; gives its digest."""
    view[:] = bytes(len(view))
    view[_EPOCH_OFFSET : _EPOCH_OFFSET + EPOCH_BYTES] = record
    return _seal(batch, 0, view)


def build_old_batch(batch: Batch, entries: Sequence[OldEntry], view: memoryview) -> bytes:
    """Fill the header pages of `view`, whose data pages are there; gives the batch's digest."""
    header_bytes = batch.header_pages * BLOCK_BYTES
    view[:header_bytes] = bytes(header_bytes)
    for index, entry in enumerate(entries):
        chunk, mask, kept, saved, damaged, first_page, digest = entry
        flags = _FLAG_DAMAGED * damaged
        at = _HEAD.size + index * _ENTRY.size
        _ENTRY.pack_into(view, at, chunk, mask, kept, saved, flags, first_page, digest)
    return _seal(batch, len(entries), view)


def _seal(batch: Batch, entries: int, view: memoryview) -> bytes:
    _HEAD.pack_into(
        view,
        0,
        *(_MAGIC, _VERSION, batch.kind, batch.segment, batch.position, batch.applying),
        *(entries, batch.header_pages, batch.data_pages, 0),
        *(batch.time_s, batch.uptime_s, batch.before, batch.chain, bytes(32)),
    )
    digest = hashlib.sha256(view).digest()
    view[_DIGEST_OFFSET:_DIGEST_END] = digest
    return digest


def parse_batch(page: bytes | memoryview, ring_pages: int) -> Batch:
    """The fixed part of a batch, from its first page; its digest is not checked.

    `RecordDamaged` for what is none, `RecordUnsupported` for one of a newer version.
    """
    fields = _HEAD.unpack_from(page)
    magic, version, kind, segment, position, applying, entries, headers, data, reserved = fields[
        :10
    ]
    if magic != _MAGIC:
        raise RecordDamaged("this is no batch of a history ring")
    if version != _VERSION or kind not in tuple(BatchKind):
        raise RecordUnsupported(f"a batch of version {version} and kind {kind}")
    time_s, uptime_s, before, chain, digest = fields[10:]
    batch = Batch(
        *(BatchKind(kind), segment, position, applying, data, time_s, uptime_s, before, chain),
        header_pages=headers,
        digest=digest,
        entry_count=entries,
    )
    is_epoch = batch.kind is BatchKind.EPOCH
    sensible = (
        reserved == 0
        and max(position, time_s, uptime_s) < _LIMIT
        and (before == NO_POSITION or before < position)
        and batch.pages <= ring_pages
        and entries <= (0 if is_epoch else MAX_ENTRIES)
        and headers == (1 if is_epoch else header_pages_for(entries))
        and data <= 16 * entries
    )
    if not sensible:
        raise RecordDamaged(f"the batch at {position} of a history ring makes no sense")
    return batch


def parse_entries(batch: Batch, header: bytes | memoryview, chunks: int) -> list[OldEntry]:
    """The entries of a batch of kind OLD from its header pages, each chunk below `chunks`."""
    if len(header) != batch.header_pages * BLOCK_BYTES:
        raise RecordDamaged("the header of a batch is not whole")
    table = header[_HEAD.size : _HEAD.size + batch.entry_count * _ENTRY.size]
    found: list[OldEntry] = []
    pages, last = 0, -1
    for chunk, mask, kept, saved, flags, first_page, digest in _ENTRY.iter_unpack(table):
        if not last < chunk < chunks or first_page != pages or flags & ~_FLAG_DAMAGED:
            raise RecordDamaged(f"the batch at {batch.position} contradicts itself")
        last = chunk
        pages += saved.bit_count()
        found.append(OldEntry(chunk, mask, kept, saved, bool(flags), first_page, digest))
    if pages != batch.data_pages:
        raise RecordDamaged(f"the batch at {batch.position} has another length than its entries")
    return found


def parse_epoch_record(page: bytes | memoryview) -> bytes:
    """The epoch record of a batch of kind EPOCH."""
    record = bytes(page[_EPOCH_OFFSET : _EPOCH_OFFSET + EPOCH_BYTES])
    parse_epoch(record)
    return record


class BatchHasher:
    """The digest of a batch whose pages come one after the other."""

    def __init__(self, first_page: bytes | memoryview) -> None:
        self._hash = hashlib.sha256(first_page[:_DIGEST_OFFSET])
        self._hash.update(bytes(_DIGEST_END - _DIGEST_OFFSET))
        self._hash.update(first_page[_DIGEST_END:])

    def update(self, pages: bytes | memoryview) -> None:
        self._hash.update(pages)

    def finish(self) -> bytes:
        return self._hash.digest()
