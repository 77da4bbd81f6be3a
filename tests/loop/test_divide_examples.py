"""The disks of the text, divided by the program as a user runs it, and judged by other programs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import GIB, MIB, START_BYTES, ext_disk, sparse_file
from loops import loop_device, mounted
from manifest import Manifest, differences, read_manifest
from oracles import dumpe2fs, fsck, run

pytestmark = pytest.mark.root

PROGRAM = Path(sys.executable).with_name("blockrep")
SEGMENT = "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE4005E"
FOLDERS = 48  # directories at the top go to groups far from each other


def blockrep(*words: object) -> str:
    return run(PROGRAM, *words, timeout_s=900)


def real_files() -> Iterator[Path]:
    for folder, folders, names in os.walk("/usr"):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def scatter(root: Path, total_bytes: int) -> None:
    """Copies of this system's own files all over the filesystem."""
    for number in range(FOLDERS):
        (root / f"d{number}").mkdir()
    for number, path in enumerate(real_files()):
        if total_bytes <= 0:
            break
        shutil.copy2(path, root / f"d{number % FOLDERS}" / f"{number}-{path.name}")
        total_bytes -= path.stat().st_size
    (root / "d0" / "link").symlink_to("/usr")
    os.link(root / "d1" / next((root / "d1").iterdir()).name, root / "hard link")


@contextlib.contextmanager
def filesystem_of(
    image: Path, *, read_only: bool = True, start: int = START_BYTES
) -> Iterator[Path]:
    """The filesystem in the first partition, no longer than it says itself."""
    said = dumpe2fs(f"{image}?offset={start}")
    length = int(said["Block count"]) * int(said["Block size"])
    with (
        loop_device(image, start, length, read_only=read_only) as device,
        mounted(device, read_only=read_only) as root,
    ):
        yield root


def scattered_disk(path: Path, size_bytes: int, data_bytes: int, **options: str) -> Manifest:
    """A disk full of files from end to end, and what is in it."""
    filesystem = ext_disk(path, size_bytes, "-t ext4 -b 4096", **options)  # type: ignore[arg-type]
    with filesystem_of(path, read_only=False) as root:
        scatter(root, data_bytes)
    with filesystem_of(path) as root:
        found = read_manifest(root)
    assert last_used_byte(filesystem) > size_bytes * 3 // 4
    return found


def last_used_byte(filesystem: str) -> int:
    """Where the last block in use ends, counted from the start of the disk."""
    listing = run("dumpe2fs", filesystem)
    unit = int(re.search(r"^Block size: +(\d+)", listing, re.M)[1])  # type: ignore[index]
    last = 0
    for group in re.split(r"^Group \d+: ", listing, flags=re.M)[1:]:
        start, end = map(int, re.search(r"Blocks (\d+)-(\d+)", group).groups())  # type: ignore[union-attr]
        free = re.search(r"^  Free blocks: (.*)$", group, re.M)[1]  # type: ignore[index]
        runs = [tuple(map(int, item.split("-"))) for item in free.split(", ") if item]
        while runs and runs[-1][-1] == end:
            end = runs.pop()[0] - 1
        if end >= start:
            last = end + 1
    return START_BYTES + last * unit


def digest_from(image: Path, start: int) -> str:
    """Of the bytes from `start` on that are not zero, with their places."""
    total = hashlib.sha256()
    with image.open("rb") as file:
        at, size = start, image.stat().st_size
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                break
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            for page in range(max(start, at // 4096 * 4096), end, 4096):
                data = os.pread(file.fileno(), 4096, page)
                if data.strip(b"\0"):
                    total.update(page.to_bytes(8, "little") + data)
            at = end
    return total.hexdigest()


def fill(root: Path) -> int:
    """Write until there is no room; the bytes that there was room for."""
    block, written = os.urandom(MIB), 0
    with (root / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            written += file.write(block)
    os.sync()
    return written


def partitions(disk: Path) -> list[dict[str, object]]:
    table = json.loads(run("sfdisk", "-J", disk))["partitiontable"]
    return list(table["partitions"])


def check_divided(disk: Path, first_bytes: int, peers: int, wanted: Manifest) -> None:
    filesystem = f"{disk}?offset={START_BYTES}"
    fsck(filesystem)
    said = dumpe2fs(filesystem)
    assert START_BYTES + int(said["Block count"]) * int(said["Block size"]) <= first_bytes
    assert last_used_byte(filesystem) <= first_bytes
    table = partitions(disk)
    ours = [p for p in table if p["type"] in (SEGMENT, "da")]
    if "gpt" in run("sfdisk", "--dump", disk):
        assert "No problems found" in run("sgdisk", "-v", disk)
        assert len(ours) == peers
        assert [p["name"] for p in ours] == [f"blockrep segment {n + 1}" for n in range(peers)]
    assert all(int(str(p["start"])) * 512 >= first_bytes for p in ours)
    shown = json.loads(blockrep("show", disk, "--json"))["divided"]
    assert len(shown["segments"]) == peers
    with filesystem_of(disk) as root:
        assert differences(wanted, read_manifest(root)) == []


def test_nine_gibibytes_in_one_and_eight(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    wanted = scattered_disk(disk, 9 * GIB, 700 * MIB)
    blockrep("divide", disk, "--first", "1G", "--peers", "8", "--yes")
    check_divided(disk, GIB, 8, wanted)
    before = digest_from(disk, GIB)
    with filesystem_of(disk, read_only=False) as root:
        found = os.statvfs(root)
        free_bytes = found.f_bfree * found.f_frsize
        assert free_bytes > 160 * MIB
        # The kernel keeps 16 MiB back for delayed writes, and the last write may fail as a whole.
        assert fill(root) > free_bytes - 18 * MIB
    assert digest_from(disk, GIB) == before
    fsck(f"{disk}?offset={START_BYTES}")


@pytest.mark.parametrize(
    ("size", "first", "peers", "divider"),
    [
        (4 * GIB, "1G", 3, GIB),
        (20 * GIB, "5G", 15, 5 * GIB),
        (4 * GIB, "11%", 8, 4 * GIB * 11 // 100),
        (9 * GIB, "1G", 0, GIB),
    ],
    ids=["4-in-1-and-3", "20-in-5-and-15", "11-percent", "reserve"],
)
def test_other_shares_and_back(
    tmp_path: Path, size: int, first: str, peers: int, divider: int
) -> None:
    disk = tmp_path / "disk.img"
    wanted = scattered_disk(disk, size, 16 * MIB)
    old_table, old_filesystem = run("sfdisk", "--dump", disk), f"{disk}?offset={START_BYTES}"
    old_blocks = dumpe2fs(old_filesystem)["Block count"]
    blockrep("divide", disk, "--first", first, "--peers", str(peers), "--yes")
    check_divided(disk, divider, peers, wanted)
    segments = [p for p in partitions(disk) if p["type"] == SEGMENT]
    room = size - divider - peers * MIB - 8 * MIB
    if peers:
        assert sum(int(str(p["size"])) * 512 for p in segments) >= room
    blockrep("undivide", disk, "--yes")
    assert run("sfdisk", "--dump", disk) == old_table
    assert dumpe2fs(old_filesystem)["Block count"] == old_blocks
    fsck(old_filesystem)
    with filesystem_of(disk) as root:
        assert differences(wanted, read_manifest(root)) == []


def test_swap_in_a_logical_partition_moves_below(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    behind = "type=5, size=65M\ntype=82, size=63M\n"
    wanted = scattered_disk(disk, 4 * GIB, 16 * MIB, label="dos", behind=behind)
    swap = next(p for p in partitions(disk) if p["type"] == "82")
    start, length = int(str(swap["start"])) * 512, int(str(swap["size"])) * 512
    with loop_device(disk, start, length) as node:
        run("mkswap", "-q", "-L", "the swap", "-U", "01234567-89ab-cdef-0123-456789abcdef", node)
        old = run("blkid", "-p", "-o", "export", node).splitlines()[1:]
    blockrep("divide", disk, "--first", "1G", "--peers", "3", "--yes")
    check_divided(disk, GIB, 3, wanted)
    moved = next(p for p in partitions(disk) if p["type"] == "82")
    start, size = int(str(moved["start"])) * 512, int(str(moved["size"])) * 512
    assert (start + size <= GIB, size) == (True, length)
    with loop_device(disk, start, size) as node:
        assert run("blkid", "-p", "-o", "export", node).splitlines()[1:] == old
    blockrep("undivide", disk, "--yes")
    fsck(f"{disk}?offset={START_BYTES}")


def test_sectors_of_4096_bytes(tmp_path: Path) -> None:
    disk = sparse_file(tmp_path / "disk.img", 4 * GIB)
    with loop_device(disk, sector_bytes=4096) as node:
        run("sfdisk", "--quiet", "--no-reread", node, stdin="label: gpt\nstart=1MiB\n")
        run("partx", "-a", node)
        part = Path(f"{node}p1")
        run("mke2fs", "-q", "-t", "ext4", part)
        with mounted(part, read_only=False) as root:
            scatter(root, 16 * MIB)
        with mounted(part) as root:
            wanted = read_manifest(root)
        blockrep("divide", node, "--first", "1G", "--peers", "3", "--yes")
        assert "No problems found" in run("sgdisk", "-v", node)
        assert len([p for p in partitions(node) if p["type"] == SEGMENT]) == 3
        assert Path(f"{node}p5").is_block_device()  # the kernel was told
        assert int(run("blockdev", "--getsize64", part)) <= GIB - MIB
        fsck(part)
        with mounted(part) as root:
            assert differences(wanted, read_manifest(root)) == []
        blockrep("undivide", node, "--yes")
        assert not Path(f"{node}p5").exists()
        fsck(part)


def test_a_filesystem_without_a_table(tmp_path: Path) -> None:
    disk = sparse_file(tmp_path / "disk.img", 4 * GIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", disk)
    with filesystem_of(disk, read_only=False, start=0) as root:
        scatter(root, 16 * MIB)
    with filesystem_of(disk, start=0) as root:
        wanted = read_manifest(root)
    blockrep("divide", disk, "--first", "1G", "--peers", "3", "--yes")
    fsck(disk)
    said = dumpe2fs(disk)
    assert int(said["Block count"]) * int(said["Block size"]) <= GIB
    shown = json.loads(blockrep("show", disk, "--json"))["divided"]
    assert len(shown["segments"]) == 3
    before = digest_from(disk, GIB)
    with filesystem_of(disk, read_only=False, start=0) as root:
        assert differences(wanted, read_manifest(root)) == []
        fill(root)
        (root / "filler").unlink()
    assert digest_from(disk, GIB) == before
    blockrep("undivide", disk, "--yes")
    fsck(disk)
    assert dumpe2fs(disk)["Block count"] == str(GIB // 1024)


def test_recover_finds_nothing_to_do(tmp_path: Path) -> None:
    """On a disk that is whole, divided or not, in use or not, it does not write."""
    disk = tmp_path / "disk.img"
    ext_disk(disk, 4 * GIB)
    for words in ((), ("divide", disk, "--first", "1G", "--peers", "3", "--yes")):
        if words:
            blockrep(*words)
        before = digest_from(disk, 0)
        for command in (("recover", disk), ("recover", disk, "--back")):
            assert "othing to do" in blockrep(*command)
        with filesystem_of(disk):
            assert "othing to do" in blockrep("recover", disk)
        assert digest_from(disk, 0) == before
