"""Consolidation where it is tight, odd or damaged."""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from aged import (
    MIB,
    Variant,
    contents,
    inodes_of,
    joined_image,
    make_image,
    make_shadow,
    write_file,
)
from disks import sparse_file
from loops import mounted_image
from oracles import dumpe2fs, fsck, run

from blockrep.errors import BlockrepError, DoesNotFit, FilesystemUnsupported, InternalError
from blockrep.extents import Extent, normalise, subtract, total
from blockrep.native import consolidate

pytestmark = pytest.mark.root

EXT4 = Variant("edge-ext4", "-t ext4 -b 1024", 40_000, 1024, 0.5)
EXT3 = Variant("edge-ext3", "-t ext3 -b 1024", 40_000, 1024, 0.5)
ORPHAN = Variant("edge-orphan", "-t ext4 -b 4096 -O orphan_file", 20_000, 4096, 0.5)
BIGALLOC = Variant("edge-bigalloc", "-t ext4 -b 4096 -O bigalloc -C 16384", 30_000, 4096, 0.5)


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Path]:
    folder = tmp_path_factory.mktemp("edges")
    return lambda variant: make_image(folder, variant)


def check_contents(image: Path, shadow: Path, block_bytes: int) -> None:
    fsck(shadow)
    with mounted_image(image, read_only=True) as root:
        expected = contents(root)
    with mounted_image(joined_image(image, shadow, block_bytes), read_only=True) as root:
        assert contents(root) == expected


def empty_filesystem(folder: Path, mkfs: str, blocks: int, block_bytes: int) -> Path:
    image = sparse_file(folder / "fs.img", blocks * block_bytes)
    run("mke2fs", "-q", "-F", *mkfs.split(), image, blocks)
    return image


def free_extents(image: Path) -> list[Extent]:
    found = []
    for line in re.findall(r"^  Free blocks: (.*)$", run("dumpe2fs", image), flags=re.M):
        for low, high in re.findall(r"(\d+)(?:-(\d+))?", line):
            found.append(Extent(int(low), int(high or low) - int(low) + 1))
    return normalise(found)


def first_blocks(extents: list[Extent], count: int) -> list[Extent]:
    result = []
    for start, length in extents:
        result.append(Extent(start, min(length, count)))
        count -= min(length, count)
        if not count:
            break
    return result


@pytest.mark.parametrize("variant", [EXT4, EXT3], ids=lambda v: v.name)
def test_fits_whenever_the_free_blocks_suffice(
    variant: Variant, aged: Callable[[Variant], Path]
) -> None:
    image = aged(variant)
    end_blk = int(variant.blocks * 0.8)
    usable = [e for e in free_extents(image) if e.end <= end_blk]
    random.Random(1).shuffle(usable)
    shadow = make_shadow(image)
    with pytest.raises(DoesNotFit, match=r"\d+ blocks have to move below block \d+, and 0 are"):
        consolidate(shadow, end_blk, [Extent(e.start, e.length) for e in usable] + [
            Extent(max(e.start, 0), e.length) for e in free_extents(image)], True)  # fmt: skip
    stats = consolidate(shadow, end_blk, [], False)
    # Leave as many free blocks as are needed, in pieces, and allow for a few nodes more.
    needed = stats.must_blk + stats.nodes_allocated + stats.attributes_moved
    for join in (False, True):
        for more in (0, 2, 8, 24):
            left = first_blocks(usable, needed + more)
            assert total(left) == needed + more
            shadow = make_shadow(image)
            before = shadow.read_bytes()
            try:
                stats = consolidate(shadow, end_blk, subtract(free_extents(image), left), join)
            except DoesNotFit:
                assert shadow.read_bytes() == before
                continue
            break
        else:
            pytest.fail("does not fit although there is room")
        assert stats.free_blk == needed + more
        check_contents(image, shadow, variant.block_bytes)


def metadata_blocks(image: Path) -> list[Extent]:
    """Every block that holds metadata of an inode: nodes, directories, long links, attributes."""
    count = int(dumpe2fs(image)["Inode count"])
    used = [2, 8, *range(11, count + 1)]
    listing = run("debugfs", "-f", "-", image, stdin="".join(f"stat <{n}>\n" for n in used))
    found = []
    orphan = dumpe2fs(image).get("Orphan file inode", "-")
    for text in re.split(r"^debugfs: stat .*\n", listing, flags=re.M)[1:]:
        if re.search(r"Links: 0 ", text):
            continue
        found += re.findall(r"\((?:ETB\d|D?T?IND)\):(\d+)", text)
        found += re.findall(r"File ACL: ([1-9]\d*)", text)
        whole = re.search(r"Type: (directory|symlink)", text) or f"Inode: {orphan} " in text
        if whole and "Fast link" not in text:
            for low, high in re.findall(r"\(\d+(?:-\d+)?\):(\d+)(?:-(\d+))?", text):
                found += [str(n) for n in range(int(low), int(high or low) + 1)]
    return normalise(Extent(int(n), 1) for n in found)


@pytest.mark.parametrize("variant", [EXT4, EXT3, ORPHAN, BIGALLOC], ids=lambda v: v.name)
def test_metadata_of_every_kind_moves(variant: Variant, aged: Callable[[Variant], Path]) -> None:
    image = aged(variant)
    forbidden = metadata_blocks(image)
    assert total(forbidden) > 20
    shadow = make_shadow(image)

    stats = consolidate(shadow, variant.blocks, forbidden, False)

    assert stats.attributes_moved and stats.nodes_allocated
    left = {n for e in metadata_blocks(shadow) for n in range(e.start, e.end)}
    assert not left & {n for e in forbidden for n in range(e.start, e.end)}
    check_contents(image, shadow, variant.block_bytes)


@pytest.mark.parametrize("variant", [EXT4, EXT3, BIGALLOC], ids=lambda v: v.name)
def test_the_front_moves_to_the_back(variant: Variant, aged: Callable[[Variant], Path]) -> None:
    """Where sparse, half-written and shared things lie: they were made first."""
    image = aged(variant)
    shadow = make_shadow(image)
    forbidden = Extent(0, variant.blocks // 3)

    consolidate(shadow, variant.blocks, [forbidden], True)

    for number, inode in inodes_of(shadow).items():
        assert not any(blk < forbidden.end for blk in inode.mapping.values()), number
    check_contents(image, shadow, variant.block_bytes)


@pytest.mark.parametrize("kind", ["ext3", "ext4"])
def test_journal_moves(kind: str, tmp_path: Path) -> None:
    image = empty_filesystem(tmp_path, f"-t {kind} -b 4096 -J size=8", 32_000, 4096)
    journal = inodes_of(image)[8].mapping
    start, end = min(journal.values()), max(journal.values()) + 1
    assert end - start < 5000
    shadow = make_shadow(image)

    consolidate(shadow, 30_000, [Extent(start + 100, end - start - 100)], True)

    fsck(shadow)
    moved = inodes_of(shadow)[8]
    assert moved.runs == 1
    assert not set(moved.mapping.values()) & set(range(start + 100, end))
    with shadow.open("rb") as file:
        file.seek(1024)
        super_bytes = file.read(1024)
        file.seek(moved.mapping[0] * 4096)
        assert file.read(4) == bytes.fromhex("c03b3998")
    where = re.search(r"block (\d+), offset (0x\w+)", run("debugfs", "-R", "imap <8>", shadow))
    assert where
    with shadow.open("rb") as file:
        file.seek(int(where[1]) * 4096 + int(where[2], 16) + 40)
        assert super_bytes[0x10C : 0x10C + 60] == file.read(60)
    assert struct.unpack_from("<I", super_bytes, 0x10C + 64)[0] == 8 * MIB
    run("resize2fs", "-f", shadow, 30_000)
    fsck(shadow)


def test_deep_trees_and_long_extents(tmp_path: Path) -> None:
    image = empty_filesystem(tmp_path, "-t ext4 -b 1024 -N 64", 400_000, 1024)
    rng = random.Random(2)
    with mounted_image(image) as root:
        with (root / "long").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 140 * MIB)
        with (root / "comb").open("wb") as file:
            for n in range(1500):
                file.seek(n * 4096)
                file.write(rng.randbytes(1024))
        (root / "huge").write_bytes(rng.randbytes(MIB) * 40)
    fsck(image)
    before = inodes_of(image)
    assert sum(len(i.unwritten) for i in before.values()) == 140 * 1024
    forbidden = [Extent(max(before[12].mapping.values()) - 1000, 30_000)]
    forbidden += [Extent(n, 1) for n in list(before[13].mapping.values())[::5]]
    forbidden = normalise(forbidden)
    for join in (False, True):
        shadow = make_shadow(image)
        stats = consolidate(shadow, 399_999, forbidden, join)
        check_contents(image, shadow, 1024)
        assert join or stats.copied_blk == stats.must_blk


def test_join_gives_each_fragmented_file_one_run(tmp_path: Path) -> None:
    image = empty_filesystem(tmp_path, "-t ext2 -b 1024", 20_000, 1024)
    rng = random.Random(3)
    with mounted_image(image) as root:
        files = [(root / f"f{n}").open("wb", buffering=0) for n in range(8)]
        for _ in range(20):
            for file in files:
                file.write(rng.randbytes(1024))
                os.fsync(file.fileno())
        for file in files:
            file.close()
    assert any(i.runs > 2 for n, i in inodes_of(image).items() if n > 11)
    shadow = make_shadow(image)

    stats = consolidate(shadow, 20_000, [], True)

    assert stats.must_blk == 0
    assert stats.files_joined == stats.files_moved > 0
    assert stats.fragmented_after == 0
    check_contents(image, shadow, 1024)


def test_pinned_inodes_stay(tmp_path: Path) -> None:
    image = empty_filesystem(tmp_path, "-t ext4 -b 4096", 10_000, 4096)
    with mounted_image(image) as root:
        write_file(root / "loader", 100_000, random.Random(4))
    inode = inodes_of(image)[12]
    with pytest.raises(FilesystemUnsupported, match="inode 12"):
        consolidate(
            make_shadow(image), 10_000, [Extent(inode.mapping[0], 1)], True, pinned=[99, 12]
        )
    shadow = make_shadow(image)
    consolidate(shadow, 10_000, [], True, pinned=[12])
    assert inodes_of(shadow)[12] == inode


@pytest.mark.parametrize(
    "mkfs", ["-O quota,project -b 4096 -I 256", "-b 65536", "-b 16384 -J size=16"]
)
def test_filesystems_that_this_kernel_cannot_mount(mkfs: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    rng = random.Random(5)
    for n in range(300):
        folder = source / f"d{n % 9}"
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / f"f{n}", int(rng.lognormvariate(10, 1)), rng)
    block_bytes = int(mkfs.split("-b ")[1].split()[0])
    blocks = 96 * MIB // block_bytes
    image = empty_filesystem(
        tmp_path, f"-t ext4 -J size=4 {mkfs} -N 2000 -d {source}", blocks, block_bytes
    )
    gone = "".join(f"rm /d{n % 9}/f{n}\n" for n in range(150))
    run("debugfs", "-w", "-f", "-", image, stdin=gone)
    run("e2fsck", "-fy", image, ok=(0, 1))
    files = [i for n, i in inodes_of(image).items() if n > 11 and i.mapping]
    last = max(b for i in files for b in i.mapping.values())
    taken = Extent(last * 2 // 3, last // 3 + 1)
    shadow = make_shadow(image)

    stats = consolidate(shadow, blocks, [taken], True)

    assert stats.files_moved > 20
    fsck(shadow)
    merged = joined_image(image, shadow, block_bytes)
    for number, name in enumerate((image, merged)):
        out = tmp_path / f"out{number}"
        out.mkdir()
        run("debugfs", "-R", f"rdump / {out}", name)
    assert contents_only(tmp_path / "out0") == contents_only(tmp_path / "out1") != {}


def contents_only(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("variant", [EXT4, EXT3, BIGALLOC], ids=lambda v: v.name)
def test_damage_is_an_error_and_never_worse(
    variant: Variant, aged: Callable[[Variant], Path]
) -> None:
    image = aged(variant)
    pristine = make_shadow(image)
    kept = pristine.read_bytes()
    spots = [n for e in metadata_blocks(image) for n in range(e.start, e.end)]
    table = re.findall(r"Inode table at (\d+)-(\d+)", run("dumpe2fs", image))
    spots += [n for low, high in table for n in range(int(low), int(high) + 1)]
    outcomes: dict[str, int] = {}
    for seed in range(60):
        rng = random.Random(seed)
        with pristine.open("r+b") as file:
            file.write(kept)
            for _ in range(30):
                at = rng.choice(spots) * variant.block_bytes + rng.randrange(variant.block_bytes)
                file.seek(at)
                file.write(rng.randbytes(rng.choice((1, 2, 4))))
            # The checksums would hide what lies behind them.
            file.seek(1024 + 0x64)
            features = struct.unpack("<I", file.read(4))[0] & ~0x400
            file.seek(1024 + 0x64)
            file.write(struct.pack("<I", features))
        try:
            consolidate(pristine, int(variant.blocks * 0.75), [], seed % 2 == 0)
            outcome = "done"
        except InternalError:
            raise
        except BlockrepError as error:
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(outcomes)


@pytest.mark.parametrize("end_blk", [0, 1, 10_001, 2**63])
def test_an_end_outside_the_filesystem(end_blk: int, tmp_path: Path) -> None:
    image = empty_filesystem(tmp_path, "-t ext4 -b 1024", 10_000, 1024)
    with pytest.raises(InternalError):
        consolidate(make_shadow(image), end_blk, [], True)
