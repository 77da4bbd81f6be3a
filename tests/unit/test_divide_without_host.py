"""A divide of a disk without an ext filesystem, cut after every write: neither lock nor loss."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from disks import MIB, CutDevice, sparse_file

from blockrep.disk.device import Device
from blockrep.disk.table import read_table
from blockrep.divide.commit import commit_plan
from blockrep.divide.plan import plan_divide
from blockrep.divide.recover import recover_disk
from blockrep.divide.summary import DivideRequest, Join
from blockrep.errors import DeviceIO, DiskState
from blockrep.progress import Silent

REQUEST = DivideRequest(32 * MIB, 2, None, False, Join.JOIN, None, None)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "disk.img", 64 * MIB)
    table = "label: gpt\nstart=2048, size=32768, type=L\n"
    subprocess.run(["sfdisk", "-q", path], input=table, text=True, check=True)
    return path


def _divide(disk: Path, left: int) -> bool:
    """Whether it came to its end within so many writes."""
    with (
        CutDevice(disk, writable=True) as device,
        plan_divide(device, REQUEST, Silent()) as plan,
    ):
        device.left = left
        try:
            commit_plan(device, plan, Silent())
        except DeviceIO as error:
            assert error.state is DiskState.RESUMABLE
            return False
        return True


def test_every_cut_ends_in_the_old_or_the_new_table(disk: Path) -> None:
    before = disk.read_bytes()
    with Device(disk) as device:
        old = read_table(device)
    for left in range(200):
        disk.write_bytes(before)
        if _divide(disk, left):
            break
        with Device(disk, writable=True) as device:
            outcome = recover_disk(device, Silent())
            assert outcome.action in ("finished", "nothing to do")
            table = read_table(device)
            assert recover_disk(device, Silent()).action == "nothing to do"
        assert table == old or len(table.partitions) == len(old.partitions) + 3
        verified = subprocess.run(["sgdisk", "-v", disk], capture_output=True, text=True)
        assert "No problems found" in verified.stdout
    else:
        pytest.fail("the divide never came to its end")
    assert left > 10
