"""What the engine tells its callers: plain values in bytes, blocks and counts, ready to be shown.

Nothing here refers to an open device, so a summary outlives the plan it was taken from. All ranges
are `start, length`; offsets are counted from the start of the disk unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from blockrep.extents import Extent


class Join(StrEnum):
    """How much is done about fragmented files."""

    JOIN = "join"  # joined where a free run exists, in the same transaction
    NO_JOIN = "no-join"  # only what must move is moved
    DEFRAG = "defrag"  # further transactions until nothing improves


@dataclass(frozen=True, slots=True)
class DivideRequest:
    """What the user asked for. `history_share` None means the default where there is room."""

    first_bytes: int
    peers: int
    history_share: float | None = None
    fsck: bool = False
    join: Join = Join.JOIN
    shadow_dir: Path | None = None
    journal: Path | None = None


@dataclass(frozen=True, slots=True)
class UndivideRequest:
    """Where an undivide may work, if not in memory and on the disk itself."""

    shadow_dir: Path | None = None
    journal: Path | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """One stretch of the disk.

    `kind` is "table", "partition", "free", "area", "segment" or "reserve". `number` is that of the
    partition, 0 for a filesystem straight on the device, None for the rest; `name` is its label.
    """

    kind: str
    number: int | None
    name: str
    filesystem: str
    start_bytes: int
    length_bytes: int

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + self.length_bytes


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """One segment. `capacity_bytes` is the largest first area of a peer that it can hold."""

    number: int
    start_bytes: int
    length_bytes: int
    capacity_bytes: int
    history_bytes: int
    uuid: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """What one of many equal stretches of a filesystem holds, in blocks."""

    metadata: int
    contiguous: int
    fragmented: int
    free: int


@dataclass(frozen=True, slots=True)
class FilesystemSummary:
    """What a filesystem holds and where.

    `minimum_first_bytes` is the smallest possible first area, from the start of the disk. `cells`
    cut the filesystem into equal stretches, in order.
    """

    type: str
    block_bytes: int
    blocks: int
    used_blocks: int
    inodes: int
    used_inodes: int
    files: int
    directories: int
    fragmented_files: int
    minimum_first_bytes: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class DivideSummary:
    """A divide or undivide as it is going to be: nothing has been changed yet.

    `host_partition` is the number of the partition whose filesystem is resized, 0 for a filesystem
    straight on the device, None where there is none. `host_end_bytes` is where that filesystem ends
    afterwards. The cells cut that filesystem, as it is before and after, into equal stretches.
    """

    disk: str
    disk_bytes: int
    sector_bytes: int
    table: str
    divider_bytes: int
    before: tuple[Region, ...]
    after: tuple[Region, ...]
    host_partition: int | None
    host_end_bytes: int
    host_blocks_before: int
    host_blocks_after: int
    files_moved: int
    files_joined: int
    fragmented_before: int
    fragmented_after: int
    copy_bytes: int
    metadata_bytes: int
    log_place: str
    estimated_s: float
    segments: tuple[SegmentSummary, ...]
    cells_before: tuple[Cell, ...] = ()
    cells_after: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended.

    `action` is "divided", "undivided", "unchanged", "finished", "backed out" or "nothing to do".
    """

    action: str
    disk: str
    details: tuple[str, ...]
    elapsed_s: float
    copied_bytes: int


@dataclass(frozen=True, slots=True)
class DividedDisk:
    """A divided disk as its area record and its table tell it."""

    disk: str
    disk_bytes: int
    sector_bytes: int
    table: str
    divider_bytes: int
    first_area_end_bytes: int
    instance_id: str
    area: Region
    segments: tuple[SegmentSummary, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where one file lies: its path within its filesystem and its runs, in bytes of the disk."""

    path: str
    inode: int
    size_bytes: int
    runs: tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What lies where on a disk.

    `filesystem` is the one that a divide would resize, in partition `host_partition`; both are None
    where there is none. `files` can be iterated once, and is None unless it was asked for.
    """

    disk: str
    disk_bytes: int
    sector_bytes: int
    table: str
    regions: tuple[Region, ...]
    host_partition: int | None
    filesystem: FilesystemSummary | None
    divided: DividedDisk | None
    files: Iterable[FilePlace] | None = None
