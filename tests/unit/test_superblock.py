"""What we read in a superblock is what dumpe2fs and blkid say of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from disks import sparse_file
from hypothesis import given
from hypothesis import strategies as st
from oracles import dumpe2fs, run

from blockrep.disk.superblock import Superblock, parse_superblock, with_checksum

OPTIONS = (
    "-t ext4",
    "-t ext4 -b 1024",
    "-t ext4 -b 1024 -g 512",
    "-t ext4 -b 65536",
    "-t ext4 -b 4096 -g 1024 -O ^sparse_super,^resize_inode",
    "-t ext4 -O ^64bit,^metadata_csum",
    "-t ext4 -b 1024 -O ^resize_inode,sparse_super2",
    "-t ext4 -b 1024 -O ^resize_inode,sparse_super2 -E num_backup_sb=1",
    "-t ext4 -b 1024 -O ^resize_inode,sparse_super2 -E num_backup_sb=0",
    "-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode",
    "-t ext4 -b 4096 -O bigalloc -C 65536",
    "-t ext4 -b 1024 -O bigalloc -C 8192",
    "-t ext4 -O quota,project,orphan_file,inline_data,ea_inode,large_dir,metadata_csum_seed",
    "-t ext4 -O casefold,encrypt,verity,stable_inodes,fast_commit -E encoding=utf8",
    "-t ext4 -O mmp",
    "-t ext4 -U 01234567-89ab-cdef-0123-456789abcdef -L häuschen -m 3",
    "-t ext3 -b 2048",
    "-t ext2 -b 1024",
    "-t ext2 -r 0",
    "-O journal_dev -b 4096",
)


@pytest.fixture(params=OPTIONS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "fs.img", 96 << 20)
    run("mke2fs", "-q", "-F", *request.param.split(), path)
    return path


def read(image: Path, offset_bytes: int = 1024) -> Superblock:
    with image.open("rb") as file:
        file.seek(offset_bytes)
        found = parse_superblock(file.read(1024))
    assert found is not None
    return found


def test_fields(image: Path) -> None:
    found, said = read(image), dumpe2fs(image)
    assert set(found.features) == set(said["Filesystem features"].replace("(none)", "").split())
    assert all(found.has(feature) for feature in found.features)
    assert found.blocks == int(said["Block count"])
    assert found.inodes == int(said["Inode count"])
    assert found.block_bytes == int(said["Block size"])
    assert found.first_data_block == int(said["First block"])
    assert found.blocks_per_group == int(said["Blocks per group"])
    assert found.revision == int(said["Filesystem revision #"].split()[0])
    assert found.uuid == said["Filesystem UUID"]
    assert found.label == said["Filesystem volume name"].replace("<none>", "")
    assert found.reserved_descriptor_blocks == int(said.get("Reserved GDT blocks", "0"))
    assert found.cluster_blocks * found.block_bytes == int(
        said.get("Cluster size", said["Block size"])
    )
    assert found.state == 1
    assert said["Filesystem state"] == "clean"
    assert found.journal_inode == int(said.get("Journal inode", "0"))
    if "journal_dev" not in found.features:  # dumpe2fs says nothing of these there
        assert found.free_blocks == int(said["Free blocks"])
        assert found.free_inodes == int(said["Free inodes"])


def test_groups_and_backups(image: Path) -> None:
    found = read(image)
    if "journal_dev" in found.features:
        return
    listing = run("dumpe2fs", image)
    assert found.groups == len(re.findall(r"^Group \d+:", listing, re.M))
    backups = re.findall(r"^Group (\d+):.*\n(?:.*\n)??  Backup superblock at (\d+)", listing, re.M)
    assert found.backup_groups == tuple(int(group) for group, _ in backups)
    assert found.backup_blocks == tuple(int(block) for _, block in backups)
    low, high = re.search(
        r"Primary superblock at .*Group descriptors? at (\d+)(?:-(\d+))?", listing
    ).groups()  # type: ignore[union-attr]
    if "meta_bg" not in found.features:
        assert found.descriptor_blocks == int(high or low) - int(low) + 1
    for block in found.backup_blocks:
        assert read(image, block * found.block_bytes).uuid == found.uuid


def test_the_kind_is_that_of_blkid(image: Path) -> None:
    found = read(image)
    said = run("blkid", "-p", "-o", "value", "-s", "TYPE", image).strip()
    if said != "jbd":
        assert found.kind == said


def test_the_checksum_is_that_of_e2fsprogs(image: Path) -> None:
    found = read(image)
    assert with_checksum(found.raw) == found.raw
    changed = found.raw[:0x78] + b"other label\0" + found.raw[0x84:]
    with image.open("r+b") as file:
        file.seek(1024)
        file.write(with_checksum(changed))
    assert dumpe2fs(image)["Filesystem volume name"].startswith("other label")


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0x38, b"\0\0"),  # the magic
        (0x18, b"\7\0\0\0"),  # blocks of 128 KiB
        (0x1C, b"\xff\xff\xff\xff"),  # clusters smaller than blocks
        (0x20, bytes(4)),  # no blocks in a group
        (0x4, bytes(4)),  # no blocks at all
    ],
)
def test_what_cannot_be_true_is_no_superblock(tmp_path: Path, offset: int, data: bytes) -> None:
    image = tmp_path / "fs.img"
    run("mke2fs", "-q", "-b", "1024", image, "8M")
    raw = read(image).raw
    assert parse_superblock(raw[:offset] + data + raw[offset + len(data) :]) is None
    assert parse_superblock(raw[:1000]) is None


@given(st.binary(min_size=1024, max_size=1024))
def test_garbage_with_the_magic_never_raises(raw: bytes) -> None:
    found = parse_superblock(raw[:0x38] + b"\x53\xef" + raw[0x3A:])
    if found is not None:
        assert found.groups > 0
        assert found.features
        assert len(found.uuid) == 36
