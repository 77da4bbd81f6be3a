"""What lies where, against debugfs, dumpe2fs, filefrag and resize2fs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from oracles import run

from blockrep.extents import Extent, normalise, subtract, total, union
from blockrep.native import FileKind, Filesystem

from .conftest import VARIETIES


def dumped_free(image: Path, cluster: int, blocks: int) -> list[Extent]:
    """The free blocks as dumpe2fs lists them; of a run of clusters it gives the first blocks."""
    found: list[Extent] = []
    for line in run("dumpe2fs", str(image)).splitlines():
        if match := re.match(r"  Free blocks: ([\d, -]+)$", line):
            for part in match[1].split(", "):
                first, _, last = part.partition("-")
                end = min(int(last or first) + cluster, blocks)
                found.append(Extent(int(first), end - int(first)))
    return normalise(found)


def debugfs_blocks(image: Path, paths: list[str]) -> list[list[int]]:
    """The data blocks of files in order, by one run of debugfs."""
    script = "".join(f"blocks {path}\n" for path in paths)
    output = run("debugfs", "-f", "/dev/stdin", str(image), stdin=script)
    return [
        [int(number) for number in answer.split()]
        for answer in re.split(r"debugfs: .*\n?", output)[1:]
    ]


@pytest.mark.parametrize("name", VARIETIES)
def test_space_agrees_with_dumpe2fs(name: str, make_image: Callable[..., Path]) -> None:
    image = make_image(name)
    with Filesystem.open(image) as filesystem:
        geometry = filesystem.geometry
        free, used = filesystem.free(), filesystem.used()
        assert free == dumped_free(image, geometry.cluster_blocks, geometry.blocks)
        first = geometry.first_data_blk
        assert union(free, used) == [Extent(first, geometry.blocks - first)]
        assert total(free) + total(used) == geometry.blocks - first
        summary = filesystem.summary()
        assert summary.used_blocks == total(used)
        assert summary.highest_used_blk == used[-1].end - 1
        assert subtract(filesystem.metadata(), used) == []


@pytest.mark.parametrize("name", VARIETIES)
def test_files_agree_with_debugfs_and_the_tree(
    name: str, make_image: Callable[..., Path], tree: Path
) -> None:
    image = make_image(name)
    with Filesystem.open(image) as filesystem:
        files = list(filesystem.files())
        named = {path: file for file in files for path in file.paths}
        expected = {"/" + str(path.relative_to(tree)) for path in tree.rglob("*")}
        assert set(named) - {"/", "/lost+found"} == expected
        regular = [
            path
            for path, file in named.items()
            if file.kind is FileKind.FILE and file.extents and file.blocks < 200
        ]
        listed = debugfs_blocks(image, regular)
        assert len(listed) == len(regular) > 50
        for path, blocks in zip(regular, listed, strict=True):
            file = named[path]
            assert file.size_bytes == (tree / path[1:]).stat().st_size
            own = [e.pblk + i for e in file.extents for i in range(e.length)]
            nodes_too = set(blocks)
            assert set(own) <= nodes_too
            assert len(nodes_too) - len(own) <= 12
        summary = filesystem.summary()
        assert summary.inodes_used == len(files)
        assert summary.directories == sum(f.kind is FileKind.DIRECTORY for f in files)
        assert summary.files == sum(f.kind is FileKind.FILE for f in files)


@pytest.mark.parametrize("name", ["ext4", "ext3", "bigalloc", "ext4-1k"])
def test_cells_add_up(name: str, make_image: Callable[..., Path]) -> None:
    image = make_image(name)
    with Filesystem.open(image) as filesystem:
        free, blocks = total(filesystem.free()), filesystem.geometry.blocks
        for count in (1, 7, 100, 1000):
            cells = filesystem.cells(count)
            assert len(cells) == count
            assert sum(cell.unused for cell in cells) == free
            for index, cell in enumerate(cells):
                size = (index + 1) * blocks // count - index * blocks // count
                assert sum(cell) == size
        assert filesystem.cells(1)[0].contiguous > 0


@pytest.mark.parametrize("name", VARIETIES)
def test_minimum_and_effective_size_agree_with_resize2fs(
    name: str, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image = make_image(name)
    with Filesystem.open(image) as filesystem:
        geometry = filesystem.geometry
        minimum = filesystem.minimum_blocks()
        assert filesystem.effective_size(minimum) == minimum
        wanted = [geometry.blocks - n for n in (1, 17, 300, 3000)]
        wanted += [geometry.first_data_blk + geometry.blocks_per_group * n + 60 for n in (1, 2, 5)]
        # Free of help, resize2fs reuses nothing that the dropped groups' tables occupied.
        tables = sum(group.table_blocks + 2 for group in filesystem.groups())
        effective = {
            size: filesystem.effective_size(size)
            for size in wanted
            if minimum * 1.2 + tables < size < geometry.blocks
        }
    for size, result in effective.items():
        copy = tmp_path / "copy.img"
        shutil.copy(image, copy)
        run("resize2fs", "-f", str(copy), str(size))
        with Filesystem.open(copy) as filesystem:
            assert filesystem.geometry.blocks == result


@pytest.mark.parametrize("name", ["ext3", "ext4-no-flex"])
def test_the_minimum_is_near_the_truth(
    name: str, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    """Where no table of a dropped group is in the way, resize2fs comes within 3 % of it."""
    image = make_image(name)
    with Filesystem.open(image) as filesystem:
        minimum = filesystem.minimum_blocks()
    copy = tmp_path / "copy.img"
    shutil.copy(image, copy)
    run("resize2fs", "-f", str(copy), str(minimum * 103 // 100))
    run("e2fsck", "-fn", str(copy))
