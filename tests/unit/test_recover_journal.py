"""Recover with a log in a file: the right one, a wrong one, none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blockrep.disk.device import Device
from blockrep.divide.commit import commit_plan
from blockrep.divide.plan import plan_divide
from blockrep.divide.recover import recover_disk
from blockrep.divide.show import show_disk
from blockrep.divide.summary import DivideRequest, Join, Outcome
from blockrep.errors import DeviceIO, DiskState, RecoverFailed
from blockrep.progress import Silent

MIB = 1 << 20
DISK_BYTES = 72 * MIB


class CutBeforeTable(Device):
    """Fails past the commit point, at the table's backup, as if the power had gone."""

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        if offset_bytes >= DISK_BYTES - MIB:
            raise DeviceIO("cut")
        super().write(offset_bytes, data)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk with a pending mark, and its log beside it in the file `log`."""
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(DISK_BYTES)
    table = "label: gpt\nstart=1MiB, size=60MiB\n"
    subprocess.run(["sfdisk", "-q", path], input=table, text=True, check=True, capture_output=True)
    subprocess.run(["mke2fs", "-q", "-F", "-E", f"offset={MIB}", path, "60M"], check=True)
    request = DivideRequest(
        first_bytes=32 * MIB,
        peers=1,
        history_share=None,
        fsck=False,
        join=Join.JOIN,
        shadow_dir=None,
        journal=tmp_path / "log",
    )
    with CutBeforeTable(path, writable=True) as device:
        plan = plan_divide(device, request, Silent())
        with plan, pytest.raises(DeviceIO):
            commit_plan(device, plan, Silent())
    return path


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    path = tmp_path / "thesis"
    path.write_bytes(b"years of work" * 9999)
    return path


def recover(disk: Path, journal: Path | None, *, back: bool = False) -> Outcome:
    with Device(disk, writable=True) as device:
        return recover_disk(device, Silent(), back=back, journal=journal)


def test_the_right_file_is_used_and_removed(disk: Path) -> None:
    log = disk.parent / "log"
    assert recover(disk, log).action == "finished"
    assert not log.exists()
    with Device(disk) as device:
        assert show_disk(device).segments


def test_a_wrong_file_changes_nothing_and_is_kept(disk: Path, foreign: Path) -> None:
    before = disk.read_bytes()
    with pytest.raises(RecoverFailed, match="header") as caught:
        recover(disk, foreign)
    assert caught.value.state is DiskState.RESUMABLE
    assert "--back" in caught.value.hint
    assert disk.read_bytes() == before
    assert foreign.exists()
    assert recover(disk, disk.parent / "log").action == "finished"


def test_a_lost_log_is_given_up_for_back_alone(disk: Path, foreign: Path) -> None:
    assert recover(disk, foreign, back=True).action == "backed out"
    assert foreign.exists()
    assert recover(disk, None).action == "nothing to do"


def test_no_such_file(disk: Path) -> None:
    with pytest.raises(RecoverFailed, match="No such file") as caught:
        recover(disk, disk.parent / "none")
    assert caught.value.state is DiskState.RESUMABLE


def test_a_file_is_not_looked_at_where_there_is_nothing_to_do(disk: Path) -> None:
    recover(disk, disk.parent / "log")
    with Device(disk) as device:
        assert (
            recover_disk(device, Silent(), journal=disk.parent / "none").action == "nothing to do"
        )
