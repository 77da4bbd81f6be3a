"""What a plan writes makes the new filesystem, whole, and is nothing more than that."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest
from disks import MIB, START_BYTES, ext_disk
from oracles import dumpe2fs, fsck, run

from blockrep.disk.device import Device
from blockrep.divide.copies import run_copies
from blockrep.divide.host import Goal, HostPlan, find_host, plan_host
from blockrep.divide.log import image_digest
from blockrep.extents import Extent, intersect, total
from blockrep.native import Filesystem
from blockrep.progress import Silent

OPTIONS = (
    "-t ext4 -b 4096 -g 2048",
    "-t ext4 -b 1024",
    "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^64bit",
    "-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode",
    "-t ext4 -b 4096 -O bigalloc -C 16384",
    "-t ext4 -b 1024 -O sparse_super2,^resize_inode",
    "-t ext3 -b 1024",
    "-t ext2 -b 1024",
)
SIZE = 96 * MIB
FILES = 210
SIZES = (5000, 90_000, 400_000, 900_000)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, root = random.Random(1), tmp_path_factory.mktemp("tree")
    for number in range(FILES):
        folder = root / f"d{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(rng.randbytes(rng.choice(SIZES)))
    return root


@pytest.fixture(params=OPTIONS)
def disk(request: pytest.FixtureRequest, tmp_path: Path, tree: Path) -> Path:
    """Files at both ends: two thirds of them are gone again."""
    path = tmp_path / "disk.img"
    filesystem = ext_disk(path, SIZE, request.param, tree=tree)
    gone = [f"rm /d{n % 20}/f{n}" for n in range(FILES) if n % 3]
    run("debugfs", "-w", "-f", "-", filesystem, stdin="\n".join(gone) + "\n")
    run("e2fsck", "-fy", filesystem, ok=(0, 1))
    return path


def apply(path: Path, plan: HostPlan) -> None:
    """As commit does it, without log and lock."""
    with Device(path, writable=True) as device:
        run_copies(device, START_BYTES, plan.host.block_bytes, plan.copies, Silent())
        for change in plan.writes.metadata:
            assert change.new is not None
            device.write(change.offset_bytes, change.new())
        device.write(START_BYTES + 1024, plan.writes.super_new)
        for offset, raw in plan.writes.backups_new:
            device.write(offset, raw)
        device.flush()


def check_changes(device: Device, plan: HostPlan) -> None:
    unit = plan.host.block_bytes
    old = Extent(START_BYTES, plan.host.superblock.blocks * unit)
    new_end = START_BYTES + plan.after.blocks * unit
    supers = [Extent(at, 1024) for at, _ in plan.writes.supers_old]
    places = [Extent(c.offset_bytes, c.length_bytes) for c in plan.writes.metadata]
    for change, place in zip(plan.writes.metadata, places, strict=True):
        assert change.old is not None
        assert change.new is not None
        before, after = change.old(), change.new()
        assert before == device.read(*place) != after
        assert len(after) == place.length
        assert change.old_digest == image_digest(before)
        assert change.zeros == (after == bytes(len(after)))
        assert place.end <= new_end
    assert intersect(places, supers) == []
    assert total(intersect(places, places)) == sum(p.length for p in places)
    for at, raw in plan.writes.supers_old:
        assert device.read(at, 1024) == raw
        assert raw[0x38:0x3A] == b"\x53\xef"
        assert old.start < at < old.end
    listing = run("dumpe2fs", f"{device.path}?offset={START_BYTES}")
    backups = [int(at) for at in re.findall(r"Backup superblock at (\d+)", listing)]
    assert [at for at, _ in plan.writes.supers_old] == [
        START_BYTES + 1024,
        *(START_BYTES + b * unit for b in backups),
    ]


def test_the_write_set_is_the_new_filesystem(disk: Path, tmp_path: Path) -> None:
    filesystem = f"{disk}?offset={START_BYTES}"
    wanted, found = tmp_path / "wanted", tmp_path / "found"
    wanted.mkdir()
    found.mkdir()
    run("debugfs", "-R", f"rdump / {wanted}", filesystem)
    after = tmp_path / "after.img"
    shutil.copy(disk, after)
    with Device(disk, writable=True) as device:
        host = find_host(device, START_BYTES, SIZE - 2 * MIB)
        goal = Goal(host.superblock.blocks * 6 // 10, False, {})
        with (plan := plan_host(device, host, goal, None, Silent())).shadow as shadow:
            assert plan.copies
            check_changes(device, plan)
            apply(after, plan)
            # All metadata of the new filesystem is on the disk, not only what e2fsck looks at.
            with Filesystem.open(str(shadow.path)) as planned, after.open("rb") as file:
                for start, length in planned.metadata():
                    at, size = start * host.block_bytes, length * host.block_bytes
                    file.seek(START_BYTES + at)
                    assert file.read(size) == shadow.read(at, size)
    fsck(f"{after}?offset={START_BYTES}")
    assert int(dumpe2fs(f"{after}?offset={START_BYTES}")["Block count"]) == plan.after.blocks
    run("debugfs", "-R", f"rdump / {found}", f"{after}?offset={START_BYTES}")
    run("diff", "-r", "--no-dereference", wanted, found)
