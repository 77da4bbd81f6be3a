"""Aged filesystems, their shadows, and what a shadow's new mappings do to each file's bytes.

A shadow has no file data. To compare contents, the image that a commit would make is put together:
the old image, the shadow's metadata, and each file's data brought from its old to its new blocks as
debugfs's two listings of the mappings say.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import stat
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from disks import sparse_file
from loops import mounted_image
from oracles import dumpe2fs, fsck, run

MIB = 1 << 20


def make_shadow(image: Path) -> Path:
    shadow = image.with_suffix(".shadow")
    shadow.unlink(missing_ok=True)
    run("e2image", "-r", image, shadow)
    os.truncate(shadow, image.stat().st_size)
    return shadow


# Ageing: fill with small files, punch holes into the free space, write larger files into them.


def write_file(path: Path, size_bytes: int, rng: random.Random) -> None:
    seed = rng.randbytes(1024)
    with path.open("wb") as file:
        file.write((seed * (size_bytes // len(seed) + 1))[:size_bytes])


def decorate(root: Path, rng: random.Random) -> None:
    """What is not a plain file: links, sparse and unwritten parts, attribute blocks, fifos."""
    folder = root / "odd"
    folder.mkdir()
    (folder / "short").symlink_to("x" * 20)
    for i in range(12):
        (folder / f"long{i}").symlink_to("y" * 200 + str(i))
        write_file(folder / f"shared{i}", 3000, rng)
        os.setxattr(folder / f"shared{i}", "user.big", b"v" * 600)
        os.setxattr(folder / f"shared{i}", "user.own", b"%d" % (i // 3) * 200)
    with (folder / "sparse").open("wb") as file:
        for i in range(40):
            file.seek(i * 300_000)
            file.write(rng.randbytes(9000))
    with (folder / "unwritten").open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, 2 * MIB)
        except OSError:
            file.truncate(2 * MIB)
        file.seek(MIB)
        file.write(rng.randbytes(50_000))
    os.mkfifo(folder / "fifo")


def age(root: Path, seed: int, used: float) -> None:
    rng = random.Random(seed)
    decorate(root, rng)
    small = []
    for n in range(100_000):
        folder = root / f"d{n % 37}"
        folder.mkdir(exist_ok=True)
        path = folder / f"f{n}"
        try:
            write_file(path, int(rng.lognormvariate(9.5, 1.4)), rng)
        except OSError:
            path.unlink(missing_ok=True)  # no inode may have been left for it
            break
        small.append(path)
    os.sync()
    rng.shuffle(small)
    for path in small[: int(len(small) * 0.6)]:
        path.unlink()
    os.sync()
    for n in range(10_000):
        free = os.statvfs(root)
        if free.f_bfree < free.f_blocks * (1 - used):
            break
        write_file(root / f"d{n % 37}" / f"large{n}", rng.randrange(MIB // 4, 3 * MIB), rng)
        os.sync()


@dataclass(frozen=True)
class Variant:
    name: str
    mkfs: str
    blocks: int
    block_bytes: int = 4096
    used: float = 0.55


# Mappings, as debugfs lists them.

RANGE = re.compile(r"\((\d+)(?:-(\d+))?(\[u\])?\):(\d+)")


@dataclass(frozen=True)
class Inode:
    kind: str
    mapping: dict[int, int]  # logical to physical block
    unwritten: frozenset[int]

    @property
    def runs(self) -> int:
        blocks = [self.mapping[k] for k in sorted(self.mapping)]
        return sum(b != a + 1 for a, b in pairwise(blocks)) + bool(blocks)


def inodes_of(image: Path) -> dict[int, Inode]:
    count = int(dumpe2fs(image)["Inode count"])
    used = [n for n in range(1, count + 1) if n > 10 or n in (2, 8)]
    listing = run("debugfs", "-f", "-", image, stdin="".join(f"stat <{n}>\n" for n in used))
    result = {}
    for text in re.split(r"^debugfs: stat .*\n", listing, flags=re.M)[1:]:
        head = re.match(r"Inode: (\d+)\s+Type: (.*?)\s+Mode:", text)
        links = re.search(r"Links: (\d+)", text)
        if not head or not links or links[1] == "0":
            continue
        mapping: dict[int, int] = {}
        unwritten = set()
        for low, high, flag, start in RANGE.findall(text):
            for lblk in range(int(low), int(high or low) + 1):
                mapping[lblk] = int(start) + lblk - int(low)
                if flag:
                    unwritten.add(lblk)
        if "Fast link dest" in text:
            mapping = {}
        result[int(head[1])] = Inode(head[2], mapping, frozenset(unwritten))
    return result


def joined_image(image: Path, shadow: Path, block_bytes: int) -> Path:
    """The old image with the shadow's metadata and the data of each file at its new blocks."""
    before, after = inodes_of(image), inodes_of(shadow)
    names = ("Orphan file inode", "User quota inode", "Group quota inode", "Project quota inode")
    metadata = {int(dumpe2fs(image).get(name, "0")) for name in names}
    merged = image.with_suffix(".merged")
    shutil.copyfile(image, merged)
    with image.open("rb") as old, shadow.open("rb") as meta, merged.open("r+b") as new:
        overlay(meta, new)
        for number, inode in after.items():
            if inode.kind != "regular" or number in metadata:
                continue
            assert inode.mapping.keys() == before[number].mapping.keys()
            assert inode.unwritten == before[number].unwritten
            for lblk, blk in inode.mapping.items():
                if number == 8 and lblk == 0:
                    continue
                old.seek(before[number].mapping[lblk] * block_bytes)
                new.seek(blk * block_bytes)
                new.write(old.read(block_bytes))
    return merged


def overlay(source: BinaryIO, target: BinaryIO) -> None:
    size = os.fstat(source.fileno()).st_size
    at = 0
    while at < size:
        try:
            at = os.lseek(source.fileno(), at, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(source.fileno(), at, os.SEEK_HOLE)
        while at < end:
            piece = os.pread(source.fileno(), min(end - at, MIB), at)
            os.pwrite(target.fileno(), piece, at)
            at += len(piece)


def contents(root: Path) -> dict[str, tuple[object, ...]]:
    result: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        body = ""
        if stat.S_ISREG(info.st_mode):
            body = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(info.st_mode):
            body = str(path.readlink())
        xattrs = {}
        if not stat.S_ISLNK(info.st_mode):
            xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        result[str(path.relative_to(root))] = (
            info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns,
            info.st_nlink, body, sorted(xattrs.items()),
        )  # fmt: skip
    return result


def make_image(folder: Path, variant: Variant, seed: int = 7) -> Path:
    """An aged filesystem of the variant's kind; made once per folder."""
    image = folder / f"{variant.name}.img"
    if image.exists():
        return image
    sparse_file(image, variant.blocks * variant.block_bytes)
    journal = () if variant.mkfs.startswith("-t ext2") else ("-J", "size=4")
    run("mke2fs", "-q", "-F", "-N", "6000", *journal, *variant.mkfs.split(), image,
        variant.blocks)  # fmt: skip
    with mounted_image(image) as root:
        age(root, seed, variant.used)
    fsck(image)
    return image
