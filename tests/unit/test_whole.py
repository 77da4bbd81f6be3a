"""What is refused by name: partitions, and what is on a disk that is no ext."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from loops import loop_device
from oracles import run

from blockrep.disk.device import Device
from blockrep.disk.whole import refuse_partition
from blockrep.divide.plan import plan_divide
from blockrep.divide.summary import DivideRequest, Join
from blockrep.errors import BlockrepError, DeviceUnsupported, DoesNotFit, FilesystemUnsupported
from blockrep.progress import Silent

MIB = 1 << 20


def refusal(disk: Path, first_bytes: int = 100 * MIB) -> BlockrepError:
    request = DivideRequest(first_bytes, 1, None, False, Join.JOIN, None, None)
    before = disk.read_bytes()
    with Device(disk, writable=True) as device, pytest.raises(BlockrepError) as caught:
        plan_divide(device, request, Silent())
    assert disk.read_bytes() == before
    return caught.value


def disk_with(tmp_path: Path, *, marks: dict[int, bytes], table: bool) -> Path:
    """A disk of 200 MiB whose second partition, or the whole of which, holds a swap with `marks`
    written over it."""
    disk, inner = tmp_path / "disk.img", tmp_path / "inner.img"
    start = 61 * MIB if table else 0
    with disk.open("wb") as file:
        file.truncate(200 * MIB)
    with inner.open("wb") as file:
        file.truncate(100 * MIB)
    run("mkswap", inner)
    if table:
        run("sfdisk", "-q", disk, stdin="label: gpt\nstart=1MiB, size=60MiB\nsize=100MiB\n")
        run("mke2fs", "-q", "-F", "-E", f"offset={MIB}", disk, "60M")
    with disk.open("r+b") as file:
        file.seek(start)
        file.write(inner.read_bytes()[:8192])
        for at, mark in marks.items():
            file.seek(start + at)
            file.write(mark)
    return disk


@pytest.mark.parametrize("mark", [b"S1SUSPEND\0", b"LINHIB0001"])
def test_a_hibernated_system(tmp_path: Path, mark: bytes) -> None:
    error = refusal(disk_with(tmp_path, marks={4086: mark}, table=True))
    assert isinstance(error, FilesystemUnsupported)
    assert "hibernated" in error.message


def test_a_whole_disk_of_another_kind(tmp_path: Path) -> None:
    error = refusal(disk_with(tmp_path, marks={}, table=False))
    assert isinstance(error, FilesystemUnsupported)
    assert "holds swap" in error.message


def test_a_partition_in_the_way_is_named(tmp_path: Path) -> None:
    error = refusal(
        disk_with(tmp_path, marks={0: b"LUKS\xba\xbe\x00\x01", 4086: bytes(10)}, table=True)
    )
    assert isinstance(error, DoesNotFit)
    assert "crypto_LUKS" in error.message


@pytest.mark.root
def test_a_partition_is_no_disk(tmp_path: Path) -> None:
    disk = disk_with(tmp_path, marks={}, table=True)
    with loop_device(disk) as node:
        subprocess.run(["partx", "-a", node], check=True, timeout=60)
        refuse_partition(node)
        with pytest.raises(DeviceUnsupported) as caught:
            refuse_partition(Path(f"{node}p1"))
    assert str(node) in caught.value.hint
