"""An undivide over a second area whose bytes look like what the grown filesystem wants there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from disks import sparse_file

from blockrep.disk.device import Device
from blockrep.disk.superblock import parse_superblock
from blockrep.divide.commit import commit_plan
from blockrep.divide.interrupted import is_interrupted
from blockrep.divide.lock import parse_lock
from blockrep.divide.plan import plan_divide
from blockrep.divide.recover import recover_disk
from blockrep.divide.summary import DivideRequest, Join, UndivideRequest
from blockrep.divide.undivide import plan_undivide
from blockrep.errors import DeviceIO
from blockrep.progress import Silent

MIB = 1 << 20


@pytest.mark.parametrize(
    "mkfs",
    [
        # Groups of 8 MiB: one begins 1 MiB behind the divider, within the area.
        pytest.param(("-t", "ext3", "-b", "4096", "-g", "2048", "-J", "size=4"), id="area"),
        # Inode tables without checksums are zeros, as are untouched segments: the log lies there.
        pytest.param(("-t", "ext2", "-b", "1024", "-i", "2048"), id="log"),
        # Fewer blocks than a picture has cells.
        pytest.param(("-t", "ext4", "-b", "65536", "-O", "^has_journal"), id="few-blocks"),
        # resize2fs forgets a block of the group that had the second backup.
        pytest.param(
            ("-t", "ext4", "-b", "4096", "-g", "2048", "-O", "sparse_super2,^resize_inode"),
            id="sparse-super2",
        ),
    ],
)
def test_undivide_leaves_the_grown_metadata_alone(tmp_path: Path, mkfs: tuple[str, ...]) -> None:
    disk = _blank_disk(tmp_path / "disk.img", 72 * MIB, mkfs)
    with Device(disk, writable=True) as device:
        request = DivideRequest(first_bytes=32 * MIB, peers=1, join=Join.NO_JOIN)
        with plan_divide(device, request, Silent()) as plan:
            commit_plan(device, plan, Silent())
        with plan_undivide(device, UndivideRequest(), Silent()) as plan:
            commit_plan(device, plan, Silent())
    check = subprocess.run(
        ["e2fsck", "-fn", f"{disk}?offset={MIB}"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout


def _blank_disk(path: Path, size: int, mkfs: tuple[str, ...]) -> Path:
    """A disk of zeros with one partition from 1 MiB on, and a filesystem in it."""
    sparse_file(path, size)
    start, sectors = MIB // 512, size // 512 - 4096
    subprocess.run(
        ["sfdisk", "--quiet", str(path)],
        input=f"label: gpt\nunit: sectors\nstart={start}, size={sectors}\n",
        text=True,
        check=True,
        capture_output=True,
    )
    unit = int(mkfs[mkfs.index("-b") + 1])
    subprocess.run(
        ["mke2fs", "-q", "-F", *mkfs, "-E", f"offset={MIB}", str(path), str(sectors * 512 // unit)],
        check=True,
        capture_output=True,
    )
    return path


def test_a_fresh_backup_superblock_is_locked_until_the_commit_point(tmp_path: Path) -> None:
    """The grown filesystem gets backups where none stood: `e2fsck -b` must not go by them."""
    mkfs = ("-t", "ext4", "-b", "4096", "-g", "2048", "-J", "size=4")
    disk = _blank_disk(tmp_path / "disk.img", 72 * MIB, mkfs)
    with Device(disk, writable=True) as device:
        request = DivideRequest(first_bytes=32 * MIB, peers=1, join=Join.NO_JOIN)
        with plan_divide(device, request, Silent()) as plan:
            commit_plan(device, plan, Silent())
    with (
        _CutAtCommit(disk, writable=True) as device,
        plan_undivide(device, UndivideRequest(), Silent()) as plan,
    ):
        with pytest.raises(DeviceIO, match="cut"):
            commit_plan(device, plan, Silent())
        assert plan.transaction
        after = plan.transaction.host.after
        for block in after.backup_blocks:
            raw = device.read(MIB + block * after.block_bytes, 1024)
            assert parse_superblock(raw) is not None
            assert parse_lock(raw)
    with Device(disk, writable=True) as device:
        assert recover_disk(device, Silent()).action == "finished"
        assert not is_interrupted(device)


def test_a_backup_given_up_is_not_taken_for_a_filesystem_of_the_reserve(tmp_path: Path) -> None:
    """Groups of 8 MiB from 1 MiB on: the backup of group 3 lies 1 KiB into the reserve."""
    disk = _blank_disk(tmp_path / "disk.img", 72 * MIB, ("-t", "ext2", "-b", "1024"))
    with Device(disk, writable=True) as device:
        request = DivideRequest(first_bytes=21 * MIB, peers=0, join=Join.NO_JOIN)
        with plan_divide(device, request, Silent()) as plan:
            commit_plan(device, plan, Silent())
        assert not is_interrupted(device)
        with plan_undivide(device, UndivideRequest(), Silent()) as plan:
            commit_plan(device, plan, Silent())


class _CutAtCommit(Device):
    """Fails at the second write of the primary superblock: the first one is the lock."""

    seen = 0

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        if offset_bytes == MIB + 1024:
            self.seen += 1
            if self.seen == 2:
                raise DeviceIO("cut")
        super().write(offset_bytes, data)
