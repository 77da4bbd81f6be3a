"""The record of an epoch: what an owner says, and signs, of its first area at one point in time.

Byte table: docs/segment-format.md, "An epoch record".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from blockrep.chunks import CHUNK_BYTES, chunk_count
from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.signature import is_signed_by

EPOCH_BYTES = 1024
MAX_PARTITIONS = 32
ID_BYTES = 16
KEY_BYTES = 32
NO_ID = bytes(ID_BYTES)

_MAGIC = b"BLKREPOC"
_VERSION = 1
_FLAG_ENCRYPTED = 1
_FLAG_CONSISTENT = 2
_FIXED = struct.Struct("<8sIIQ16s16s32s32s16s16s16sQQQQII8s8x")
_PARTITION = struct.Struct("<HBBQQ")
_PARTITIONS_AT = _FIXED.size
_SIGNED_BYTES = 896
_SIGNATURE_BYTES = 64
_SIGNED_PREFIX = b"blockrep epoch 1\0"
_SECTOR_SIZES = (512, 1024, 2048, 4096)
_LIMIT = 1 << 62  # of numbers, times and lengths, so that sums of two are no surprise
_RESERVED = (
    slice(_FIXED.size - 8, _FIXED.size),
    slice(_PARTITIONS_AT + MAX_PARTITIONS * _PARTITION.size, _SIGNED_BYTES),
    slice(_SIGNED_BYTES + _SIGNATURE_BYTES, EPOCH_BYTES),
)


class Consistency(IntEnum):
    """What is known of a partition at the moment of the epoch."""

    UNKNOWN = 0
    NOT_IN_USE = 1  # unmounted, clean
    FROZEN = 2
    STABLE = 3  # two equal reads
    INCONSISTENT = 4


class PartitionKind(IntEnum):
    """What lies in a partition, as far as it matters for what is replicated."""

    OTHER = 0  # read whole
    EXT = 1  # ext2, ext3, ext4
    SWAP = 2
    FAT = 3
    EMPTY = 4


@dataclass(frozen=True, slots=True)
class EpochPartition:
    """A partition of the owner's first area; `number` 0 for a filesystem without a table."""

    number: int
    consistency: Consistency
    kind: PartitionKind
    start_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a record says. Ids have 16 bytes, keys and the root 32, `key_id` 8."""

    number: int
    id: bytes
    parent: bytes
    root: bytes
    owner_key: bytes
    device: bytes
    group: bytes
    writer: bytes
    time_s: int
    content_bytes: int
    stored_bytes: int
    disk_bytes: int
    sector_bytes: int
    key_id: bytes
    encrypted: bool
    consistent: bool
    partitions: tuple[EpochPartition, ...]


def build_epoch(epoch: Epoch, sign: Callable[[bytes], bytes]) -> bytes:
    """The 1,024 bytes; `sign` makes the Ed25519 signature by the owner key."""
    record = bytearray(EPOCH_BYTES)
    flags = _FLAG_ENCRYPTED * epoch.encrypted | _FLAG_CONSISTENT * epoch.consistent
    _FIXED.pack_into(
        record,
        0,
        *(_MAGIC, _VERSION, flags, epoch.number, epoch.id, epoch.parent, epoch.root),
        *(epoch.owner_key, epoch.device, epoch.group, epoch.writer),
        *(epoch.time_s, epoch.content_bytes, epoch.stored_bytes, epoch.disk_bytes),
        *(epoch.sector_bytes, len(epoch.partitions), epoch.key_id),
    )
    for index, part in enumerate(epoch.partitions):
        _PARTITION.pack_into(
            record,
            _PARTITIONS_AT + index * _PARTITION.size,
            *(part.number, part.consistency, part.kind, part.start_bytes, part.length_bytes),
        )
    signature = sign(_signed_part(record))
    record[_SIGNED_BYTES : _SIGNED_BYTES + _SIGNATURE_BYTES] = signature
    parse_epoch(record)
    return bytes(record)


def parse_epoch(data: bytes | bytearray | memoryview) -> Epoch:
    """What the record says; its signature is not looked at.

    `RecordDamaged` for what is no record that makes sense, `RecordUnsupported` for one of a newer
    version.
    """
    if len(data) != EPOCH_BYTES:
        raise RecordDamaged(f"an epoch record has {EPOCH_BYTES} bytes, not {len(data)}")
    magic, version, flags, *rest = _FIXED.unpack_from(data)
    if magic != _MAGIC:
        raise RecordDamaged("this is no epoch record")
    if version != _VERSION or flags & ~(_FLAG_ENCRYPTED | _FLAG_CONSISTENT):
        raise RecordUnsupported(f"an epoch record of version {version} with flags {flags:#x}")
    if any(any(data[part]) for part in _RESERVED):
        raise RecordDamaged("an epoch record has something where nothing may be")
    *known, count, key_id = rest
    encrypted, consistent = bool(flags & _FLAG_ENCRYPTED), bool(flags & _FLAG_CONSISTENT)
    fields = [*known, key_id, encrypted, consistent, _parse_partitions(data, count)]
    epoch = Epoch(*fields)
    _check_numbers(epoch)
    return epoch


def verify_epoch(data: bytes, owner_key: bytes) -> Epoch:
    """The same, signed by this owner; `RecordDamaged` when it is not."""
    epoch = parse_epoch(data)
    if epoch.owner_key != owner_key:
        raise RecordDamaged(f"epoch {epoch.number} is of another owner")
    signature = data[_SIGNED_BYTES : _SIGNED_BYTES + _SIGNATURE_BYTES]
    if not is_signed_by(owner_key, signature, _signed_part(data)):
        raise RecordDamaged(f"the signature of epoch {epoch.number} is wrong")
    return epoch


def _signed_part(data: bytes | bytearray) -> bytes:
    return _SIGNED_PREFIX + bytes(data[:_SIGNED_BYTES])


def _parse_partitions(
    data: bytes | bytearray | memoryview, count: int
) -> tuple[EpochPartition, ...]:
    if count > MAX_PARTITIONS:
        raise RecordDamaged(f"an epoch with {count} partitions, {MAX_PARTITIONS} is the most")
    end = _PARTITIONS_AT + MAX_PARTITIONS * _PARTITION.size
    used = _PARTITIONS_AT + count * _PARTITION.size
    if any(data[used:end]):
        raise RecordDamaged("an epoch record has something behind its last partition")
    found = []
    for number, consistency, kind, start, length in _PARTITION.iter_unpack(
        data[_PARTITIONS_AT:used]
    ):
        if consistency not in tuple(Consistency) or kind not in tuple(PartitionKind):
            raise RecordDamaged(f"partition {number} of an epoch is of no known kind")
        found.append(
            EpochPartition(number, Consistency(consistency), PartitionKind(kind), start, length)
        )
    return tuple(found)


def _check_numbers(epoch: Epoch) -> None:
    numbers = (epoch.number, epoch.time_s, epoch.content_bytes, epoch.disk_bytes)
    ends = tuple(part.start_bytes + part.length_bytes for part in epoch.partitions)
    sensible = (
        epoch.number >= 1
        and all(number < _LIMIT for number in numbers)
        and epoch.id != NO_ID
        and 0 < epoch.content_bytes <= epoch.disk_bytes
        and epoch.stored_bytes <= chunk_count(epoch.content_bytes) * CHUNK_BYTES
        and epoch.sector_bytes in _SECTOR_SIZES
        and all(end <= epoch.disk_bytes for end in ends)
    )
    if not sensible:
        raise RecordDamaged(f"epoch record {epoch.number} makes no sense")
