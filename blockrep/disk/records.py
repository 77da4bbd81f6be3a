"""What all our records on disk share: magic, version, checksum, flags, generation, two slots.

Bytes 0-31 of every version of every record (docs/area-format.md): magic 8, version 4, CRC-32C 4,
compatible flags 4, incompatible flags 4, generation 8; little-endian. The checksum covers the
whole record, its own field taken as zero.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.native import crc32c

PREFIX = struct.Struct("<8sIIIIQ")
CHECKSUM_OFFSET = 12
VERSION = 1
GENERATION_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class RecordKind:
    """A kind of record: `name` is what messages call it, `incompat_known` the flags we know."""

    name: str
    magic: bytes
    length_bytes: int
    incompat_known: int = 0


def build_prefix(kind: RecordKind, generation: int, incompat: int = 0) -> bytes:
    """The first 32 bytes; `seal_record` fills in the checksum."""
    return PREFIX.pack(kind.magic, VERSION, 0, 0, incompat, generation)


def seal_record(record: bytearray) -> bytes:
    """Put the checksum over everything else into its place."""
    struct.pack_into("<I", record, CHECKSUM_OFFSET, _checksum(record))
    return bytes(record)


def incompat_of(record: bytes) -> int:
    """The incompatible flags of a record."""
    return int(PREFIX.unpack_from(record)[4])


def slot_of(generation: int) -> int:
    """The slot that holds this generation: an update never overwrites the record before it."""
    return generation % 2


def newest_record(kind: RecordKind, slots: Sequence[bytes]) -> bytes | None:
    """The valid record of the higher generation; None where neither slot has the magic.

    `RecordDamaged` when there is the magic but no valid record. `RecordUnsupported` when the
    newest is of an unknown version or has an unknown incompatible flag.
    """
    valid = [data for slot, data in enumerate(slots) if _is_valid(kind, slot, data)]
    if valid:
        newest = max(valid, key=_generation)
        check_known(kind, newest)
        return newest
    if any(data[:8] == kind.magic for data in slots):
        raise RecordDamaged(f"the {kind.name} is damaged in both of its places")
    return None


def check_sealed(kind: RecordKind, data: bytes) -> None:
    """`RecordDamaged` unless length, magic, checksum and generation are those of a record."""
    if len(data) != kind.length_bytes:
        raise RecordDamaged(f"a {kind.name} has {kind.length_bytes} bytes, not {len(data)}")
    if data[:8] != kind.magic:
        raise RecordDamaged(f"this is no {kind.name}")
    if struct.unpack_from("<I", data, CHECKSUM_OFFSET)[0] != _checksum(data):
        raise RecordDamaged(f"the checksum of the {kind.name} is wrong")
    if not 1 <= _generation(data) < GENERATION_LIMIT:
        raise RecordDamaged(f"the {kind.name} has the impossible generation {_generation(data)}")


def check_known(kind: RecordKind, data: bytes) -> None:
    """`RecordUnsupported` for a version or an incompatible flag that we do not know."""
    _, version, _, _, incompat, _ = PREFIX.unpack_from(data)
    if version != VERSION:
        raise RecordUnsupported(f"the {kind.name} has version {version}, known is {VERSION}")
    unknown = incompat & ~kind.incompat_known
    if unknown:
        raise RecordUnsupported(f"the {kind.name} needs the unknown features {unknown:#x}")


def _is_valid(kind: RecordKind, slot: int, data: bytes) -> bool:
    try:
        check_sealed(kind, data)
    except RecordDamaged:
        return False
    return slot_of(_generation(data)) == slot


def _generation(data: bytes) -> int:
    return int(PREFIX.unpack_from(data)[5])


def _checksum(record: bytes | bytearray) -> int:
    rest = bytes(record[:CHECKSUM_OFFSET]) + bytes(4) + bytes(record[CHECKSUM_OFFSET + 4 :])
    return crc32c(0xFFFFFFFF, rest) ^ 0xFFFFFFFF
