"""Consolidation of real, aged filesystems. Oracles: e2fsck, resize2fs, and each file's bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from aged import (
    Inode,
    Variant,
    contents,
    inodes_of,
    joined_image,
    make_image,
    make_shadow,
)
from loops import mounted_image
from oracles import fsck, run

from blockrep.extents import Extent
from blockrep.native import ConsolidateStats, consolidate

pytestmark = pytest.mark.root

VARIANTS = (
    Variant("ext4", "-t ext4 -b 4096", 40_000),
    Variant("ext4-1k", "-t ext4 -b 1024 -O 64bit,metadata_csum", 90_000, 1024),
    Variant("ext4-noflex", "-t ext4 -b 1024 -O ^flex_bg,^resize_inode,meta_bg", 60_000, 1024),
    Variant("ext4-bigalloc", "-t ext4 -b 4096 -O bigalloc -C 16384", 40_000, 4096, 0.5),
    Variant("ext4-inline", "-t ext4 -b 4096 -O inline_data -I 256", 30_000),
    Variant("ext4-orphan", "-t ext4 -b 4096 -O orphan_file", 30_000),
    Variant("ext4-plain", "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^64bit", 60_000, 1024),
    Variant("ext3", "-t ext3 -b 4096", 30_000),
    Variant("ext3-1k", "-t ext3 -b 1024 -O ^resize_inode", 60_000, 1024),
    Variant("ext2", "-t ext2 -b 1024", 60_000, 1024),
    Variant("ext2-4k", "-t ext2 -b 4096", 20_000),
)


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Path]:
    folder = tmp_path_factory.mktemp("aged")
    return lambda variant: make_image(folder, variant)


def check_evacuated(shadow: Path, end_blk: int, forbidden: list[Extent]) -> dict[int, Inode]:
    """No inode's block at or past the end, or in what is forbidden."""
    after = inodes_of(shadow)
    for number, inode in after.items():
        for blk in inode.mapping.values():
            assert blk < end_blk, f"inode {number}"
            assert not any(e.start <= blk < e.end for e in forbidden), f"inode {number}"
    return after


def check_freshness(before: dict[int, Inode], after: dict[int, Inode]) -> None:
    """Each copy's target was not used by any inode before."""
    used = {blk for inode in before.values() for blk in inode.mapping.values()}
    for number, inode in after.items():
        for lblk, blk in inode.mapping.items():
            assert blk == before[number].mapping[lblk] or blk not in used


def resize(shadow: Path, end_blk: int) -> None:
    run("resize2fs", "-f", shadow, end_blk)
    if "bigalloc" in shadow.name:
        # resize2fs 1.47 counts free blocks for free clusters there; everything else must be right.
        found = run("e2fsck", "-fn", shadow, ok=(0, 4))
        complaints = re.findall(r"^.* wrong .*$", found, flags=re.M)
        assert complaints and all(c.startswith("Free blocks count wrong") for c in complaints)
        run("e2fsck", "-fy", shadow, ok=(0, 1))
    fsck(shadow)


@pytest.mark.parametrize("join", [False, True], ids=["plain", "join"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_everything_lies_below_the_end_and_is_the_same(
    variant: Variant, join: bool, aged: Callable[[Variant], Path]
) -> None:
    image = aged(variant)
    shadow = make_shadow(image)
    ratio = 4 if "bigalloc" in variant.name else 1
    end_blk = int(variant.blocks * 0.78) // ratio * ratio
    forbidden = [Extent(end_blk // 2, 333), Extent(end_blk // 3, 1), Extent(end_blk - 5, 40)]

    stats = consolidate(shadow, end_blk, forbidden, join)
    print(variant.name, stats)

    fsck(shadow)
    before = inodes_of(image)
    after = check_evacuated(shadow, end_blk, forbidden)
    check_freshness(before, after)
    check_stats(stats, join, before, after)
    with mounted_image(image, read_only=True) as root:
        expected = contents(root)
    with mounted_image(joined_image(image, shadow, variant.block_bytes), read_only=True) as root:
        assert contents(root) == expected
    resize(shadow, end_blk)


def check_stats(
    stats: ConsolidateStats, join: bool, before: dict[int, Inode], after: dict[int, Inode]
) -> None:
    moved = [
        n for n in after if any(before[n].mapping[k] != b for k, b in after[n].mapping.items())
    ]
    assert stats.files_moved == len(moved)
    # Joining stops where it costs too much; the images are small and a few files large in them.
    most = max(stats.fragmented_before, stats.regular_files // 50)
    assert not join or stats.fragmented_after <= most
    assert stats.copied_blk >= stats.must_blk > 0
