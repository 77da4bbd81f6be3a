"""The ext2, ext3 and ext4 superblock: the fields that we judge by, and its checksum.

Source: the kernel's Documentation/filesystems/ext4 (super.rst); offsets are within its 1024 bytes.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from blockrep.native import crc32c

SUPERBLOCK_OFFSET_BYTES = 1024
SUPERBLOCK_BYTES = 1024
MAGIC = 0xEF53
# mke2fs makes none smaller.
LEAST_GROUP_BLOCKS = 256

STATE_VALID = 1
STATE_ERRORS = 2

INCOMPAT_OFFSET = 0x60
LAST_MOUNTED_OFFSET = 0x88
LAST_MOUNTED_BYTES = 64
CHECKSUM_OFFSET = 0x3FC
GROUP_NUMBER_OFFSET = 0x5A

COMPAT = {
    0x4: "has_journal",
    0x8: "ext_attr",
    0x10: "resize_inode",
    0x20: "dir_index",
    0x200: "sparse_super2",
    0x400: "fast_commit",
    0x800: "stable_inodes",
    0x1000: "orphan_file",
}
INCOMPAT = {
    0x2: "filetype",
    0x4: "needs_recovery",
    0x8: "journal_dev",
    0x10: "meta_bg",
    0x40: "extent",
    0x80: "64bit",
    0x100: "mmp",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x2000: "metadata_csum_seed",
    0x4000: "large_dir",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
RO_COMPAT = {
    0x1: "sparse_super",
    0x2: "large_file",
    0x8: "huge_file",
    0x10: "uninit_bg",
    0x20: "dir_nlink",
    0x40: "extra_isize",
    0x100: "quota",
    0x200: "bigalloc",
    0x400: "metadata_csum",
    0x1000: "read-only",
    0x2000: "project",
    0x4000: "shared_blocks",
    0x8000: "verity",
    0x10000: "orphan_present",
}


@dataclass(frozen=True, slots=True)
class Superblock:
    """A superblock as read; `raw` is its 1024 bytes."""

    raw: bytes

    def _u16(self, offset: int) -> int:
        return int(struct.unpack_from("<H", self.raw, offset)[0])

    def _u32(self, offset: int) -> int:
        return int(struct.unpack_from("<I", self.raw, offset)[0])

    @property
    def inodes(self) -> int:
        return self._u32(0x0)

    @property
    def table_bytes(self) -> int:
        """What the inode tables take, but never more than there is."""
        size = self._u16(0x58) if self.revision else 128
        return min(self.inodes * size, self.blocks * self.block_bytes)

    @property
    def free_inodes(self) -> int:
        return self._u32(0x10)

    @property
    def blocks(self) -> int:
        high = self._u32(0x150) if self.has("64bit") else 0
        return self._u32(0x4) | high << 32

    @property
    def free_blocks(self) -> int:
        high = self._u32(0x158) if self.has("64bit") else 0
        return self._u32(0xC) | high << 32

    @property
    def first_data_block(self) -> int:
        return self._u32(0x14)

    @property
    def block_bytes(self) -> int:
        return 1024 << self._u32(0x18)

    @property
    def cluster_blocks(self) -> int:
        return 1 << (self._u32(0x1C) - self._u32(0x18)) if self.has("bigalloc") else 1

    @property
    def blocks_per_group(self) -> int:
        return self._u32(0x20)

    @property
    def groups(self) -> int:
        return -(-(self.blocks - self.first_data_block) // self.blocks_per_group)

    @property
    def descriptor_blocks(self) -> int:
        """Blocks of group descriptors behind each superblock; with meta_bg only the first ones."""
        if self.has("meta_bg"):
            return self._u32(0x104)
        size = max(32, self._u16(0xFE)) if self.has("64bit") else 32
        return -(-self.groups * size // self.block_bytes)

    @property
    def reserved_descriptor_blocks(self) -> int:
        return self._u16(0xCE)

    @property
    def state(self) -> int:
        return self._u16(0x3A)

    @property
    def revision(self) -> int:
        return self._u32(0x4C)

    @property
    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.raw[0x68:0x78]))

    @property
    def label(self) -> str:
        return self.raw[0x78:0x88].split(b"\0")[0].decode("utf-8", "replace")

    @property
    def last_orphan(self) -> int:
        return self._u32(0xE8)

    @property
    def journal_inode(self) -> int:
        return self._u32(0xE0)

    @property
    def has_external_journal(self) -> bool:
        return self.has("has_journal") and self.journal_inode == 0

    @property
    def backup_groups(self) -> Sequence[int]:
        """The groups that hold a backup of the superblock; of a damaged one they may be many."""
        if self.has("sparse_super2"):
            return tuple(sorted({g for g in (self._u32(0x24C), self._u32(0x250)) if g}))
        if not self.has("sparse_super"):
            return range(1, self.groups)
        return sorted(g for g in {1, *_powers(3, 5, 7, below=self.groups)} if g < self.groups)

    @property
    def backup_blocks(self) -> tuple[int, ...]:
        """The blocks whose first 1024 bytes are the backups."""
        return tuple(self.backup_block(group) for group in self.backup_groups)

    def backup_block(self, group: int) -> int:
        """Where the backup of one of the `backup_groups` is."""
        return group * self.blocks_per_group + self.first_data_block

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all features; unknown ones as `compat:0x…`, `incompat:0x…`, `ro_compat:0x…`."""
        return (
            *_names(self._u32(0x5C), COMPAT, "compat"),
            *_names(self._u32(INCOMPAT_OFFSET), INCOMPAT, "incompat"),
            *_names(self._u32(0x64), RO_COMPAT, "ro_compat"),
        )

    def has(self, feature: str) -> bool:
        for offset, known in ((0x5C, COMPAT), (INCOMPAT_OFFSET, INCOMPAT), (0x64, RO_COMPAT)):
            for bit, name in known.items():
                if name == feature:
                    return bool(self._u32(offset) & bit)
        raise KeyError(feature)

    @property
    def kind(self) -> str:
        """`ext2`, `ext3` or `ext4`, as blkid would say."""
        if any(self.has(f) for f in ("extent", "64bit", "flex_bg", "huge_file", "metadata_csum")):
            return "ext4"
        return "ext3" if self.has("has_journal") else "ext2"


def parse_superblock(raw: bytes) -> Superblock | None:
    """None when these 1024 bytes are no superblock, or one whose geometry cannot be true."""
    if len(raw) != SUPERBLOCK_BYTES or struct.unpack_from("<H", raw, 0x38)[0] != MAGIC:
        return None
    found = Superblock(raw)
    if found._u32(0x18) > 6 or not 0 <= found._u32(0x1C) - found._u32(0x18) <= 20:
        return None
    if found.blocks_per_group < LEAST_GROUP_BLOCKS or found.blocks <= found.first_data_block:
        return None
    return found


def superblock_checksum(raw: bytes) -> int:
    """The CRC32C that belongs at 0x3FC; meaningful with metadata_csum only."""
    return crc32c(0xFFFFFFFF, bytes(raw[:CHECKSUM_OFFSET]))


def with_checksum(raw: bytes) -> bytes:
    """The same superblock with a true checksum, where it has one."""
    if not Superblock(raw).has("metadata_csum"):
        return raw
    return raw[:CHECKSUM_OFFSET] + struct.pack("<I", superblock_checksum(raw))


def _names(bits: int, known: dict[int, str], family: str) -> list[str]:
    return [known.get(1 << i, f"{family}:{1 << i:#x}") for i in range(32) if bits >> i & 1]


def _powers(*bases: int, below: int) -> set[int]:
    result = set()
    for base in bases:
        value = base
        while value < below:
            result.add(value)
            value *= base
    return result
