"""Where a log may be kept in a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disks import sparse_file
from loops import loop_device, mounted
from oracles import run

from blockrep.disk.device import Device
from blockrep.divide import journal_file
from blockrep.divide.journal_file import check_journal_file
from blockrep.errors import NoRoomForLog

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return sparse_file(tmp_path / "disk.img", 32 * MIB)


def refusal(path: Path, disk: Path) -> str:
    with Device(disk) as device, pytest.raises(NoRoomForLog) as caught:
        check_journal_file(path, device)
    return caught.value.message


def test_beside_the_image_is_good(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Device(disk) as device:
        check_journal_file(disk.parent / "log", device)
        monkeypatch.chdir(disk.parent)
        check_journal_file(Path("log"), device)
    assert not (disk.parent / "log").exists()


def test_what_exists_is_left_alone(disk: Path) -> None:
    assert "exists already" in refusal(disk, disk)


def test_no_folder(disk: Path) -> None:
    assert "there is no folder" in refusal(disk.parent / "none" / "log", disk)


def test_not_through_a_link_to_nowhere(disk: Path) -> None:
    link = disk.parent / "link"
    link.symlink_to("/proc/none/log")
    assert "there is no folder" in refusal(link, disk)


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "overlay"])
def test_not_where_a_power_cut_takes_it(
    disk: Path, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 {number} / {tmp_path} rw shared:1 - {kind} none rw\n")
    monkeypatch.setattr(journal_file, "MOUNTINFO", mounts)
    assert f"is a {kind}" in refusal(tmp_path / "log", disk)


@pytest.mark.root
def test_not_on_the_disk_itself(disk: Path) -> None:
    run("sfdisk", "--quiet", disk, stdin="label: gpt\nsize=20M\n")
    with loop_device(disk) as node:
        run("partx", "-a", node)
        run("mke2fs", "-q", f"{node}p1")
        with mounted(Path(f"{node}p1"), read_only=False) as root:
            assert f"is on {node} itself" in refusal(root / "log", node)


@pytest.mark.root
def test_another_disk_is_good(disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    run("mke2fs", "-q", other, "8M")
    with (
        loop_device(disk) as node,
        loop_device(other) as mountable,
        mounted(mountable, read_only=False) as root,
        Device(node) as device,
    ):
        check_journal_file(root / "log", device)
