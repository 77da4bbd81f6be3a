"""A superblock that lies, or a lock with a log that no transaction wrote: refused, and soon."""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import Path

import pytest
from disks import sparse_file

from blockrep.disk.device import Device
from blockrep.disk.superblock import parse_superblock, with_checksum
from blockrep.divide.interrupted import is_interrupted
from blockrep.divide.lock import LogPlace, LogPointer, build_lock
from blockrep.divide.log import Change, ChangeStage, LogKind, StageKind, write_log
from blockrep.divide.log_store import DiskStore
from blockrep.divide.recover import recover_disk
from blockrep.errors import RecoverFailed
from blockrep.extents import Extent
from blockrep.progress import Silent

MIB = 1 << 20
IDENTITY = bytes(16)
LOG_AT = 10 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "disk.img", 16 * MIB)
    subprocess.run(
        f"mke2fs -q -F -t ext4 -b 4096 -O ^sparse_super,^resize_inode {path} 2048".split(),
        check=True,
        capture_output=True,
    )
    return path


def _superblock(disk: Path) -> bytes:
    return disk.read_bytes()[1024:2048]


def _put(disk: Path, raw: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(1024)
        file.write(raw)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("group_blocks", [256, 32768])
def test_a_huge_count_of_groups_takes_no_time(disk: Path, sparse: bool, group_blocks: int) -> None:
    raw = bytearray(_superblock(disk))
    struct.pack_into("<II", raw, 0x150, 0xFFFFFFFF, 0)  # blocks, high half
    struct.pack_into("<I", raw, 0x20, group_blocks)
    (features,) = struct.unpack_from("<I", raw, 0x64)
    struct.pack_into("<I", raw, 0x64, features | 1 if sparse else features & ~1)
    _put(disk, with_checksum(bytes(raw)))
    started = time.monotonic()
    with Device(disk) as device:
        assert not is_interrupted(device)
    assert time.monotonic() - started < 2


def test_a_group_of_no_blocks_is_no_filesystem(disk: Path) -> None:
    raw = bytearray(_superblock(disk))
    for size in (0, 1, 255):
        struct.pack_into("<I", raw, 0x20, size)
        assert parse_superblock(bytes(raw)) is None


def _record(kind: StageKind, at: int, length: int, *, old: bool, new: bool) -> ChangeStage:
    data = bytes(length)
    change = Change(at, length, (lambda: data) if old else None, (lambda: data) if new else None)
    return ChangeStage(kind, (change,))


LOCK = _record(StageKind.LOCK, 1024, 1024, old=True, new=False)
HIGH = _record(StageKind.SUPER_HIGH, 1536, 512, old=True, new=True)
LOW = _record(StageKind.SUPER_LOW, 1024, 512, old=True, new=True)


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param([], id="empty"),
        pytest.param([HIGH, LOW], id="no-lock"),
        pytest.param([LOCK, HIGH], id="no-commit"),
        pytest.param([LOCK, LOW, LOW, HIGH], id="two-commits"),
        pytest.param(
            [_record(StageKind.LOCK, 2048, 1024, old=True, new=False), HIGH, LOW], id="elsewhere"
        ),
        pytest.param(
            [_record(StageKind.LOCK, 1024, 512, old=True, new=False), HIGH, LOW], id="short-lock"
        ),
        pytest.param(
            [LOCK, _record(StageKind.METADATA, 8192, 512, old=True, new=False), HIGH, LOW],
            id="no-new-image",
        ),
        pytest.param(
            [LOCK, _record(StageKind.METADATA, 8192, 512, old=False, new=True), HIGH, LOW],
            id="no-old-image",
        ),
    ],
)
@pytest.mark.parametrize("back", [False, True])
def test_a_log_that_no_transaction_wrote_is_not_used(
    disk: Path, stages: list[ChangeStage], back: bool
) -> None:
    with Device(disk, writable=True) as device:
        store = DiskStore(device, (Extent(LOG_AT, MIB),))
        digest = write_log(store, LogKind.DIVIDE, IDENTITY, 0, 2048, 1024, stages, lambda _: None)
    raw = _superblock(disk)
    pointer = LogPointer(LogPlace.DISK, IDENTITY, LOG_AT, digest)
    _put(disk, build_lock(raw, pointer) + raw[512:])
    before = disk.read_bytes()
    with Device(disk, writable=True) as device, pytest.raises(RecoverFailed):
        recover_disk(device, Silent(), back=back)
    assert disk.read_bytes() == before
