"""Small real filesystems of every variety, made by mke2fs and filled without mounting them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from oracles import run

VARIETIES = {
    "ext4": "-t ext4 -b 4096",
    "ext4-1k": "-t ext4 -b 1024",
    "ext4-64k": "-t ext4 -b 65536",
    "ext4-no-64bit": "-t ext4 -b 4096 -O ^64bit",
    "ext4-no-csum": "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg",
    "ext4-no-flex": "-t ext4 -b 1024 -O ^flex_bg",
    "meta-bg": "-t ext4 -b 1024 -O meta_bg,^resize_inode",
    "sparse-super2": "-t ext4 -b 1024 -O sparse_super2,^resize_inode",
    "bigalloc": "-t ext4 -b 4096 -O bigalloc -C 16384",
    "bigalloc-1k": "-t ext4 -b 1024 -O bigalloc -C 8192",
    "inline-data": "-t ext4 -b 4096 -I 512 -O inline_data",
    "quota": "-t ext4 -b 4096 -O quota,project -E quotatype=usrquota:grpquota:prjquota -I 256",
    "orphan-file": "-t ext4 -b 4096 -O orphan_file",
    "ea-inode": "-t ext4 -b 4096 -O ea_inode",
    "ext3": "-t ext3 -b 1024",
    "ext2": "-t ext2 -b 1024",
    "ext2-old": "-t ext2 -b 1024 -I 128 -O none",
}


def fill_tree(root: Path, seed: int = 1) -> None:
    """Directories, files of all sizes, holes, hard links, symlinks of both kinds, xattrs."""
    chance = random.Random(seed)
    for number in range(12):
        folder = root / f"folder{number:02}" / "deeper"
        folder.mkdir(parents=True)
        for name in range(14):
            size = chance.choice([0, 10, 700, 5000, 60000, 200000])
            (folder / f"file{name:02}").write_bytes(chance.randbytes(size))
        (folder.parent / "short").symlink_to("deeper/file00")
        (folder.parent / "long").symlink_to("x" * 200)
        os.link(folder / "file03", folder.parent / "link")
        with (folder / "sparse").open("wb") as file:
            for at in range(0, 3_000_000, 300_000):
                file.seek(at)
                file.write(chance.randbytes(5000))
        os.setxattr(folder / "file01", "user.small", b"v" * 20)
        os.setxattr(folder / "file02", "user.large", chance.randbytes(600))
    many = root / "many"
    many.mkdir()
    for number in range(400):
        (many / f"entry-with-a-rather-long-name-{number:05}").touch()


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    fill_tree(root)
    return root


@pytest.fixture
def make_image(tmp_path: Path, tree: Path) -> Callable[..., Path]:
    """Make `VARIETIES[name]`, 96 MiB unless told otherwise, filled with `tree`."""

    def make(name: str, size: str = "96M", extra: str = "") -> Path:
        image = tmp_path / f"{name}.img"
        options = [*VARIETIES[name].split(), *extra.split()]
        run("mke2fs", "-q", "-F", *options, "-d", str(tree), str(image), size)
        if name != "ext2-old":
            run("e2fsck", "-fyD", str(image), ok=(0, 1))
        return image

    return make
