"""The lock and the pending mark: one sector each, with a superblock checksum that stays true.

Byte tables: docs/log-format.md, "The lock" and "The pending mark".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from blockrep.disk.superblock import (
    CHECKSUM_OFFSET,
    INCOMPAT_OFFSET,
    LAST_MOUNTED_BYTES,
    LAST_MOUNTED_OFFSET,
    with_checksum,
)
from blockrep.native import crc32c

LOCK_BIT = 0x80000000
LOCK_MAGIC = b"BLKREPLK"
LOCK_FORMAT = "<8sI16s16sQ8s"
FIX_OFFSET = LAST_MOUNTED_OFFSET + LAST_MOUNTED_BYTES - 4
HALF_BYTES = 512

MARK_MAGIC = b"BRPM"
MARK_FORMAT = "<4sI16sQ"
MARK_OFFSET = 0x3DC
MARK_BYTES = 32


class LogPlace(IntEnum):
    DISK = 1
    FILE = 2


@dataclass(frozen=True, slots=True)
class LogPointer:
    """Where the log of a transaction is, and which one it must be."""

    place: LogPlace
    transaction: bytes  # 16 bytes
    position: int  # byte offset on the disk, or the inode number of the file
    digest: bytes = b""  # 16 bytes; empty in a pending mark
    filesystem: bytes = bytes(8)  # of a log in a file: the start of the UUID of its filesystem


def build_lock(superblock: bytes, pointer: LogPointer) -> bytes:
    """The first 512 bytes of `superblock` (1024 bytes), locked."""
    locked = bytearray(superblock[:CHECKSUM_OFFSET])
    incompat = struct.unpack_from("<I", locked, INCOMPAT_OFFSET)[0]
    struct.pack_into("<I", locked, INCOMPAT_OFFSET, incompat | LOCK_BIT)
    struct.pack_into(
        LOCK_FORMAT,
        locked,
        LAST_MOUNTED_OFFSET,
        LOCK_MAGIC,
        pointer.place,
        pointer.transaction,
        pointer.digest,
        pointer.position,
        pointer.filesystem,
    )
    wanted = crc32c(0xFFFFFFFF, bytes(superblock[:CHECKSUM_OFFSET]))
    struct.pack_into("<I", locked, FIX_OFFSET, _solve(bytes(locked), FIX_OFFSET, wanted))
    return bytes(locked[:HALF_BYTES])


def parse_lock(superblock: bytes) -> LogPointer | None:
    """What a locked superblock (or its first half) points to; None when it is not locked by us."""
    (incompat,) = struct.unpack_from("<I", superblock, INCOMPAT_OFFSET)
    magic, place, transaction, digest, position, filesystem = struct.unpack_from(
        LOCK_FORMAT, superblock, LAST_MOUNTED_OFFSET
    )
    if not incompat & LOCK_BIT or magic != LOCK_MAGIC or place not in tuple(LogPlace):
        return None
    return LogPointer(LogPlace(place), transaction, position, digest, filesystem)


def add_mark(superblock: bytes, pointer: LogPointer) -> bytes:
    """`superblock` with the pending mark and a true checksum; only its second half differs."""
    mark = struct.pack(
        MARK_FORMAT, MARK_MAGIC, pointer.place, pointer.transaction, pointer.position
    )
    return with_checksum(superblock[:MARK_OFFSET] + mark + superblock[MARK_OFFSET + MARK_BYTES :])


def clear_mark(superblock: bytes) -> bytes:
    """`superblock` without the pending mark and with a true checksum."""
    rest = superblock[MARK_OFFSET + MARK_BYTES :]
    return with_checksum(superblock[:MARK_OFFSET] + bytes(MARK_BYTES) + rest)


def parse_mark(superblock: bytes) -> LogPointer | None:
    """What a pending mark points to; None when there is none."""
    magic, place, transaction, position = struct.unpack_from(MARK_FORMAT, superblock, MARK_OFFSET)
    if magic != MARK_MAGIC or place not in tuple(LogPlace):
        return None
    return LogPointer(LogPlace(place), transaction, position)


def _solve(message: bytes, offset: int, wanted: int) -> int:
    """The 32-bit value that, put at `offset`, gives `message` the CRC32C `wanted`.

    A CRC is affine in each bit of its input, so this is a 32 x 32 system over GF(2); four
    consecutive bytes always solve it.
    """
    base = crc32c(0xFFFFFFFF, message[:offset] + bytes(4) + message[offset + 4 :])
    pivots: dict[int, tuple[int, int]] = {}
    for bit in range(32):
        unit = struct.pack("<I", 1 << bit)
        column = base ^ crc32c(0xFFFFFFFF, message[:offset] + unit + message[offset + 4 :])
        choice = 1 << bit
        while column and column.bit_length() in pivots:
            other = pivots[column.bit_length()]
            column, choice = column ^ other[0], choice ^ other[1]
        pivots[column.bit_length()] = (column, choice)
    rest, value = wanted ^ base, 0
    while rest:
        column, choice = pivots[rest.bit_length()]
        rest, value = rest ^ column, value ^ choice
    return value
