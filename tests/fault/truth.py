"""What is right for one disk: its old state, its new state, and every file, taken from outside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from manifest import Manifest, filesystem_manifest

from fault.outside import (
    CONTAINERS,
    OUR_TYPES,
    SUPERBLOCK_BYTES,
    Geometry,
    Partition,
    TableView,
    Wrong,
    check_filesystem,
    partition_identity,
    read_geometry,
    read_table,
    verify_table,
)
from fault.sectors import SECTOR_BYTES, Disk, Sectors

SWAP_TYPES = {"82", "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"}


@dataclass(frozen=True)
class Side:
    """The disk before (old) or after (new) an undisturbed run."""

    name: str
    content: Disk
    table: TableView | None  # None: a bare filesystem
    host: Partition
    geometry: Geometry

    def superblock_offsets(self) -> list[int]:
        """Of primary and backups, from the start of the disk; the primary first."""
        base = self.host.start_bytes
        return [base + 1024, *(base + b * self.geometry.block_bytes for b in self.geometry.backups)]

    def same_filesystem(self, disk: Disk, *, skip_superblocks: bool = False) -> bool:
        """Whether every byte that this filesystem uses is on `disk` as it is here.

        The bitmaps are among these bytes, so it is then the same filesystem to everybody.
        `skip_superblocks` leaves these out, the backups too: they are judged by what they say.
        """
        wanted = self._apart_from_superblocks if skip_superblocks else self._used
        return all(self.content.same(disk, start, end) for start, end in wanted)

    @cached_property
    def _used(self) -> list[tuple[int, int]]:
        """(start, end) in bytes from the start of the disk."""
        base = self.host.start_bytes
        return [(base + start, base + end) for start, end in self.geometry.used]

    @cached_property
    def _apart_from_superblocks(self) -> list[tuple[int, int]]:
        skipped = sorted(self.superblock_offsets())
        parts = []
        for start, end in self._used:
            for superblock in skipped:
                if start <= superblock < end:
                    parts.append((start, superblock))
                    start = superblock + SUPERBLOCK_BYTES
            parts.append((start, end))
        return parts


@dataclass(frozen=True)
class Truth:
    """Both sides and what they have in common. `new` is None for a disk that is never changed."""

    old: Side
    new: Side
    manifest: Manifest
    mountable: bool
    sector_bytes: int  # what the disk never tears
    _identities: dict[Partition, str] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.old, self.new

    def backup_offsets(self) -> list[int]:
        """Every place where either side has a backup superblock."""
        places = {o for side in self.sides for o in side.superblock_offsets()[1:]}
        return sorted(places)

    def old_identity(self, part: Partition) -> str:
        """UUID and label of what was in a partition of the old disk."""
        if part not in self._identities:
            with tempfile.NamedTemporaryFile() as file:
                file.write(self.old.content[part.start_bytes : part.end_bytes])
                file.flush()
                whole = Partition(0, part.length_bytes, part.type)
                self._identities[part] = partition_identity(Path(file.name), whole)
        return self._identities[part]


def learn_truth(
    initial: Path,
    final: Path,
    host_start_bytes: int,
    *,
    table: bool,
    mountable: bool,
    sector_bytes: int = SECTOR_BYTES,
) -> Truth:
    """The disk before and after an undisturbed run; `Wrong` if that already lost something."""
    sectors = Sectors()
    views = [read_table(image, sector_bytes) if table else None for image in (initial, final)]
    old = _side("old", initial, host_start_bytes, views[0], sectors)
    new = _side("new", final, host_start_bytes, views[1], sectors)
    start, length = old.host.start_bytes, old.host.length_bytes
    wanted = filesystem_manifest(initial, start, length, mountable=mountable)
    for path, side in ((initial, old), (final, new)):
        check_filesystem(path, start, side.host.length_bytes, wanted, mountable=mountable)
        if side.geometry.blocks * side.geometry.block_bytes > side.host.length_bytes:
            raise Wrong(f"the {side.name} filesystem is longer than its partition")
        if table:
            verify_table(path, sector_bytes)
    truth = Truth(old, new, wanted, mountable, sector_bytes)
    check_others(truth, new, new.content, partial(partition_identity, final))
    check_boot_code(truth, new.content)
    return truth


def _side(
    name: str, image: Path, host_start_bytes: int, view: TableView | None, sectors: Sectors
) -> Side:
    host = find_host(view, host_start_bytes, image.stat().st_size)
    geometry = read_geometry(image, host.start_bytes, host.length_bytes)
    content = Disk.of(sectors, image.read_bytes())
    return Side(name, content, view, host, geometry)


def find_host(view: TableView | None, start_bytes: int, disk_bytes: int) -> Partition:
    """The partition that starts where the host's filesystem starts; its start never moves."""
    if view is None:
        return Partition(0, disk_bytes, "")
    for part in view.partitions:
        if part.start_bytes == start_bytes and part.type not in CONTAINERS:
            return part
    raise Wrong(f"the table has no partition at byte {start_bytes}")


def other_partitions(view: TableView, host: Partition) -> list[Partition]:
    """All but the host's, the containers and our own, in the order of the table."""
    skipped = OUR_TYPES | CONTAINERS
    return [p for p in view.partitions if p != host and p.type not in skipped]


def check_others(
    truth: Truth, side: Side, disk: Disk, identify: Callable[[Partition], str]
) -> None:
    """The other partitions hold what they held, where the table of `side` says they are.

    `identify` tells UUID and label of what is in a partition of `disk`.
    """
    old = truth.old
    if old.table is None or side.table is None:
        return
    before = other_partitions(old.table, old.host)
    after = other_partitions(side.table, side.host)
    if len(before) != len(after):
        raise Wrong(f"{len(before)} other partitions were there, {len(after)} are")
    for was, now in zip(before, after, strict=True):
        if now.length_bytes == was.length_bytes and old.content.same(
            disk, was.start_bytes, was.end_bytes, now.start_bytes
        ):
            continue
        if was.type not in SWAP_TYPES:
            raise Wrong(f"the partition at byte {now.start_bytes} holds something else")
        wanted = truth.old_identity(was)
        if identify(now) != wanted:
            raise Wrong(f"the swap at byte {now.start_bytes} lost its name: {wanted}")


def check_boot_code(truth: Truth, disk: Disk) -> None:
    """The code of boot loaders stays: of the MBR, of the gap behind it, of the partition."""
    old, start = truth.old.content, truth.old.host.start_bytes
    ranges = [("boot sectors of the filesystem", start, start + 1024)]
    if truth.old.table is not None:
        ranges.append(("code of the MBR", 0, 440))
        if '"dos"' in truth.old.table.text:
            ranges.append(("boot loader behind the MBR", 512, start))
    for name, first, last in ranges:
        if not old.same(disk, first, last):
            raise Wrong(f"the {name} changed")
