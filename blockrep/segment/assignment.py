"""To whom a segment belongs and what it holds: bytes 140 to 4,095 of an assigned header.

Byte table: docs/segment-format.md, "The assignment".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.segment.epoch import EPOCH_BYTES, NO_ID, parse_epoch

ASSIGNMENT_OFFSET = 140
NAME_BYTES = 64
MAX_ESCROW_BYTES = 2044
NO_POSITION = (1 << 64) - 1
NO_CHAIN = bytes(32)

_FLAG_BASE_LOST = 1
_FIXED = struct.Struct("<I16s32s16s64s16sQQQQQ32s16sQQQQQQ88x")
_EPOCH_OFFSET = 512
_ESCROW_OFFSET = 1536
_ESCROW_END = 3584
_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class Held:
    """An assigned segment. Positions are of pages in the ring; times are seconds."""

    group_id: bytes
    owner_key: bytes
    device_id: bytes
    owner_name: str
    writer: bytes
    content_bytes: int  # of the first area that it was assigned for
    lock_s: int
    map_generation: int
    tail: int  # the oldest kept batch
    head: int  # where the next epoch's batches go, or those of the one that is being applied
    chain: bytes  # digest of the batch before head
    assigned_at_s: int
    uptime_s: int
    clock_s: int  # the wall clock when the header was written
    committed_uptime_s: int = 0
    newest: int = NO_POSITION  # the batch of the newest older version; or NO_POSITION
    committed_at_s: int = 0
    applying: bytes = NO_ID
    base_lost: bool = False
    epoch: bytes = b""  # the record of the epoch that can be read whole; empty: none
    escrow: bytes = b""


def build_assignment(held: Held, record: bytearray) -> None:
    """Put it into the record of a header."""
    name = held.owner_name.encode()
    _FIXED.pack_into(
        record,
        ASSIGNMENT_OFFSET,
        *(_FLAG_BASE_LOST * held.base_lost, held.group_id, held.owner_key, held.device_id, name),
        *(held.writer, held.content_bytes, held.lock_s, held.map_generation),
        *(held.tail, held.head, held.chain, held.applying),
        *(held.assigned_at_s, held.uptime_s, held.clock_s),
        *(held.committed_uptime_s, held.newest, held.committed_at_s),
    )
    record[_EPOCH_OFFSET : _EPOCH_OFFSET + EPOCH_BYTES] = held.epoch.ljust(EPOCH_BYTES, b"\0")
    escrow = struct.pack("<I", len(held.escrow)) + held.escrow
    record[_ESCROW_OFFSET : _ESCROW_OFFSET + len(escrow)] = escrow


def parse_assignment(record: bytes, applying: bool) -> Held:
    """The opposite; `RecordDamaged` for what contradicts itself, or the state in the header."""
    flags, *fields = _FIXED.unpack_from(record, ASSIGNMENT_OFFSET)
    if flags & ~_FLAG_BASE_LOST:
        raise RecordUnsupported(f"an assignment with the unknown flags {flags:#x}")
    group, owner, device, name, writer, content, lock, generation, *rest = fields
    tail, head, chain, applied, assigned, uptime, clock, committed, newest, committed_at = rest
    held = Held(
        *(group, owner, device, parse_name(name), writer, content, lock, generation),
        *(tail, head, chain, assigned, uptime, clock, committed, newest, committed_at),
        applying=applied,
        base_lost=bool(flags & _FLAG_BASE_LOST),
        epoch=_epoch_of(record),
        escrow=_escrow_of(record),
    )
    _check(held, applying)
    return held


def parse_name(field: bytes) -> str:
    """A name padded with zeros; `RecordDamaged` unless it is UTF-8 without control characters."""
    text = field.rstrip(b"\0")
    try:
        name = text.decode()
    except UnicodeDecodeError as error:
        raise RecordDamaged("the name of an owner is not UTF-8") from error
    if not is_name(name):
        raise RecordDamaged("the name of an owner is not printable")
    return name


def is_name(name: str) -> bool:
    """Whether it may stand in a header: short, and nothing that a terminal would act on."""
    return len(name.encode()) <= NAME_BYTES and name.isprintable()


def _epoch_of(record: bytes) -> bytes:
    epoch = record[_EPOCH_OFFSET : _EPOCH_OFFSET + EPOCH_BYTES]
    if not any(epoch):
        return b""
    parse_epoch(epoch)
    return epoch


def _escrow_of(record: bytes) -> bytes:
    length = struct.unpack_from("<I", record, _ESCROW_OFFSET)[0]
    if length > MAX_ESCROW_BYTES:
        raise RecordDamaged(f"a segment header with {length} bytes of escrow")
    at = _ESCROW_OFFSET + 4
    if any(record[at + length : _ESCROW_END]):
        raise RecordDamaged("a segment header has something behind its escrow")
    return record[at : at + length]


def _check(held: Held, applying: bool) -> None:
    numbers = (held.content_bytes, held.lock_s, held.map_generation, held.head, held.assigned_at_s)
    clocks = (held.uptime_s, held.clock_s, held.committed_uptime_s, held.committed_at_s)
    without_base = not held.epoch if applying else False
    sensible = (
        all(number < _LIMIT for number in (*numbers, *clocks))
        and held.tail <= held.head
        and applying == (held.applying != NO_ID)
        and held.base_lost == without_base
        and (held.newest == NO_POSITION) == (held.tail == held.head)
        and (held.newest == NO_POSITION or held.tail <= held.newest < held.head)
    )
    if not sensible:
        raise RecordDamaged("the segment header contradicts itself about what it holds")
