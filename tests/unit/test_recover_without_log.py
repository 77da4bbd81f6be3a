"""Recover past the commit point with the log gone: table and backups say what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from disks import MIB, START_BYTES, CutDevice, ext_disk
from oracles import dumpe2fs, fsck, run

from blockrep.disk.area import Area, find_area
from blockrep.disk.device import Device
from blockrep.disk.superblock import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES
from blockrep.disk.table import read_table
from blockrep.divide.commit import commit_plan
from blockrep.divide.lock import parse_mark
from blockrep.divide.plan import plan_divide
from blockrep.divide.recover import recover_disk
from blockrep.divide.show import show_disk
from blockrep.divide.summary import DivideRequest, UndivideRequest
from blockrep.divide.undivide import plan_undivide
from blockrep.errors import AlreadyDivided, DeviceIO, NotDivided, RecordDamaged
from blockrep.progress import Silent
from blockrep.segment.header import parse_header

DISK_BYTES = 96 * MIB
FIRST_BYTES = 40 * MIB
MKFS = "-t ext4 -b 4096 -g 2048 -N 2048"


class _CutBehindTable(CutDevice):
    """The power goes at the first write behind the divider that is no step of the table.

    `more` writes of the second area still land.
    """

    more = 0

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        if len(data) > MIB and offset_bytes >= FIRST_BYTES:
            self.left = min(self.left, self.more)
        super().write(offset_bytes, data)


def _cut_divide(folder: Path, label: str, peers: int, more: int = 0) -> tuple[Path, Area]:
    """A disk with the new table and without its log; the record that was never written."""
    disk = folder / "disk.img"
    ext_disk(disk, DISK_BYTES, MKFS, label=label)
    whole = folder / "whole.img"
    whole.write_bytes(disk.read_bytes())
    request = DivideRequest(first_bytes=FIRST_BYTES, peers=peers)
    with _CutBehindTable(disk, writable=True) as device:
        device.more = more
        with plan_divide(device, request, Silent()) as plan, pytest.raises(DeviceIO):
            commit_plan(device, plan, Silent())
    _destroy_log(disk)
    with Device(whole, writable=True) as device:
        with plan_divide(device, request, Silent()) as plan:
            commit_plan(device, plan, Silent())
        found = find_area(device, read_table(device))
    assert found is not None
    return disk, found[1]


def _destroy_log(disk: Path) -> None:
    with Device(disk, writable=True) as device:
        raw = device.read(START_BYTES + SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK_BYTES)
        mark = parse_mark(raw)
        assert mark is not None
        device.write(mark.position, b"\xff" * 4096)


def _recover(disk: Path, *, left: int = 1 << 30) -> str:
    with CutDevice(disk, writable=True) as device:
        device.left = left
        return recover_disk(device, Silent()).action


def _area_of(disk: Path) -> Area | None:
    with Device(disk) as device:
        found = find_area(device, read_table(device))
    return found[1] if found else None


def _check_like(disk: Path, wanted: Area) -> None:
    """The record says what the lost one said, but for what is random; the headers fit to it."""
    area = _area_of(disk)
    assert area is not None
    same = ("divider_bytes", "area_start_bytes", "first_end_bytes", "host", "host_block_bytes",
            "host_old_blocks", "reserve", "disk_bytes", "sector_bytes")  # fmt: skip
    assert [getattr(area, name) for name in same] == [getattr(wanted, name) for name in same]
    assert area.changed[:1] == wanted.changed[:1]  # the host's; the rest may be forgotten
    places = [(s.start_bytes, s.capacity_bytes, s.history_bytes) for s in wanted.segments]
    assert [(s.start_bytes, s.capacity_bytes, s.history_bytes) for s in area.segments] == places
    with Device(disk) as device:
        for segment in area.segments:
            trailer = segment.end_bytes - (768 << 10)
            header = parse_header(device.read(trailer, 4096))
            assert (header.uuid, header.instance_id) == (segment.uuid, area.instance_id)


KINDS = [("gpt", 2), ("gpt", 1), ("gpt", 0), ("dos", 2), ("dos", 1)]


@pytest.mark.parametrize(("label", "peers"), KINDS)
def test_the_second_area_is_made_as_the_table_names_it(
    label: str, peers: int, tmp_path: Path
) -> None:
    disk, wanted = _cut_divide(tmp_path, label, peers)
    old_blocks = wanted.host_old_blocks
    assert _area_of(disk) is None
    assert _recover(disk) == "finished"
    _check_like(disk, wanted)
    assert _recover(disk) == "nothing to do"
    with Device(disk, writable=True) as device:
        assert len(show_disk(device).segments) == peers
        with plan_undivide(device, UndivideRequest(), Silent()) as plan:
            commit_plan(device, plan, Silent())
    fsck(f"{disk}?offset={START_BYTES}")
    assert int(dumpe2fs(f"{disk}?offset={START_BYTES}")["Block count"]) == old_blocks


def test_a_recovery_that_is_cut_goes_on(tmp_path: Path) -> None:
    disk, wanted = _cut_divide(tmp_path, "gpt", 2)
    before = disk.read_bytes()
    left = 0
    while True:
        disk.write_bytes(before)
        try:
            _recover(disk, left=left)
            break
        except DeviceIO:
            assert _recover(disk) == "finished"
            _check_like(disk, wanted)
        left += 1
    assert left > 8


def test_a_record_that_was_written_already_is_kept(tmp_path: Path) -> None:
    disk, wanted = _cut_divide(tmp_path, "gpt", 2, more=8)
    written = _area_of(disk)
    assert written is not None
    assert _recover(disk) == "finished"
    assert _area_of(disk) == written
    _check_like(disk, wanted)


def test_a_record_that_is_torn_is_written_anew(tmp_path: Path) -> None:
    disk, wanted = _cut_divide(tmp_path, "gpt", 2, more=3)
    with pytest.raises(RecordDamaged):
        _area_of(disk)
    assert _recover(disk) == "finished"
    _check_like(disk, wanted)


def test_a_record_of_an_earlier_divide_is_not_believed(tmp_path: Path) -> None:
    disk, wanted = _cut_divide(tmp_path, "gpt", 2)
    stale = (tmp_path / "whole.img").read_bytes()[FIRST_BYTES : FIRST_BYTES + 4 * MIB]
    with disk.open("r+b") as file:
        file.seek(FIRST_BYTES)
        file.write(stale)
    found = _area_of(disk)
    assert found is not None
    assert _recover(disk) == "finished"
    area = _area_of(disk)
    assert area is not None
    assert area.instance_id != found.instance_id
    _check_like(disk, wanted)


def test_another_table_is_left_alone(tmp_path: Path) -> None:
    disk, _ = _cut_divide(tmp_path, "gpt", 2)
    run("sfdisk", "--quiet", "--no-reread", "--delete", disk, 4)
    before = disk.read_bytes()[FIRST_BYTES:]
    assert _recover(disk) == "backed out"
    assert disk.read_bytes()[FIRST_BYTES:] == before
    assert _area_of(disk) is None
    with Device(disk) as device, pytest.raises(NotDivided):
        show_disk(device)


def test_without_our_partitions_it_can_be_divided_again(tmp_path: Path) -> None:
    disk, _ = _cut_divide(tmp_path, "gpt", 2)
    request = DivideRequest(first_bytes=FIRST_BYTES, peers=1)
    run("sfdisk", "--quiet", "--no-reread", "--delete", disk, 2, 3, 4)
    assert _recover(disk) == "backed out"
    with Device(disk, writable=True) as device:
        with plan_divide(device, request, Silent()) as plan:
            commit_plan(device, plan, Silent())
        with pytest.raises(AlreadyDivided):
            plan_divide(device, request, Silent())
