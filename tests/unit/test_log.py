"""The transaction log: what is written is what is read, and damage is always noticed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from blockrep.disk.device import Device
from blockrep.divide.lock import LogPlace, LogPointer
from blockrep.divide.log import (
    Change,
    ChangeStage,
    Log,
    LogKind,
    StageKind,
    image_digest,
    log_bytes,
    read_log,
    write_log,
)
from blockrep.divide.log_store import DiskStore, FileStore
from blockrep.errors import BlockrepError, DeviceIO, NoRoomForLog, RecoverFailed
from blockrep.extents import Extent

DISK_BYTES = 8 << 20
IDENTITY = bytes(range(16))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(random.Random(1).randbytes(DISK_BYTES))
    return path


def _stages() -> list[ChangeStage]:
    source = random.Random(2)
    old, new = source.randbytes(8192), source.randbytes(8192)
    metadata = (
        Change(1 << 20, 8192, lambda: old, lambda: new, old_digest=image_digest(old)),
        Change(2 << 20, 4096, old=lambda: old[:4096], zeros=True),
    )
    table = (Change(0, 512, new=lambda: new[:512]),)
    return [ChangeStage(StageKind.METADATA, metadata), ChangeStage(StageKind.TABLE, table)]


def _write(device: Device, extents: tuple[Extent, ...]) -> LogPointer:
    store = DiskStore(device, extents)
    digest = write_log(
        store, LogKind.DIVIDE, IDENTITY, 1 << 20, 1000, 500, _stages(), lambda _: None
    )
    return LogPointer(LogPlace.DISK, IDENTITY, extents[0].start, digest)


def _check(log: Log) -> None:
    wanted = _stages()
    assert [s.kind for s in log.stages] == [s.kind for s in wanted]
    for stage, read in zip(wanted, log.stages, strict=True):
        for change, record in zip(stage.changes, read.records, strict=True):
            assert (record.offset_bytes, record.length_bytes) == (
                change.offset_bytes,
                change.length_bytes,
            )
            if change.old:
                assert log.old(record) == change.old()
            assert log.new(record) == (change.new() if change.new else bytes(change.length_bytes))


def test_a_log_in_scattered_extents_reads_back(disk: Path) -> None:
    extents = (Extent(5 << 20, 4096), Extent(3 << 20, 8192), Extent(6 << 20, 65536))
    with Device(disk, writable=True) as device:
        pointer = _write(device, extents)
        log = read_log(device, pointer)
        _check(log)
        assert (log.kind, log.host_offset_bytes) == (LogKind.DIVIDE, 1 << 20)
        assert (log.blocks_before, log.blocks_after) == (1000, 500)
        log.invalidate()
        with pytest.raises(RecoverFailed):
            read_log(device, pointer)


def test_a_log_in_a_file_reads_back(disk: Path, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "log", create=True)
    digest = write_log(store, LogKind.UNDIVIDE, IDENTITY, 0, 1, 2, _stages(), lambda _: None)
    pointer = LogPointer(LogPlace.FILE, IDENTITY, store.inode, digest)
    with Device(disk) as device:
        _check(read_log(device, pointer, store))
        with pytest.raises(RecoverFailed, match="in a file"):
            read_log(device, pointer)
    store.close()
    with pytest.raises(NoRoomForLog):
        FileStore(tmp_path / "log", create=True)


def test_the_room_is_told_before(disk: Path) -> None:
    with Device(disk, writable=True) as device:
        needed = log_bytes(_stages())
        _write(device, (Extent(4 << 20, needed),))
        with pytest.raises(RecoverFailed):
            _write(device, (Extent(4 << 20, needed - 4096),))


def test_content_that_changed_since_the_plan_is_noticed(disk: Path) -> None:
    stale = Change(0, 512, lambda: bytes(512), lambda: bytes(512), old_digest=bytes(16))
    with Device(disk, writable=True) as device:
        store = DiskStore(device, (Extent(4 << 20, 1 << 20),))
        with pytest.raises(DeviceIO, match="changed"):
            write_log(
                store,
                LogKind.DIVIDE,
                IDENTITY,
                0,
                1,
                1,
                [ChangeStage(StageKind.METADATA, (stale,))],
                lambda _: None,
            )


def test_every_flipped_bit_is_noticed(disk: Path) -> None:
    """Header and body are covered whole: a log is either itself or refused."""
    at, size = 4 << 20, log_bytes(_stages())
    with Device(disk, writable=True) as device:
        pointer = _write(device, (Extent(at, 1 << 20),))
        whole = device.read(at, size)
        source = random.Random(3)
        used = 4096 + 512 + 8192 * 2 + 4096 + 512
        for _ in range(300):
            bit = source.randrange(used * 8)
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            device.write(at, bytes(damaged))
            with pytest.raises(RecoverFailed):
                read_log(device, pointer)
        device.write(at, whole)
        _check(read_log(device, pointer))


def test_fuzz_a_pointer_to_anything_ends_in_a_sentence(disk: Path) -> None:
    source = random.Random(4)
    with Device(disk) as device:
        for _ in range(300):
            place = source.choice([0, DISK_BYTES - 4096, source.randrange(2**64)])
            pointer = LogPointer(LogPlace.DISK, IDENTITY, place, bytes(16))
            with pytest.raises(BlockrepError):
                read_log(device, pointer)


def test_fuzz_an_index_that_lies_is_refused(disk: Path) -> None:
    """Digests are no secret: a hostile disk can hold a log that is whole and makes no sense."""
    source = random.Random(5)
    refused = 0
    with Device(disk, writable=True) as device:
        for _ in range(300):
            lie = Change(
                source.choice([0, 100, DISK_BYTES, 2**63, 2**64 - 512]),
                source.choice([0, 512, 513, 9 << 20]),
                zeros=True,
            )
            store = DiskStore(device, (Extent(4 << 20, 1 << 20),))
            stage = ChangeStage(StageKind.METADATA, (lie,))
            digest = write_log(store, LogKind.DIVIDE, IDENTITY, 0, 1, 1, [stage], lambda _: None)
            pointer = LogPointer(LogPlace.DISK, IDENTITY, 4 << 20, digest)
            if (lie.offset_bytes, lie.length_bytes) == (0, 512):
                read_log(device, pointer)
                continue
            with pytest.raises(RecoverFailed):
                read_log(device, pointer)
            refused += 1
    assert refused > 200
