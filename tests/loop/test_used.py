"""Which bytes of a divided disk are read for a replica, judged by dumpe2fs and by what is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import sys
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from loops import loop_device, mounted
from oracles import run

from blockrep.disk.device import Device
from blockrep.errors import DeviceBusy, FilesystemUnsupported, NotDivided
from blockrep.extents import Extent, intersect, normalise, round_down, round_up, subtract, total
from blockrep.segment.epoch import Consistency, PartitionKind
from blockrep.transfer.used import FirstArea, survey_first_area

pytestmark = pytest.mark.root

PROGRAM = Path(sys.executable).with_name("blockrep")
BLOCK = 4096

GPT = """label: gpt
start=1MiB, size=4MiB
start=6MiB, size=3MiB
start=10MiB, size=8MiB, type=swap
start=20MiB, size=100MiB
"""
DOS = """label: dos
start=1MiB, size=4MiB, type=c
start=6MiB, size=122MiB, type=5
start=7MiB, size=8MiB, type=82
start=16MiB, size=3MiB, type=83
start=20MiB, size=100MiB, type=83
"""


def fill(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(os.urandom(4096) * (length // 4096))


def make_ext(path: Path, start: int, length: int, options: str) -> None:
    """A filesystem with files, and old data in what is free."""
    fill(path, start, length)
    tree = path.parent / "tree"
    tree.mkdir(exist_ok=True)
    for number in range(40):
        (tree / f"file{number}").write_bytes(os.urandom(number * 9000))
    where = ["-E", f"offset={start},nodiscard", "-d", tree, path]
    run("mke2fs", "-q", "-F", *options.split(), *where, f"{length // 1024}K")
    shutil.rmtree(tree)


def make_disk(path: Path, script: str, options: str) -> Path:
    sparse_file(path, 128 * MIB)
    fill(path, 0, 20 * MIB)
    with path.open("r+b") as file:
        file.write(bytes(4096))
    run("sfdisk", "--quiet", "--wipe", "never", path, stdin=script)
    if "dos" in script:
        swap, plain = 7 * MIB, 16 * MIB
        make_fat(path, MIB)
    else:
        swap, plain = 10 * MIB, 6 * MIB
    make_swap(path, swap)
    fill(path, plain, 3 * MIB)
    make_ext(path, 20 * MIB, 100 * MIB, options)
    return path


def make_swap(path: Path, start: int) -> None:
    with loop_device(path, start, 8 * MIB) as node:
        run("mkswap", "-q", node)


def make_fat(path: Path, start: int) -> None:
    """As much of a FAT16 filesystem of 4 MiB as blkid asks for."""
    boot = bytearray(512)
    boot[:11] = b"\xeb\x3c\x90MSDOS5.0"
    struct.pack_into("<HBHBHHBHHHII", boot, 11, 512, 1, 1, 2, 512, 8192, 0xF8, 32, 32, 64, 0, 0)
    boot[36:62] = b"\x80\0\x29\1\2\3\4NO NAME    FAT16   "
    boot[510:] = b"\x55\xaa"
    with path.open("r+b") as file:
        file.seek(start)
        file.write(boot + b"\xf8\xff\xff\xff" + bytes(508))


def free_extents(path: Path, start: int, length: int) -> list[Extent]:
    """What dumpe2fs calls free, in bytes of the disk."""
    out = run("dumpe2fs", f"{path}?offset={start}")
    size = int(re.search(r"^Block size: +(\d+)", out, re.M)[1])  # type: ignore[index]
    clusters = re.search(r"^Cluster size: +(\d+)", out, re.M)
    cluster = int(clusters[1]) // size if clusters else 1
    runs = []
    for line in re.findall(r"^  Free blocks: (.*)$", out, re.M):
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", line):
            end = int(last or first) + cluster  # both ends are first blocks of clusters
            runs.append(Extent(start + int(first) * size, (end - int(first)) * size))
    count = int(re.search(r"^Block count: +(\d+)", out, re.M)[1])  # type: ignore[index]
    behind = Extent(start + count * size, length - count * size)
    return normalise([*runs, behind])


def survey(path: Path) -> FirstArea:
    with Device(path) as device:
        return survey_first_area(device)


def within(area: FirstArea, start: int, length: int) -> list[Extent]:
    return intersect(area.used, [Extent(start, length)])


def inwards(extents: list[Extent]) -> list[Extent]:
    """The whole blocks of 4 KiB that are in extents."""
    found = []
    for start, length in extents:
        first = round_up(start, BLOCK)
        found.append(Extent(first, max(0, round_down(start + length, BLOCK) - first)))
    return normalise(found)


def divide(path: Path, first: str = "110M") -> None:
    run(PROGRAM, "divide", path, "--first", first, "--peers", "1", "--yes", timeout_s=300)


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (GPT, "-t ext4 -b 4096"),
        (GPT, "-t ext4 -b 1024"),
        (GPT, "-t ext2 -b 1024"),
        (GPT, "-t ext4 -O bigalloc -C 16384"),
        (DOS, "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg"),
        (DOS, "-t ext3 -b 2048"),
    ],
)
def test_what_is_read_is_what_is_in_use(tmp_path: Path, script: str, options: str) -> None:
    path = make_disk(tmp_path / "disk.img", script, options)
    divide(path)
    area = survey(path)
    table = json_table(path)
    kinds = {p.kind for p in area.partitions}
    assert kinds >= {PartitionKind.OTHER, PartitionKind.SWAP, PartitionKind.EXT}
    assert (PartitionKind.FAT in kinds) == (script is DOS)
    assert area.is_consistent
    assert area.content_bytes <= 110 * MIB
    assert all(e.start % BLOCK == e.length % BLOCK == 0 for e in area.used)
    assert list(area.used) == normalise(area.used)
    for part in area.partitions:
        start, length = part.start_bytes, part.length_bytes
        assert table[part.number] == (start, length)
        whole = [Extent(start, length)]
        used = within(area, start, length)
        if part.kind is PartitionKind.SWAP:
            assert used == [Extent(start, BLOCK)]
        elif part.kind is PartitionKind.EXT:
            free = subtract(free_extents(path, start, length), [Extent(start, BLOCK)])
            assert used == subtract(whole, inwards(free))
            assert total(used) < length // 2
        else:
            assert used == whole
    first = min(p.start_bytes for p in area.partitions)
    assert within(area, 0, first) == [Extent(0, first)]
    between = [Extent(p.start_bytes, p.length_bytes) for p in area.partitions]
    gaps = subtract(area.used, [*between, Extent(0, first)])
    container = [Extent(*table[2])] if script is DOS else []
    assert gaps == subtract(intersect(container, [Extent(0, area.content_bytes)]), between)


def json_table(path: Path) -> dict[int, tuple[int, int]]:
    found = json.loads(run("sfdisk", "--json", path))["partitiontable"]
    return {
        int(p["node"].removeprefix(str(path))): (p["start"] * 512, p["size"] * 512)
        for p in found["partitions"]
    }


def test_a_bare_filesystem(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "disk.img", 100 * MIB)
    make_ext(path, 0, 100 * MIB, "-t ext4")
    divide(path, "60M")
    area = survey(path)
    assert [(p.number, p.kind) for p in area.partitions] == [(0, PartitionKind.EXT)]
    free = free_extents(path, 0, area.content_bytes)
    assert list(area.used) == subtract([Extent(0, area.content_bytes)], inwards(free))


def test_a_filesystem_with_a_journal_to_replay_is_read_whole(tmp_path: Path) -> None:
    path = make_disk(tmp_path / "disk.img", GPT, "-t ext4")
    divide(path)
    before = survey(path)
    ext = next(p for p in before.partitions if p.kind is PartitionKind.EXT)
    run("debugfs", "-w", "-R", "feature needs_recovery", f"{path}?offset={ext.start_bytes}")
    area = survey(path)
    dirty = next(p for p in area.partitions if p.kind is PartitionKind.EXT)
    assert dirty.consistency is Consistency.INCONSISTENT
    assert not area.is_consistent
    whole = Extent(dirty.start_bytes, dirty.length_bytes)
    assert within(area, *whole) == [whole]


def test_mounting_it_to_write_changes_the_fingerprint(tmp_path: Path) -> None:
    path = make_disk(tmp_path / "disk.img", GPT, "-t ext4")
    divide(path)
    before = survey(path)
    assert survey(path) == before
    ext = next(p for p in before.partitions if p.kind is PartitionKind.EXT)
    with loop_device(path, ext.start_bytes, ext.length_bytes) as node:
        with pytest.raises(DeviceBusy):
            survey(path)
        with mounted(node, read_only=False):
            pass
    assert survey(path).fingerprint != before.fingerprint


def test_who_is_refused(tmp_path: Path) -> None:
    path = make_disk(tmp_path / "disk.img", GPT, "-t ext4")
    with pytest.raises(NotDivided):
        survey(path)
    divide(path)
    with path.open("r+b") as file:
        file.seek(10 * MIB + 4096 - 10)
        file.write(b"S1SUSPEND\0")
    with pytest.raises(FilesystemUnsupported):
        survey(path)
