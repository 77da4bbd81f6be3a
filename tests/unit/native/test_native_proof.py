"""Shrink a shadow with resize2fs, put it right, prove it, apply it, and look at every file."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from oracles import run

from blockrep.errors import ProofFailed
from blockrep.native import (
    Copy,
    FileKind,
    Filesystem,
    compare,
    match_inodes,
    restore_inodes,
)

from .conftest import VARIETIES
from .test_native_metadata import make_shadow


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


def debugfs(image: Path, *commands: str) -> None:
    """Change a filesystem by hand."""
    run("debugfs", "-w", "-f", "/dev/stdin", str(image), stdin="\n".join(commands) + "\n")


def usages(image: Path) -> dict[tuple[str, str], str]:
    """What the quota files say of each id, as debugfs lists them."""
    return {
        (kind, line.split()[0]): line
        for kind in ("user", "group", "project")
        for line in run("debugfs", "-R", f"lq {kind}", str(image)).splitlines()[1:]
    }


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
    lines = [
        line for line in output.splitlines() if not line.strip().startswith((*dropped, "debugfs"))
    ]
    return [line.split("Blockcount")[0] for line in lines]


def shrink_and_check(image: Path, blocks: int, scratch: Path) -> int:
    """Everything from shadow to commit; the number of renumbered inodes."""
    shadow, old_folder, new_folder = scratch / "shadow.img", scratch / "old", scratch / "new"
    old_folder.mkdir()
    new_folder.mkdir()
    old = listing(image, old_folder)
    facts = stat_all(image, sorted(old))
    make_shadow(image, shadow)
    run("resize2fs", "-f", str(shadow), str(blocks))
    renumbered, copies = prove(image, shadow)
    run("e2fsck", "-fn", str(shadow))
    apply(image, shadow, copies)
    run("e2fsck", "-fn", str(image))
    assert listing(image, new_folder) == old
    assert stat_all(image, sorted(old)) == facts
    return renumbered


@pytest.mark.parametrize("name", VARIETIES)
def test_shrinking_keeps_every_file(
    name: str, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image = make_image(name)
    with Filesystem.open(image) as filesystem:
        blocks = filesystem.geometry.blocks
    shrink_and_check(image, blocks * 7 // 10, tmp_path)


@pytest.mark.parametrize("name", VARIETIES)
def test_renumbered_inodes(name: str, make_image: Callable[..., Path], tmp_path: Path) -> None:
    """Few inodes per group, and those with low numbers deleted, so that high ones must move."""
    group = {"ext4-64k": 256, "bigalloc": 1024, "bigalloc-1k": 1024}.get(
        name, 8192 if "-b 1024" in VARIETIES[name] else 4096
    )
    image = make_image(name, extra=f"-N 700 -g {group}")
    with Filesystem.open(image) as filesystem:
        plain = [f for f in filesystem.files() if f.kind is FileKind.FILE and len(f.paths) == 1]
    doomed = [file.paths[0] for file in plain[: len(plain) // 2]]
    debugfs(image, *(f"rm {path}" for path in doomed))
    run("e2fsck", "-fy", str(image), ok=(0, 1))
    with Filesystem.open(image) as filesystem:
        geometry = filesystem.geometry
        used = filesystem.summary().inodes_used + 12  # reserved ones count too
        groups = -(-used // geometry.inodes_per_group)
    assert groups < geometry.groups
    assert shrink_and_check(image, groups * geometry.blocks_per_group + 1, tmp_path) > 20


def test_usage_is_adjusted_when_a_tree_grows(
    make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image, shadow = make_image("quota"), tmp_path / "shadow.img"
    make_shadow(image, shadow)
    debugfs(shadow, "extent_open /folder03/deeper/sparse", "root", "split_node", "extent_close")
    assert "quota" in run("e2fsck", "-fn", str(shadow), ok=(4,)).lower()
    assert prove(image, shadow) == (0, [])
    run("e2fsck", "-fn", str(shadow))


def _own_sparse_files(folder: Path, ids: list[int]) -> None:
    """A file of ten runs for every id, that owns it as user; groups and projects are others."""
    for number, owner in enumerate(ids):
        path = folder / f"sparse{number}"
        with path.open("wb") as file:
            for at in range(0, 1_000_000, 100_000):
                file.seek(at)
                file.write(b"x" * 5000)
        os.chown(path, owner, ids[-1 - number])


@pytest.mark.root
def test_usage_of_many_ids_is_adjusted(tmp_path: Path) -> None:
    """Ids of one byte to four, more than a leaf of a quota file holds, next to each other."""
    ids = [0, 1, 255, 256, 65_535, 65_536, 70_000, 16_777_217, 4_000_000_000, *range(1000, 1031)]
    folder, image, shadow = tmp_path / "tree", tmp_path / "fs.img", tmp_path / "shadow.img"
    folder.mkdir()
    _own_sparse_files(folder, ids)
    run("mke2fs", "-q", "-F", *VARIETIES["quota"].split(), "-d", str(folder), str(image), "64M")
    chance = random.Random(1)
    projects = {n: chance.choice(ids) for n in range(len(ids))}
    debugfs(image, *(f"sif /sparse{n} projid {project}" for n, project in projects.items()))
    for _ in range(2):  # the quota files settle in the second run
        run("e2fsck", "-fy", str(image), ok=(0, 1))
    make_shadow(image, shadow)
    for number in range(0, len(ids), 2):
        debugfs(shadow, f"extent_open /sparse{number}", "root", "split_node", "extent_close")
    assert "quota" in run("e2fsck", "-fn", str(shadow), ok=(4,)).lower()
    before = usages(shadow)
    assert prove(image, shadow) == (0, [])
    run("e2fsck", "-fn", str(shadow))
    changed = {key[0] for key, usage in usages(shadow).items() if usage != before[key]}
    assert changed == {"user", "group", "project"}
    assert sum(usage != before[key] for key, usage in usages(shadow).items()) > 50


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
        "freeb 400 1",
        "setb 20000 1",
    ],
)
def test_a_difference_is_found(
    command: str, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image, shadow = make_image("ext4"), tmp_path / "shadow.img"
    shutil.copy(image, shadow)
    run("debugfs", "-w", "-R", command, str(shadow))
    with (
        Filesystem.open(image) as before,
        Filesystem.open(shadow) as after,
        pytest.raises(ProofFailed) as caught,
    ):
        compare(before, after, match_inodes(before, after))
    assert caught.value.message


def test_special_inodes_that_were_renumbered(tmp_path: Path) -> None:
    """Project quota and orphan file have high numbers when tune2fs adds them to a full table."""
    folder, image, shadow = tmp_path / "tree", tmp_path / "fs.img", tmp_path / "shadow.img"
    folder.mkdir()
    for number in range(500):
        (folder / f"file{number}").write_text("x")
    options = "-t ext4 -b 4096 -I 256 -N 600 -g 4096 -O quota -E quotatype=usrquota:grpquota"
    run("mke2fs", "-q", "-F", *options.split(), "-d", str(folder), str(image), "96M")
    for change in ("-Oproject", "-Qprjquota", "-Oorphan_file"):
        run("tune2fs", change, str(image))
    debugfs(image, *(f"rm file{number}" for number in range(300)))
    run("e2fsck", "-fy", str(image), ok=(0, 1))
    make_shadow(image, shadow)
    run("resize2fs", "-f", str(shadow), str(3 * 4096))
    run("e2fsck", "-fn", str(shadow), ok=(4, 12))
    renumbered, _ = prove(image, shadow)
    assert renumbered > 50
    run("e2fsck", "-fn", str(shadow))
