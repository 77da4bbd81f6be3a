"""An undivide that is cut, taken back, and cut again: the table is one of the two throughout."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from disks import MIB, CutDevice, sparse_file

from blockrep.disk.device import Device
from blockrep.disk.gpt_disk import read_copies
from blockrep.disk.table import Table, read_table
from blockrep.divide.commit import commit_plan
from blockrep.divide.plan import plan_divide
from blockrep.divide.recover import recover_disk
from blockrep.divide.summary import DivideRequest, UndivideRequest
from blockrep.divide.undivide import plan_undivide
from blockrep.errors import DeviceIO
from blockrep.progress import Silent


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A divided disk with an empty ext2."""
    path = sparse_file(tmp_path / "disk.img", 64 * MIB)
    script = "label: gpt\nstart=2048, size=126976, type=L\n"
    subprocess.run(["sfdisk", "-q", path], input=script, text=True, check=True)
    make = ["mke2fs", "-q", "-t", "ext2", "-b", "4096", "-E", f"offset={MIB}", path, "62m"]
    subprocess.run(make, check=True, capture_output=True)
    with (
        Device(path, writable=True) as device,
        plan_divide(device, DivideRequest(40 * MIB, 1), Silent()) as plan,
    ):
        commit_plan(device, plan, Silent())
    return path


def _cut(disk: Path, left: int, work: Callable[[Device], object]) -> bool:
    """Whether the work was cut after so many writes."""
    with CutDevice(disk, writable=True) as device:
        device.left = left
        try:
            work(device)
        except DeviceIO:
            return True
        return False


def _undivide(device: Device) -> None:
    with plan_undivide(device, UndivideRequest(), Silent()) as plan:
        commit_plan(device, plan, Silent())


def _back(device: Device) -> None:
    recover_disk(device, Silent(), back=True)


def _primary(disk: Path) -> Table | None:
    with Device(disk) as device:
        return read_copies(device)[0]


def test_the_table_is_one_of_the_two_whichever_way_recover_goes(disk: Path) -> None:
    divided = disk.read_bytes()
    old = _primary(disk)
    _cut(disk, 1 << 30, _undivide)
    new = _primary(disk)
    assert old != new
    turned = 0
    for left in range(4, 24, 2):
        disk.write_bytes(divided)
        if not _cut(disk, left, _undivide):
            break
        halfway = disk.read_bytes()
        for back_left in range(2, 16, 3):
            disk.write_bytes(halfway)
            turned += _cut(disk, back_left, _back)
            assert _primary(disk) in (old, new)
            with Device(disk, writable=True) as device:
                recover_disk(device, Silent())
                assert read_table(device) in (old, new)
    assert turned > 10
