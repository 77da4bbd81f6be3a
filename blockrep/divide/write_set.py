"""The write set: every metadata block of the new filesystem that differs from what the disk holds.

It is an explicit walk of the new metadata, not a byte difference of sparse files: a hole of the
shadow inside metadata is zeros that must be written, a hole elsewhere means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from blockrep.disk.device import Device
from blockrep.disk.superblock import (
    SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSET_BYTES,
    Superblock,
)
from blockrep.divide.log import Change, image_digest
from blockrep.divide.shadow import Shadow
from blockrep.errors import ProofFailed
from blockrep.extents import Extent, intersect, scale, union
from blockrep.native import Filesystem

PIECE_BYTES = 1 << 20
FINE_BYTES = 512


@dataclass(frozen=True, slots=True)
class WriteSet:
    """What changes beside the copies. Offsets are bytes of the disk.

    `supers_old`: the old host's superblocks (offset, 1024 bytes), the primary first. `super_new`:
    the new primary. `backups_new`: new backups that stand where old ones stood.
    """

    metadata: tuple[Change, ...]
    supers_old: tuple[tuple[int, bytes], ...]
    super_new: bytes
    backups_new: tuple[tuple[int, bytes], ...]
    backups_fresh: tuple[int, ...]


def plan_write_set(
    device: Device,
    host_offset_bytes: int,
    shadow: Shadow,
    before: Filesystem,
    after: Filesystem,
    old: Superblock,
) -> WriteSet:
    """Compare the shadow's metadata with the disk; both images are read again when it is logged."""
    new = Superblock(shadow.read(SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK_BYTES))
    places = [SUPERBLOCK_OFFSET_BYTES, *(b * old.block_bytes for b in old.backup_blocks)]
    backups = [b * new.block_bytes for b in new.backup_blocks]
    walk = scale(union(after.metadata(), _moved_tables(before, after)), new.block_bytes)
    _check_given_up([p for p in places[1:] if p not in backups], walk)
    return WriteSet(
        tuple(
            _change(device, host_offset_bytes, shadow, run)
            for run in _differences(
                device, host_offset_bytes, shadow, walk, [*places, *backups], new
            )
        ),
        tuple(
            (host_offset_bytes + p, device.read(host_offset_bytes + p, SUPERBLOCK_BYTES))
            for p in places
        ),
        new.raw,
        tuple((host_offset_bytes + p, shadow.read(p, SUPERBLOCK_BYTES)) for p in backups),
        tuple(host_offset_bytes + p for p in backups if p not in places),
    )


def _check_given_up(places: Sequence[int], walk: Sequence[Extent]) -> None:
    """Where a backup is given up the lock stays, so nothing else may be put there."""
    if intersect([Extent(p, SUPERBLOCK_BYTES) for p in places], walk):
        raise ProofFailed("metadata would lie where a backup superblock is given up")


def _moved_tables(before: Filesystem, after: Filesystem) -> list[Extent]:
    """Inode tables at new places, whole: their unused part must be the zeros the kernel expects."""
    old = {g.number: g.table_blk for g in before.groups()}
    moved = (g for g in after.groups() if old.get(g.number) != g.table_blk)
    return [Extent(g.table_blk, g.table_blocks) for g in moved]


def _differences(
    device: Device,
    host: int,
    shadow: Shadow,
    walk: Sequence[Extent],
    supers: Sequence[int],
    new: Superblock,
) -> Iterator[Extent]:
    """Runs, in bytes of the filesystem, that differ; never a byte of a superblock's place."""
    guarded = [Extent(p, SUPERBLOCK_BYTES) for p in supers]
    for piece in _pieces(walk):
        wanted = bytearray(shadow.read(*piece))
        found = device.read(host + piece.start, piece.length)
        held = intersect([piece], guarded)
        for start, length in held:
            at = start - piece.start
            wanted[at : at + length] = found[at : at + length]
        if wanted != found:
            yield from _runs(piece.start, found, wanted, FINE_BYTES if held else new.block_bytes)


def _pieces(walk: Sequence[Extent]) -> Iterator[Extent]:
    for start, length in walk:
        for at in range(start, start + length, PIECE_BYTES):
            yield Extent(at, min(PIECE_BYTES, start + length - at))


def _runs(start: int, found: bytes, wanted: bytearray, unit: int) -> Iterator[Extent]:
    """Neighbouring units that differ, joined."""
    run: Extent | None = None
    for at in range(0, len(found), unit):
        if found[at : at + unit] == wanted[at : at + unit]:
            continue
        if run and run.end == start + at:
            run = Extent(run.start, run.length + unit)
            continue
        if run:
            yield run
        run = Extent(start + at, unit)
    if run:
        yield run


def _change(device: Device, host: int, shadow: Shadow, run: Extent) -> Change:
    at = host + run.start
    old = partial(device.read, at, run.length)
    new = partial(shadow.read, *run)
    zeros = new() == bytes(run.length)
    return Change(at, run.length, old, new, zeros=zeros, old_digest=image_digest(old()))
