"""Plan the host filesystem's new state: computed on a shadow, proven there, then told as a value.

Nothing here writes to the device. The steps are those of docs/invariants.md: shadow, consolidate,
resize, put right, prove, write set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.disk.superblock import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES, Superblock
from blockrep.divide.shadow import Shadow, check_room, fill_shadow
from blockrep.divide.summary import Join
from blockrep.divide.survey import check_filesystem, read_superblock
from blockrep.divide.write_set import WriteSet, plan_write_set
from blockrep.errors import (
    DoesNotFit,
    FilesystemDamaged,
    FilesystemUnsupported,
    ProgramFailed,
    ProofFailed,
)
from blockrep.extents import Extent, normalise, subtract, total, union
from blockrep.native import (
    Cell,
    ConsolidateStats,
    Copy,
    Filesystem,
    Group,
    Summary,
    compare,
    consolidate,
    match_inodes,
    restore_inodes,
)
from blockrep.programs import run_program
from blockrep.progress import Progress

MAX_TRIES = 4
PICTURE_CELLS = 2000


@dataclass(frozen=True, slots=True)
class Host:
    """A filesystem on a disk, before."""

    offset_bytes: int
    superblock: Superblock

    @property
    def block_bytes(self) -> int:
        return self.superblock.block_bytes


@dataclass(frozen=True, slots=True)
class Goal:
    """What the filesystem is to become.

    `join` says which fragmented files below the end move, too; `pinned` inodes, with names, may
    not move.
    """

    blocks: int
    join: Join
    pinned: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Picture:
    """What a filesystem holds and where, for people."""

    summary: Summary
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class HostPlan:
    """The new state and how to get there; `shadow` holds the new images and must be closed.

    Extents and copies are in blocks of the host. Every copy's destination is free in the old
    filesystem, and no copy and no write lies past its new end.
    """

    host: Host
    after: Superblock
    copies: tuple[Copy, ...]
    writes: WriteSet
    free_before: tuple[Extent, ...]
    free_after: tuple[Extent, ...]
    stats: ConsolidateStats | None
    picture_before: Picture
    picture_after: Picture
    shadow: Shadow

    @property
    def end_bytes(self) -> int:
        """Where the new filesystem ends on the disk."""
        return self.host.offset_bytes + self.after.blocks * self.host.block_bytes

    @property
    def copy_bytes(self) -> int:
        return sum(c.length for c in self.copies) * self.host.block_bytes


def plan_host(
    device: Device, host: Host, goal: Goal, folder: Path | None, progress: Progress
) -> HostPlan:
    """Compute and prove the new state of one filesystem.

    Errors: `DoesNotFit` with the numbers, `FilesystemDamaged`, `NoRoomForShadow`, `ProofFailed`.
    The device is unchanged whatever happens.
    """
    device.drop_caches()
    with _open_source(device, host) as before:
        metadata = before.metadata()
        check_room(total(metadata) * host.block_bytes, folder)
        end_blk = before.effective_size(goal.blocks)
        forbidden: list[Extent] = []
        for attempt in range(MAX_TRIES):
            shadow = Shadow(host.superblock.blocks * host.block_bytes, folder)
            try:
                fill_shadow(shadow, device, host.offset_bytes, host.block_bytes, metadata, progress)
                if attempt == 0:
                    progress.phase("checking the filesystem")
                    check_filesystem(str(shadow.path), host.superblock)
                planned = _plan_on(shadow, device, before, host, goal, end_blk, forbidden, progress)
            except BaseException:
                shadow.close()
                raise
            if isinstance(planned, HostPlan):
                return planned
            shadow.close()
            end_blk, forbidden = planned.end_blk, union(forbidden, planned.forbidden)
    raise ProofFailed("no plan could be found that only copies into free blocks")


@dataclass(frozen=True, slots=True)
class _Again:
    """Plan once more: resize2fs rounded the size down, or needs blocks for metadata of its own."""

    end_blk: int
    forbidden: list[Extent]


def _open_source(device: Device, host: Host) -> Filesystem:
    return Filesystem.open(str(device.path), host.offset_bytes)


def _plan_on(
    shadow: Shadow,
    device: Device,
    before: Filesystem,
    host: Host,
    goal: Goal,
    end_blk: int,
    forbidden: Sequence[Extent],
    progress: Progress,
) -> HostPlan | _Again:
    old_blocks = host.superblock.blocks
    stats = None
    if goal.join is not Join.NO_JOIN or forbidden or end_blk < old_blocks:
        progress.phase("consolidating files")
        stats = _consolidate(shadow, min(end_blk, old_blocks), forbidden, goal)
    if end_blk != old_blocks:
        progress.phase("resizing the shadow")
        _resize(shadow, end_blk, host.block_bytes)
        if end_blk > old_blocks and host.superblock.has("sparse_super2"):
            _mark_forgotten(shadow)
    after_super = Superblock(shadow.read(SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK_BYTES))
    if after_super.blocks < end_blk:
        return _Again(after_super.blocks, [])
    progress.phase("proving the new state")
    with Filesystem.open(str(shadow.path), writable=True) as after:
        inodes = match_inodes(before, after)
        restore_inodes(before, after, inodes)
    _check_shadow(shadow)
    with Filesystem.open(str(shadow.path)) as after:
        copies = compare(before, after, inodes)
        free_before = before.free()
        stray = subtract([Extent(c.dst, c.length) for c in copies], free_before)
        if stray:  # P1 would not hold
            return _Again(end_blk, _fixed_metadata(after, after_super))
        _check_end(copies, after_super.blocks)
        return HostPlan(
            host,
            Superblock(shadow.read(SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK_BYTES)),
            tuple(copies),
            plan_write_set(device, host.offset_bytes, shadow, before, after, host.superblock),
            tuple(free_before),
            tuple(after.free()),
            stats,
            Picture(before.summary(), tuple(before.cells(PICTURE_CELLS))),
            Picture(after.summary(), tuple(after.cells(PICTURE_CELLS))),
            shadow,
        )


def _consolidate(
    shadow: Shadow, end_blk: int, forbidden: Sequence[Extent], goal: Goal
) -> ConsolidateStats:
    try:
        return consolidate(
            shadow.path,
            end_blk,
            forbidden,
            goal.join is not Join.NO_JOIN,
            tuple(goal.pinned),
            at_any_cost=goal.join is Join.DEFRAG,
        )
    except FilesystemUnsupported as error:
        # The core knows inodes alone; the user knows the file.
        found = re.match(r"inode (\d+) ", error.message)
        name = goal.pinned.get(int(found[1])) if found else None
        if name is None:
            raise
        raise FilesystemUnsupported(
            f"{name} lies past the divider and must not move",
            hint="choose a larger first area, or remove the file and install it again afterwards",
        ) from error


def _resize(shadow: Shadow, blocks: int, block_bytes: int) -> None:
    if blocks * block_bytes > shadow.size_bytes:
        shadow.resize(blocks * block_bytes)
    # -f: its own estimate of the smallest size is far above what it can do.
    result = run_program(["resize2fs", "-f", str(shadow.path), str(blocks)])
    if result.returncode == 0:
        return
    words = (result.stderr + result.stdout).strip().splitlines()
    if any("No space left" in line or "Not enough space" in line for line in words):
        raise DoesNotFit(f"the filesystem's metadata does not fit into {blocks} blocks")
    raise ProgramFailed(f"resize2fs failed on the shadow: {words[-1] if words else 'no message'}")


def _mark_forgotten(shadow: Shadow) -> None:
    """resize2fs frees a block of metadata in the group that was the last one and had a backup.

    e2fsck marks it used again; whether that was all it did, the proof of the new state tells.
    """
    run_program(["e2fsck", "-f", "-y", str(shadow.path)])


def _check_shadow(shadow: Shadow) -> None:
    """The new state must pass e2fsck; if not, the plan is wrong and not the disk."""
    superblock = Superblock(shadow.read(SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK_BYTES))
    try:
        check_filesystem(str(shadow.path), superblock)
    except FilesystemDamaged as error:
        raise ProofFailed(f"the planned filesystem does not pass e2fsck: {error.message}") from None


def _check_end(copies: Sequence[Copy], blocks: int) -> None:
    if any(c.dst + c.length > blocks for c in copies):
        raise ProofFailed("a copy would end past the new end of the filesystem")


def _fixed_metadata(after: Filesystem, superblock: Superblock) -> list[Extent]:
    """Where the resized filesystem keeps its superblocks, descriptors, bitmaps and inode tables."""
    extents = [e for g in after.groups() for e in _group_extents(g)]
    descriptors = superblock.descriptor_blocks + superblock.reserved_descriptor_blocks
    extents += [Extent(b, 1 + descriptors) for b in superblock.backup_blocks]
    extents.append(Extent(superblock.first_data_block, 1 + descriptors))
    return normalise(extents)


def _group_extents(group: Group) -> tuple[Extent, ...]:
    return (
        Extent(group.block_bitmap_blk, 1),
        Extent(group.inode_bitmap_blk, 1),
        Extent(group.table_blk, group.table_blocks),
    )


def find_host(device: Device, offset_bytes: int, length_bytes: int) -> Host:
    """The filesystem that begins at `offset_bytes`."""
    superblock = read_superblock(device, offset_bytes, length_bytes)
    if superblock is None:
        raise FilesystemDamaged(f"there is no ext filesystem at byte {offset_bytes}")
    return Host(offset_bytes, superblock)
