"""Shrink a shadow with resize2fs, put it right, prove it, apply it, and look at every file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from blockrep.errors import ProofFailed
from blockrep.native import Copy, Filesystem, compare, match_inodes, restore_inodes

from .conftest import VARIETIES, run
from .test_native_metadata import make_shadow

HALF = [name for name in VARIETIES if name not in ("ext2-old",)]


def prove(image: Path, shadow: Path) -> tuple[int, list[Copy]]:
    with Filesystem.open(image) as before:
        with Filesystem.open(shadow, writable=True) as after:
            inodes = match_inodes(before, after)
            restore_inodes(before, after, inodes)
        with Filesystem.open(shadow) as after:
            return inodes.renumbered, compare(before, after, inodes)


def apply(image: Path, shadow: Path, copies: list[Copy]) -> None:
    """What the commit will do, without its care: data first, then the new metadata."""
    with Filesystem.open(shadow) as after, image.open("r+b") as disk, shadow.open("rb") as new:
        unit = after.geometry.block_bytes
        moved = []
        for src, dst, length in copies:
            disk.seek(src * unit)
            moved.append((dst, disk.read(length * unit)))
        for dst, data in moved:
            disk.seek(dst * unit)
            disk.write(data)
        for start, length in after.metadata():
            new.seek(start * unit)
            disk.seek(start * unit)
            disk.write(new.read(length * unit))
        disk.truncate(after.geometry.blocks * unit)


def listing(image: Path, folder: Path) -> dict[str, tuple[object, ...]]:
    """Every file with its fields and content, read with debugfs."""
    run("debugfs", "-R", f"rdump / {folder}", str(image))
    with Filesystem.open(image) as filesystem:
        return {
            path: (
                file.mode,
                file.size_bytes,
                file.kind,
                content_of(folder / path[1:]),
            )
            for file in filesystem.files()
            for path in file.paths
        }


def content_of(path: Path) -> object:
    if path.is_symlink():
        return str(path.readlink())
    return path.read_bytes() if path.is_file() else None


def stat_all(image: Path, paths: list[str]) -> list[str]:
    """What debugfs says about each path, without numbers and places."""
    script = "".join(f'stat "{path}"\nea_list "{path}"\n' for path in paths)
    output = run("debugfs", "-f", "/dev/stdin", str(image), stdin=script)
    dropped = (
        "Inode: ",
        "File ACL",
        "Inode checksum",
        "(",
        "TOTAL",
        "BLOCKS",
        "EXTENTS",
        "debugfs",
    )
    lines = [line for line in output.splitlines() if not line.strip().startswith(dropped)]
    return [line.split("Blockcount")[0] for line in lines]


@pytest.mark.parametrize("name", VARIETIES)
def test_shrinking_keeps_every_file(
    name: str, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image, shadow = make_image(name), tmp_path / "shadow.img"
    with Filesystem.open(image) as filesystem:
        blocks = filesystem.geometry.blocks
    old = listing(image, tmp_path / "old") if (tmp_path / "old").mkdir() is None else {}
    facts = stat_all(image, sorted(old))
    make_shadow(image, shadow)
    run("resize2fs", "-f", str(shadow), str(blocks * 7 // 10))
    _, copies = prove(image, shadow)
    run("e2fsck", "-fn", str(shadow))
    apply(image, shadow, copies)
    run("e2fsck", "-fn", str(image))
    (tmp_path / "new").mkdir()
    assert listing(image, tmp_path / "new") == old
    assert stat_all(image, sorted(old)) == facts


@pytest.mark.parametrize("name", VARIETIES)
def test_renumbered_inodes(name: str, make_image: Callable[..., Path], tmp_path: Path) -> None:
    """Few inodes per group, so that half of the groups hold the second half of the files."""
    image = make_image(name, extra="-N 1200") if "64k" not in name else make_image(name)
    shadow = tmp_path / "shadow.img"
    with Filesystem.open(image) as filesystem:
        used = filesystem.summary().inodes_used
        groups = -(-used // filesystem.geometry.inodes_per_group)
        blocks = max(
            filesystem.minimum_blocks() * 13 // 10,
            groups * filesystem.geometry.blocks_per_group + 1,
            filesystem.geometry.blocks // 2,
        )
    (tmp_path / "old").mkdir()
    old = listing(image, tmp_path / "old")
    facts = stat_all(image, sorted(old))
    make_shadow(image, shadow)
    run("resize2fs", "-f", str(shadow), str(blocks))
    _, copies = prove(image, shadow)
    run("e2fsck", "-fn", str(shadow))
    apply(image, shadow, copies)
    run("e2fsck", "-fn", str(image))
    (tmp_path / "new").mkdir()
    assert listing(image, tmp_path / "new") == old
    assert stat_all(image, sorted(old)) == facts


def test_an_unchanged_filesystem_needs_no_copies(
    make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image, shadow = make_image("ext4"), tmp_path / "shadow.img"
    make_shadow(image, shadow)
    before = shadow.read_bytes()
    assert prove(image, shadow) == (0, [])
    run("e2fsck", "-fn", str(shadow))
    assert len(before) == shadow.stat().st_size


@pytest.mark.parametrize(
    "command",
    [
        "rm /folder03/deeper/file05",
        "sif /folder03/deeper/file05 mode 0100600",
        "sif /folder03/deeper size 8192",
        "write /etc/hostname /new",
        "ln /folder03/deeper/file05 /again",
        "ea_set /folder03/deeper/file02 user.large x",
        "ea_rm /folder03/deeper/file02 user.large",
        "sif /folder03/long generation 77",
        "punch /folder03/deeper/sparse 0 100",
        "ssv def_hash_version tea",
        "freeb 9000 1",
        "setb 20000 1",
    ],
)
def test_a_difference_is_found(
    command: str, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image, shadow = make_image("ext4"), tmp_path / "shadow.img"
    shutil.copy(image, shadow)
    run("debugfs", "-w", "-R", command, str(shadow))
    with Filesystem.open(image) as before, Filesystem.open(shadow) as after:
        with pytest.raises(ProofFailed) as caught:
            compare(before, after, match_inodes(before, after))
    assert caught.value.message
