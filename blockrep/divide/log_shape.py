"""What a log must hold beside true digests before a recovery acts on it."""

from __future__ import annotations

from blockrep.disk.superblock import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES
from blockrep.divide.lock import HALF_BYTES
from blockrep.divide.log import (
    HAS_NEW,
    HAS_OLD,
    NEW_IS_ON_DISK,
    NEW_IS_ZEROS,
    Log,
    Record,
    StageKind,
)
from blockrep.errors import RecoverFailed

NEW_FLAGS = HAS_NEW | NEW_IS_ZEROS | NEW_IS_ON_DISK
# The images that a record of each kind needs to be carried forward and back.
NEEDS_OLD = {StageKind.LOCK, StageKind.METADATA, StageKind.SUPER_HIGH, StageKind.SUPER_LOW}


def refuse_misshapen(log: Log) -> None:
    """`RecoverFailed` for a log that no transaction writes: nothing of it is to be believed."""
    at = log.host_offset_bytes + SUPERBLOCK_OFFSET_BYTES
    locks = log.records(StageKind.LOCK)
    sound = (
        bool(locks)
        and locks[0].offset_bytes == at
        and all(
            r.length_bytes == SUPERBLOCK_BYTES for r in (*locks, *log.records(StageKind.BACKUPS))
        )
        and _is_half(log.records(StageKind.SUPER_HIGH), at + HALF_BYTES)
        and _is_half(log.records(StageKind.SUPER_LOW), at)
        and all(_has_images(s.kind, r) for s in log.stages for r in s.records)
    )
    if not sound:
        raise RecoverFailed("the log is not one of a divide or undivide")


def _is_half(records: tuple[Record, ...], at: int) -> bool:
    return [(r.offset_bytes, r.length_bytes) for r in records] == [(at, HALF_BYTES)]


def _has_images(kind: StageKind, record: Record) -> bool:
    new = record.flags & NEW_FLAGS
    if kind in NEEDS_OLD and not record.flags & HAS_OLD:
        return False
    return kind is StageKind.LOCK or new in (HAS_NEW, NEW_IS_ZEROS, NEW_IS_ON_DISK)
