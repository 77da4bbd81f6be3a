"""What lies where on a disk, for people: the host's files, what could move, the second area."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from blockrep.disk.area import Area, find_area
from blockrep.disk.device import Device
from blockrep.disk.holds import refuse_if_held
from blockrep.disk.superblock import Superblock
from blockrep.disk.table import Table, TableKind, read_table
from blockrep.divide.host import PICTURE_CELLS, Host, find_host
from blockrep.divide.interrupted import refuse_interrupted
from blockrep.divide.regions import list_regions
from blockrep.divide.show import name_filesystem, show_disk
from blockrep.divide.summary import Cell, FilePlace, FilesystemSummary, Inspection
from blockrep.divide.survey import judge_cleanliness, read_superblock
from blockrep.errors import FilesystemDamaged, FilesystemNotClean
from blockrep.extents import Extent
from blockrep.native import Filesystem
from blockrep.progress import Progress


def inspect_disk(device: Device, progress: Progress, *, files: bool) -> Inspection:
    """Read the table and the metadata of the filesystem that a divide would resize; change nothing.

    That is the last ext filesystem of the disk. It must be unmounted cleanly, or what would be
    shown is not what is. `files` adds every file with its path and runs.
    """
    progress.phase("reading the filesystem")
    device.drop_caches()
    refuse_interrupted(device)
    table = read_table(device)
    found = find_area(device, table)
    area = found[1] if found else None
    place = _host_place(device, table, area)
    host = find_host(device, *place[1:]) if place else None
    summary, listed = None, None
    if host:
        _judge(device, host)
        summary = _summarise(device, host)
        listed = _files(device.path, host) if files else None
    regions = list_regions(
        table,
        area,
        lambda part: name_filesystem(device, part),
        area.first_end_bytes if area else device.size_bytes,
    )
    return Inspection(
        str(device.path),
        device.size_bytes,
        device.sector_bytes,
        table.kind.value,
        regions,
        place[0] if place else None,
        summary,
        show_disk(device) if area else None,
        listed,
    )


def _judge(device: Device, host: Host) -> None:
    """What cannot be shown as it is, with what can be done here, where there is no --fsck."""
    try:
        judge_cleanliness(host.superblock)
    except (FilesystemNotClean, FilesystemDamaged) as error:
        refuse_if_held(device.path)
        raise type(error)(error.message, hint="repair it with `e2fsck -f` first") from None


def _host_place(device: Device, table: Table, area: Area | None) -> tuple[int, int, int] | None:
    """Number, start and length of the filesystem that was, or would be, resized."""
    places = [
        (p.number, p.start_bytes, p.length_bytes) for p in table.partitions if not p.is_extended
    ]
    if table.kind is TableKind.NONE:
        places = [(0, 0, device.size_bytes)]
    held = [p for p in places if read_superblock(device, p[1], p[2])]
    chosen = [p for p in held if area and p[0] == area.host]
    return max(chosen or held, key=lambda p: p[1], default=None)


def _summarise(device: Device, host: Host) -> FilesystemSummary:
    superblock: Superblock = host.superblock
    with Filesystem.open(str(device.path), host.offset_bytes) as filesystem:
        found = filesystem.summary()
        return FilesystemSummary(
            type=superblock.kind,
            block_bytes=superblock.block_bytes,
            blocks=superblock.blocks,
            used_blocks=superblock.blocks - superblock.free_blocks,
            inodes=superblock.inodes,
            used_inodes=superblock.inodes - superblock.free_inodes,
            files=found.files,
            directories=found.directories,
            fragmented_files=found.fragmented_files,
            minimum_first_bytes=host.offset_bytes
            + filesystem.minimum_blocks() * superblock.block_bytes,
            cells=tuple(Cell(*c) for c in filesystem.cells(PICTURE_CELLS)),
        )


def _files(path: Path, host: Host) -> Iterator[FilePlace]:
    unit = host.block_bytes
    with Filesystem.open(str(path), host.offset_bytes) as filesystem:
        for found in filesystem.files():
            runs = tuple(
                Extent(host.offset_bytes + e.pblk * unit, e.length * unit) for e in found.extents
            )
            for path_in in found.paths:
                yield FilePlace(path_in, found.ino, found.size_bytes, runs)
