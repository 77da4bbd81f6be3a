"""Real loop devices: the kernel told of tables, holds named, devices listed. Needs root."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from disks import sparse_file
from loops import loop_device
from oracles import run

from blockrep.disk.device import Device
from blockrep.disk.holds import HoldKind, find_holds, refuse_if_held
from blockrep.disk.kernel import tell_kernel
from blockrep.disk.listing import DeviceInfo, list_devices
from blockrep.disk.partition import Partition, Table
from blockrep.disk.table import read_table, table_stages
from blockrep.errors import DeviceBusy, DiskState

pytestmark = pytest.mark.root

MIB = 1 << 20
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return sparse_file(tmp_path / "disk.img", 64 * MIB)


def label(node: Path, script: str) -> None:
    run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(node), stdin=script)


def read(node: Path) -> Table:
    with Device(node) as device:
        return read_table(device)


def write(node: Path, old: Table, new: Table) -> None:
    with Device(node, writable=True) as device:
        for stage in table_stages(device, old, new):
            for one in stage.writes:
                device.write(one.offset_bytes, one.data)
            device.flush()


def say_as_kernel(node: Path) -> list[tuple[int, int, int]]:
    found = []
    for part in Path("/sys/block", node.name).glob(f"{node.name}p*"):
        number, start, size = (int((part / a).read_text()) for a in ("partition", "start", "size"))
        found.append((number, start * 512, size * 512))
    return sorted(found)


def say_as_sfdisk(node: Path) -> list[tuple[int, int, int]]:
    table = json.loads(run("sfdisk", "-J", str(node)))["partitiontable"]
    sector = table["sectorsize"]
    return [
        (int(p["node"].removeprefix(f"{node}p")), p["start"] * sector, p["size"] * sector)
        for p in table["partitions"]
    ]


SCRIPTS = {
    "gpt": "label: gpt\nsize=4M\nsize=40M\nsize=4M\n",
    "dos": "label: dos\nsize=4M\nsize=40M\nsize=4M\ntype=5\nsize=4M\ntype=83\n",
}


@pytest.mark.parametrize("sector_bytes", [512, 4096])
@pytest.mark.parametrize("kind", ["gpt", "dos"])
def test_new_table_reaches_the_kernel(image: Path, kind: str, sector_bytes: int) -> None:
    with loop_device(image, sector_bytes=sector_bytes) as node:
        label(node, SCRIPTS[kind])
        old = read(node)
        assert [(p.number, p.start_bytes, p.length_bytes) for p in old.partitions] == (
            say_as_sfdisk(node)
        )
        tell_kernel(node, old)
        shown = [row for row in say_as_kernel(node) if kind == "gpt" or row[0] != 4]
        assert shown == [row for row in say_as_sfdisk(node) if kind == "gpt" or row[0] != 4]
        first, second, third, *rest = old.partitions
        shrunk = replace(second, length_bytes=8 * MIB)
        moved = replace(third, start_bytes=second.start_bytes + 16 * MIB, length_bytes=6 * MIB)
        new = replace(old, partitions=(first, shrunk, moved, *rest))
        write(node, old, new)
        tell_kernel(node, new)
        shown = [row for row in say_as_kernel(node) if kind == "gpt" or row[0] != 4]
        assert shown == [row for row in say_as_sfdisk(node) if kind == "gpt" or row[0] != 4]
        assert Path(f"{node}p3").is_block_device()
        if kind == "gpt":
            assert "No problems found" in run("sgdisk", "-v", str(node))


def test_another_partition_may_stay_mounted(image: Path, tmp_path: Path) -> None:
    with loop_device(image) as node:
        label(node, SCRIPTS["gpt"])
        old = read(node)
        tell_kernel(node, old)
        run("mke2fs", "-q", f"{node}p1")
        (tmp_path / "mnt").mkdir()
        run("mount", f"{node}p1", str(tmp_path / "mnt"))
        try:
            shorter = replace(old.partitions[1], length_bytes=20 * MIB)
            new = replace(old, partitions=(old.partitions[0], shorter, old.partitions[2]))
            tell_kernel(node, new)
            assert say_as_kernel(node)[1] == (2, shorter.start_bytes, 20 * MIB)
            with pytest.raises(DeviceBusy) as caught:
                tell_kernel(node, replace(old, partitions=()))
            assert caught.value.state is DiskState.RESUMABLE
            assert "partition 1 is in use" in caught.value.message
        finally:
            run("umount", str(tmp_path / "mnt"))


def test_stale_page_cache_of_a_partition_is_dropped(image: Path) -> None:
    with loop_device(image) as node:
        label(node, SCRIPTS["gpt"])
        table = read(node)
        tell_kernel(node, table)
        part = Path(f"{node}p1")
        with part.open("rb") as held:
            assert held.read(4096) == bytes(4096)
            with Device(node, writable=True) as device:
                device.write(table.partitions[0].start_bytes, b"new!" * 1024)
                device.flush()
            tell_kernel(node, table)
            assert part.read_bytes()[:4096] == b"new!" * 1024


def test_mount_is_named(image: Path, tmp_path: Path) -> None:
    run("mke2fs", "-q", "-t", "ext4", "-L", "my data", str(image))
    target = tmp_path / "a b"
    target.mkdir()
    with loop_device(image) as node:
        assert [hold.kind for hold in find_holds(image)] == [HoldKind.LOOP]
        assert find_holds(node) == ()
        run("mount", str(node), str(target))
        try:
            holds = find_holds(node)
            assert [(hold.kind, hold.by) for hold in holds] == [(HoldKind.MOUNT, str(target))]
            with pytest.raises(DeviceBusy) as caught:
                refuse_if_held(node)
            assert f"`umount {target}`" in caught.value.hint
            info = listed(node)
            assert info.volumes[0].mountpoints == (str(target),)
            assert not info.can_be_divided
        finally:
            run("umount", str(target))
        info = listed(node)
        assert info.can_be_divided
        assert info.volumes[0].content.label == "my data"


def test_mount_of_a_partition_holds_the_disk(image: Path, tmp_path: Path) -> None:
    with loop_device(image) as node:
        label(node, SCRIPTS["gpt"])
        tell_kernel(node, read(node))
        run("mke2fs", "-q", f"{node}p2")
        run("mount", f"{node}p2", str(tmp_path))
        try:
            assert [hold.device for hold in find_holds(node)] == [f"{node}p2"]
        finally:
            run("umount", str(tmp_path))


def test_writer_is_named_and_reader_is_not(image: Path) -> None:
    with loop_device(image) as node:
        with node.open("rb") as file, subprocess.Popen(["sleep", "30"], stdin=file) as reader:
            assert find_holds(node) == ()
            reader.kill()
        with (
            node.open("r+b", buffering=0) as file,
            subprocess.Popen(["sleep", "30"], stdin=file) as writer,
        ):
            holds = find_holds(node)
            writer.kill()
        assert [hold.kind for hold in holds] == [HoldKind.PROCESS]
        assert holds[0].by == f"sleep (process {writer.pid})"


def test_swap_is_named(image: Path) -> None:
    with loop_device(image) as node:
        run("mkswap", str(node))
        if subprocess.run(["swapon", str(node)], capture_output=True, timeout=60).returncode:
            pytest.skip("this kernel has no swap")
        try:
            assert [hold.kind for hold in find_holds(node)] == [HoldKind.SWAP]
        finally:
            run("swapoff", str(node))


def listed(node: Path) -> DeviceInfo:
    return next(info for info in list_devices() if info.path == str(node))


def test_listing_agrees_with_blockdev(image: Path) -> None:
    with loop_device(image, sector_bytes=4096) as node:
        label(node, SCRIPTS["gpt"])
        tell_kernel(node, read(node))
        run("mke2fs", "-q", "-t", "ext4", "-b", "4096", f"{node}p2")
        info = listed(node)
        assert info.size_bytes == int(run("blockdev", "--getsize64", str(node)))
        assert info.logical_sector_bytes == 4096
        assert [volume.path for volume in info.volumes] == [f"{node}p{n}" for n in (1, 2, 3)]
        assert info.volumes[1].content.type == "ext4"
        assert info.volumes[1].used_bytes is not None
        json.dumps([asdict(one) for one in list_devices()])


def test_used_bytes_are_those_of_dumpe2fs(image: Path) -> None:
    run("mke2fs", "-q", "-t", "ext4", "-b", "1024", str(image))
    said = dict(
        line.split(":", 1) for line in run("dumpe2fs", "-h", str(image)).splitlines() if ":" in line
    )
    with loop_device(image) as node:
        volume = listed(node).volumes[0]
    assert volume.free_bytes == int(said["Free blocks"]) * 1024
    assert volume.used_bytes == (int(said["Block count"]) - int(said["Free blocks"])) * 1024


def test_partition_of_an_image_is_told_to_nobody(image: Path) -> None:
    table = replace(read(image), partitions=(Partition(1, MIB, MIB, LINUX),))
    tell_kernel(image, table)
