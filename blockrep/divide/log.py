"""The transaction log: old and new images of everything that a transaction overwrites.

It is written and flushed whole before the lock, and read back for the apply, so a recovery takes
the same way as every ordinary run. Format: docs/log-format.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from blockrep.disk.device import Device
from blockrep.divide.lock import LogPlace, LogPointer
from blockrep.divide.log_store import ALIGN_BYTES, DiskStore, LogStore
from blockrep.errors import DeviceIO, RecoverFailed
from blockrep.extents import Extent, round_up

HEADER_BYTES = 4096
MAGIC = b"BLKREPLG"
VERSION = 1
HEADER_FORMAT = "<8sII16sQQ32sQQI28x"
EXTENTS_OFFSET = 128
MAX_EXTENTS = 240
DIGEST_OFFSET = 4064
MAX_STAGES = 64
MAX_RECORDS = 1 << 21
MAX_RECORD_BYTES = 8 << 20
RECORD_FORMAT = "<QQIIQ"
RECORD_BYTES = struct.calcsize(RECORD_FORMAT)
SECTOR_BYTES = 512
PIECE_BYTES = 4 << 20

HAS_OLD = 1
HAS_NEW = 2
NEW_IS_ZEROS = 4
NEW_IS_ON_DISK = 8


class LogKind(IntEnum):
    DIVIDE = 1
    UNDIVIDE = 2
    DEFRAGMENT = 3


class StageKind(IntEnum):
    LOCK = 1
    METADATA = 2
    SUPER_HIGH = 3
    SUPER_LOW = 4
    BACKUPS = 5
    TABLE = 6
    SECOND_AREA = 7


@dataclass(frozen=True, slots=True)
class Change:
    """One overwritten range: what to log of it.

    `old` and `new` are read when the log is written. `zeros` says that the new image is zeros.
    `source` says that it stands on the disk at that offset and stays there until the commit point.
    `old_digest`, where given, is what the old content must still have (BLAKE2b, 16 bytes).
    """

    offset_bytes: int
    length_bytes: int
    old: Callable[[], bytes] | None = None
    new: Callable[[], bytes] | None = None
    zeros: bool = False
    source: int | None = None
    old_digest: bytes = b""

    @property
    def flags(self) -> int:
        flags = HAS_OLD if self.old else 0
        if self.zeros:
            return flags | NEW_IS_ZEROS
        if self.source is not None:
            return flags | NEW_IS_ON_DISK
        return flags | (HAS_NEW if self.new else 0)

    @property
    def stored_bytes(self) -> int:
        return self.length_bytes * ((self.flags & HAS_OLD) + (self.flags & HAS_NEW) // HAS_NEW)


@dataclass(frozen=True, slots=True)
class ChangeStage:
    kind: StageKind
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One range of a log that was read; positions are those of its images in the log."""

    offset_bytes: int
    length_bytes: int
    flags: int
    old_at: int
    new_at: int
    source: int


@dataclass(frozen=True, slots=True)
class RecordStage:
    kind: StageKind
    records: tuple[Record, ...]


def image_digest(data: bytes) -> bytes:
    """What `Change.old_digest` holds."""
    return hashlib.blake2b(data, digest_size=16).digest()


def log_bytes(stages: Sequence[ChangeStage]) -> int:
    """The space that a log of these stages takes, header included."""
    images = sum(c.stored_bytes for stage in stages for c in stage.changes)
    return round_up(HEADER_BYTES + len(_build_index(stages)) + images, ALIGN_BYTES)


def write_log(
    store: LogStore,
    kind: LogKind,
    transaction: bytes,
    host_offset_bytes: int,
    blocks_before: int,
    blocks_after: int,
    stages: Sequence[ChangeStage],
    advance: Callable[[int], None],
) -> bytes:
    """Write body, flush, header, flush; returns the first half of the header's digest.

    Nothing that anybody uses is changed, whatever fails. `DeviceIO` also when the old content of a
    range is not what the plan saw.
    """
    digest = hashlib.blake2b(digest_size=32)
    position, pending = HEADER_BYTES, bytearray()
    for piece in _body_pieces(stages):
        digest.update(piece)
        pending += piece
        if len(pending) >= PIECE_BYTES:
            whole = len(pending) - len(pending) % ALIGN_BYTES
            store.write(position, bytes(pending[:whole]))
            advance(whole)
            position += whole
            del pending[:whole]
    length = position + len(pending) - HEADER_BYTES
    store.write(position, bytes(pending) + bytes(-len(pending) % ALIGN_BYTES))
    # C3: the header must not become true before the body is, for which it vouches.
    store.flush()
    extents = store.extents if isinstance(store, DiskStore) else ()
    header = bytearray(HEADER_BYTES)
    struct.pack_into(
        HEADER_FORMAT, header, 0, MAGIC, VERSION, kind, transaction, host_offset_bytes, length,
        digest.digest(), blocks_before, blocks_after, len(extents),
    )  # fmt: skip
    for i, extent in enumerate(extents):
        struct.pack_into("<QQ", header, EXTENTS_OFFSET + 16 * i, *extent)
    check = hashlib.blake2b(header[:DIGEST_OFFSET], digest_size=32).digest()
    header[DIGEST_OFFSET:] = check
    store.write(0, bytes(header))
    store.flush()
    return check[:16]


def _build_index(stages: Sequence[ChangeStage]) -> bytes:
    parts = [struct.pack("<II", len(stages), sum(len(s.changes) for s in stages))]
    parts += [struct.pack("<II", s.kind, len(s.changes)) for s in stages]
    parts += [
        struct.pack(RECORD_FORMAT, c.offset_bytes, c.length_bytes, c.flags, 0, c.source or 0)
        for s in stages
        for c in s.changes
    ]
    index = b"".join(parts)
    return index + bytes(-len(index) % SECTOR_BYTES)


def _body_pieces(stages: Sequence[ChangeStage]) -> Iterator[bytes]:
    yield _build_index(stages)
    for change in (c for stage in stages for c in stage.changes):
        if change.old:
            data = change.old()
            # C2: the log must not say of a block what it no longer holds.
            if change.old_digest and image_digest(data) != change.old_digest:
                raise DeviceIO(f"bytes at {change.offset_bytes} changed while the plan was made")
            yield data
        if change.new and change.flags & HAS_NEW:
            yield change.new()


class Log:
    """A log that was read and proven whole; its images are read when asked for."""

    def __init__(
        self, device: Device, store: LogStore, header: bytes, stages: tuple[RecordStage, ...]
    ) -> None:
        self._device = device
        self._store = store
        self._header = header
        fields = struct.unpack_from(HEADER_FORMAT, header)
        self.kind = LogKind(fields[2])
        self.transaction: bytes = fields[3]
        self.host_offset_bytes: int = fields[4]
        self.blocks_before: int = fields[7]
        self.blocks_after: int = fields[8]
        self.stages = stages

    @property
    def digest(self) -> bytes:
        """What a lock holds of it."""
        return self._header[DIGEST_OFFSET : DIGEST_OFFSET + 16]

    def records(self, kind: StageKind) -> tuple[Record, ...]:
        """All records of one kind of stage, in order."""
        return tuple(r for stage in self.stages if stage.kind is kind for r in stage.records)

    def old(self, record: Record) -> bytes:
        """The content before the transaction."""
        return _read_range(self._store, record.old_at, record.length_bytes)

    def new(self, record: Record) -> bytes:
        """The content after the transaction."""
        if record.flags & NEW_IS_ZEROS:
            return bytes(record.length_bytes)
        if record.flags & NEW_IS_ON_DISK:
            return self._device.read(record.source, record.length_bytes)
        return _read_range(self._store, record.new_at, record.length_bytes)

    def invalidate(self) -> None:
        """The transaction is over: nothing may take this log for a live one again."""
        self._store.write(0, bytes(HEADER_BYTES))
        self._store.flush()


def read_log(device: Device, pointer: LogPointer, file: LogStore | None = None) -> Log:
    """The log that `pointer` names, proven whole; `RecoverFailed` says what is wrong with it.

    `file` is the store of a log that is not on the disk. Nothing is written.
    """
    if pointer.place is LogPlace.DISK:
        file = None
    elif file is None:
        raise RecoverFailed(
            f"the log is in a file (inode {pointer.position}) on another disk",
            hint="name it with --journal FILE",
        )
    first = (Extent(pointer.position, HEADER_BYTES),)
    header_store = file or DiskStore(device, first)
    header = header_store.read(0, HEADER_BYTES)
    extents = _check_header(header, pointer, device.size_bytes)
    store = file or DiskStore(device, extents)
    length = struct.unpack_from(HEADER_FORMAT, header)[5]
    _check_body(store, length, struct.unpack_from(HEADER_FORMAT, header)[6])
    return Log(device, store, header, _parse_index(store, length, device.size_bytes))


def _check_header(header: bytes, pointer: LogPointer, disk_bytes: int) -> tuple[Extent, ...]:
    magic, version, kind, transaction, _, length, _, _, _, count = struct.unpack_from(
        HEADER_FORMAT, header
    )
    check = hashlib.blake2b(header[:DIGEST_OFFSET], digest_size=32).digest()
    if magic != MAGIC or header[DIGEST_OFFSET:] != check:
        raise RecoverFailed("there is no whole log header where the disk says that it is")
    if version != VERSION or kind not in tuple(LogKind) or count > MAX_EXTENTS:
        raise RecoverFailed(f"the log has version {version}, kind {kind}: not known here")
    if transaction != pointer.transaction or not check.startswith(pointer.digest):
        raise RecoverFailed("the log found belongs to another transaction")
    extents = tuple(
        Extent(*struct.unpack_from("<QQ", header, EXTENTS_OFFSET + 16 * i)) for i in range(count)
    )
    sound = all(e.end <= disk_bytes and not (e.start | e.length) % ALIGN_BYTES for e in extents)
    if not sound or (extents and sum(e.length for e in extents) < HEADER_BYTES + length):
        raise RecoverFailed("the log's extents make no sense")
    return extents


def _check_body(store: LogStore, length: int, wanted: bytes) -> None:
    digest = hashlib.blake2b(digest_size=32)
    for at in range(0, length, PIECE_BYTES):
        digest.update(_read_range(store, HEADER_BYTES + at, min(PIECE_BYTES, length - at)))
    if digest.digest() != wanted:
        raise RecoverFailed("the log's body does not match its digest")


def _parse_index(store: LogStore, length: int, disk_bytes: int) -> tuple[RecordStage, ...]:
    stage_count, record_count = struct.unpack("<II", _read_range(store, HEADER_BYTES, 8))
    index_bytes = 8 + 8 * stage_count + RECORD_BYTES * record_count
    if stage_count > MAX_STAGES or record_count > MAX_RECORDS or index_bytes > length:
        raise RecoverFailed("the log's index makes no sense")
    index = _read_range(store, HEADER_BYTES, index_bytes)
    image_at = HEADER_BYTES + round_up(index_bytes, SECTOR_BYTES)
    record_at = 8 + 8 * stage_count
    stages = []
    for i in range(stage_count):
        kind, count = struct.unpack_from("<II", index, 8 + 8 * i)
        records = []
        for _ in range(count):
            if record_at + RECORD_BYTES > index_bytes:
                raise RecoverFailed("the log's index makes no sense")
            record = _parse_record(index, record_at, image_at, disk_bytes)
            image_at = record.new_at + (record.length_bytes if record.flags & HAS_NEW else 0)
            record_at += RECORD_BYTES
            records.append(record)
        if kind not in tuple(StageKind):
            raise RecoverFailed(f"the log has a stage of kind {kind}, not known here")
        stages.append(RecordStage(StageKind(kind), tuple(records)))
    if image_at != HEADER_BYTES + length:
        raise RecoverFailed("the log's index does not match its length")
    return tuple(stages)


def _parse_record(index: bytes, at: int, image_at: int, disk_bytes: int) -> Record:
    offset, length, flags, _, source = struct.unpack_from(RECORD_FORMAT, index, at)
    sound = 0 < length <= MAX_RECORD_BYTES and not (offset | length | source) % SECTOR_BYTES
    if not sound or max(offset, source) + length > disk_bytes:
        raise RecoverFailed(f"the log has a record of {length} bytes at {offset}")
    new_at = image_at + (length if flags & HAS_OLD else 0)
    return Record(offset, length, flags, image_at, new_at, source)


def _read_range(store: LogStore, position: int, length: int) -> bytes:
    """Any range, although stores speak in multiples of 4096."""
    base = position - position % ALIGN_BYTES
    data = store.read(base, round_up(position + length, ALIGN_BYTES) - base)
    return data[position - base : position - base + length]
