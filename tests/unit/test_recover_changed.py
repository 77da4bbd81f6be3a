"""Recover a disk that was used, or repartitioned, between the cut and the recovery."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blockrep.disk.device import Device
from blockrep.disk.table import read_standing_table
from blockrep.divide.commit import commit_plan
from blockrep.divide.plan import plan_divide
from blockrep.divide.recover import recover_disk
from blockrep.divide.show import show_disk
from blockrep.divide.summary import DivideRequest, Join
from blockrep.errors import DeviceIO, RecoverFailed
from blockrep.progress import Silent

MIB = 1 << 20
HOST_START, HOST_BYTES = MIB, 60 * MIB
OTHER_BYTES = 4 * MIB
OLD_BYTES = b"whatever was there before".ljust(32)
DISK_BYTES = 72 * MIB
FULL = 33 * 512  # so much more leaves no gap between the last segment and the backup table


class Cut(Device):
    """Fails at the first write to a place, as if the power had gone."""

    place = range(0)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        if offset_bytes in self.place:
            raise DeviceIO("cut")
        super().write(offset_bytes, data)


class CutBeforeTable(Cut):
    place = range(DISK_BYTES - MIB, DISK_BYTES)  # its backup is written first


class CutWhileLocked(Cut):
    """The block of the host's group descriptors: the lock stands by then."""

    place = range(HOST_START + 4096, HOST_START + 8192)


def test_what_was_written_to_a_moved_partition_since_is_kept(tmp_path: Path) -> None:
    disk = _make_disk(tmp_path)
    _cut_divide(disk, CutBeforeTable)
    old_start = _start_of(disk, 2)
    news = tmp_path / "news"
    news.write_text("written after the cut")
    _debugfs(disk, old_start, f"write {news} news")
    _recover(disk)
    new_start = _start_of(disk, 2)
    assert new_start < old_start
    assert "written after the cut" in _debugfs(disk, new_start, "cat news")


def test_a_moved_partition_is_not_copied_again_once_the_table_names_its_new_place(
    tmp_path: Path,
) -> None:
    disk = _make_disk(tmp_path)

    class CutAtArea(Cut):
        place = range(32 * MIB, 36 * MIB)

    _cut_divide(disk, CutAtArea)
    new_start = _start_of(disk, 2)
    news = tmp_path / "news"
    news.write_text("written after the cut")
    _debugfs(disk, new_start, f"write {news} news")
    _recover(disk)
    assert "written after the cut" in _debugfs(disk, new_start, "cat news")


def test_a_table_that_others_changed_is_not_overwritten(tmp_path: Path) -> None:
    disk = _make_disk(tmp_path)
    _cut_divide(disk, CutWhileLocked)
    subprocess.run(
        ["sfdisk", "--quiet", "--append", str(disk)],
        input="start=66MiB, size=2MiB\n",
        text=True,
        check=True,
        capture_output=True,
    )
    changed = disk.read_bytes()
    with pytest.raises(RecoverFailed, match="table"):
        _recover(disk)
    assert disk.read_bytes() == changed
    _recover(disk, back=True)
    assert _start_of(disk, 3) == 66 * MIB


def test_a_table_without_a_gap_is_rewritten_beside_what_the_old_one_names(tmp_path: Path) -> None:
    """The second partition begins where the area will be, and the first right behind the table."""
    disk = _make_disk(tmp_path, host_start=34 * 512, host_bytes=32 * MIB - 34 * 512, spare=FULL)
    other = 32 * MIB
    before = _read(disk, other, OTHER_BYTES)

    class CutAtHeader(Cut):
        place = range(512, 1024)

    _cut_divide(disk, CutAtHeader)
    assert _start_of(disk, 2) == other
    assert _read(disk, other, OTHER_BYTES) == before
    _recover(disk)
    assert _read(disk, _start_of(disk, 2), OTHER_BYTES) == before


def test_an_area_in_the_way_of_the_table_is_no_foreign_table(tmp_path: Path) -> None:
    """Without a gap the entries go by way of the area, which is written after the table."""
    disk = _make_disk(tmp_path, host_start=34 * 512, host_bytes=61 * MIB - 34 * 512, spare=FULL)

    class CutAtSegment(Cut):
        def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
            if offset_bytes == 512:  # the table's header: what follows is the second area
                self.place = range(32 * MIB + 1, DISK_BYTES - MIB)
            super().write(offset_bytes, data)

    _cut_divide(disk, CutAtSegment)
    _recover(disk)
    with Device(disk) as device:
        assert show_disk(device).segments


def _read(disk: Path, offset: int, length: int) -> bytes:
    with disk.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _make_disk(
    folder: Path, host_start: int = HOST_START, host_bytes: int = HOST_BYTES, spare: int = 0
) -> Path:
    """One host and, behind it, a small partition that has to go below the divider."""
    disk = folder / "disk.img"
    with disk.open("wb") as file:
        file.write(bytes(MIB) + OLD_BYTES * ((DISK_BYTES - MIB) // len(OLD_BYTES)))
        file.write(bytes(spare))
    other = -(-(host_start + host_bytes) // MIB) * MIB
    lines = f"start={host_start // 512}, size={host_bytes // 512}\n"
    lines += f"start={other // 512}, size={OTHER_BYTES // 512}\n"
    subprocess.run(
        ["sfdisk", "--quiet", "--wipe-partitions=never", str(disk)],
        input="label: gpt\nunit: sectors\nfirst-lba: 34\n" + lines,
        text=True,
        check=True,
        capture_output=True,
    )
    mkfs = ("mke2fs", "-q", "-F", "-b", "4096")
    for kind, start, length in (("ext4", host_start, host_bytes), ("ext2", other, OTHER_BYTES)):
        subprocess.run(
            [*mkfs, "-t", kind, "-E", f"offset={start},nodiscard", str(disk), str(length // 4096)],
            check=True,
            capture_output=True,
        )
    return disk


def _cut_divide(disk: Path, cut: type[Cut]) -> None:
    with cut(disk, writable=True) as device:
        request = DivideRequest(first_bytes=32 * MIB, peers=1, join=Join.NO_JOIN)
        with (
            plan_divide(device, request, Silent()) as plan,
            pytest.raises(DeviceIO, match="cut"),
        ):
            commit_plan(device, plan, Silent())


def _recover(disk: Path, *, back: bool = False) -> None:
    with Device(disk, writable=True) as device:
        recover_disk(device, Silent(), back=back)


def _start_of(disk: Path, number: int) -> int:
    with Device(disk) as device:
        parts = read_standing_table(device).partitions
    return next(p.start_bytes for p in parts if p.number == number)


def _debugfs(disk: Path, offset: int, command: str) -> str:
    done = subprocess.run(
        ["debugfs", "-w", "-R", command, f"{disk}?offset={offset}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
