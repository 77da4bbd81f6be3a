"""What is in the partitions of an epoch: can it live on the target, what names does it have.

It is asked of libblkid, about the first bytes of each partition as they were stored.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from blockrep.disk.filesystems import Content, identify
from blockrep.disk.partition import Partition
from blockrep.disk.swap import (
    HIBERNATED,
    PAGE_SIZES,
    SIGNATURE,
    Swap,
    build_swap_header,
    parse_swap,
)
from blockrep.disk.writes import Write
from blockrep.errors import FilesystemUnsupported, ReplicaDamaged

PROBE_BYTES = 256 << 10
# Of these a block is what is read at once; of others blkid means something else by it.
STRICT_TYPES = frozenset({"ext2", "ext3", "ext4", "xfs", "vfat", "exfat", "ntfs", "btrfs", "f2fs"})

SWAP_TYPES = frozenset({"swap", "swsuspend"})


class Readable(Protocol):
    def read(self, offset_bytes: int, length_bytes: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class PartContent:
    """What one partition (number 0: the bare disk) has in it; `swap` if it is a swap area."""

    number: int
    start_bytes: int
    content: Content
    swap: Swap | None


def survey_parts(epoch: Readable, parts: Sequence[Partition]) -> tuple[PartContent, ...]:
    """Each partition that holds data itself."""
    return tuple(_survey_part(epoch, part) for part in parts if part.length_bytes >= PAGE_SIZES[-1])


def _survey_part(epoch: Readable, part: Partition) -> PartContent:
    try:
        head = epoch.read(part.start_bytes, min(PROBE_BYTES, part.length_bytes))
    except ReplicaDamaged:
        # That it is damaged is found again, and judged, when it is restored.
        return PartContent(part.number, part.start_bytes, Content(), None)
    content = _identify(head, part.length_bytes)
    swap = None
    if content.type in SWAP_TYPES:
        swap = parse_swap(_awake(head[: PAGE_SIZES[-1]]))
    return PartContent(part.number, part.start_bytes, content, swap)


def _awake(head: bytes) -> bytes:
    """Without the mark of a hibernated system: its image is not stored, and must not be resumed."""
    for page_bytes in PAGE_SIZES:
        at = page_bytes - len(SIGNATURE)
        if head[at:page_bytes].startswith(HIBERNATED):
            return head[:at] + SIGNATURE + head[page_bytes:]
    return head


def _identify(head: bytes, length_bytes: int) -> Content:
    """A sparse file in memory stands for the partition."""
    fd = os.memfd_create("blockrep-head")
    try:
        os.truncate(fd, length_bytes)
        os.pwrite(fd, head, 0)
        return identify(Path(f"/proc/{os.getpid()}/fd/{fd}"), 0, length_bytes)
    finally:
        os.close(fd)


def check_block_sizes(found: Sequence[PartContent], sector_bytes: int) -> None:
    """`FilesystemUnsupported` for what is read in pieces smaller than the target's sectors."""
    for part in found:
        content = part.content
        if content.type in STRICT_TYPES and 0 < content.block_bytes < sector_bytes:
            where = f"in partition {part.number}" if part.number else "on the disk"
            raise FilesystemUnsupported(
                f"the {content.type} {where} has blocks of {content.block_bytes} bytes, which a "
                f"disk with sectors of {sector_bytes} bytes cannot read",
                hint=f"take a disk with sectors of {content.block_bytes} bytes",
            )


def swap_writes(found: Sequence[PartContent]) -> tuple[Write, ...]:
    """Each swap area made again, with its UUID and label."""
    return tuple(
        Write(part.start_bytes, build_swap_header(part.swap, part.swap.length_bytes))
        for part in found
        if part.swap is not None
    )
