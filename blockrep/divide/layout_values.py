"""The values of a layout: what is known before, and what is decided."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from blockrep.disk.table import Table, TableKind
from blockrep.errors import BlockrepError
from blockrep.extents import Extent

MIB = 1 << 20
BARE_FILESYSTEM = 0
FIRST_LOGICAL = 5


class FsKind(StrEnum):
    """What a partition holds, as far as its place matters. EMPTY: nothing that is recognised."""

    EXT = "ext"
    SWAP = "swap"
    OTHER = "other"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """What the survey found; the byte counts are those of an ext filesystem, else 0.

    `minimum_bytes` is the smallest it can shrink to, `filesystem_bytes` its present size. `name` is
    what blkid calls what is neither.
    """

    kind: FsKind
    minimum_bytes: int = 0
    block_bytes: int = 0
    filesystem_bytes: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class PartitionMove:
    """A partition that goes somewhere else as a whole. A swap's content does not matter.

    The new place of any move overlaps no partition's old place except the host's (and a swap's
    own), so the old table and the old content stay true until the new table is written.
    """

    number: int
    old_start_bytes: int
    new_start_bytes: int
    length_bytes: int
    is_swap: bool


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    number: int
    start_bytes: int
    length_bytes: int
    capacity_bytes: int
    history_bytes: int
    uuid: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything will be. `host_partition` 0 is the bare filesystem, None: nothing shrinks.

    `new_table` equals the old one where there is no table. The host's filesystem and partition end
    at or below `host_end_bytes`.
    """

    divider_bytes: int
    new_table: Table
    host_partition: int | None
    host_end_bytes: int
    moves: tuple[PartitionMove, ...]
    area_start_bytes: int
    area_length_bytes: int
    segments: tuple[SegmentPlan, ...]
    reserve: Extent | None
    notes: tuple[str, ...]

    @property
    def first_end_bytes(self) -> int:
        """The end of the last partition or filesystem below the divider."""
        if self.new_table.kind is TableKind.NONE:
            return self.host_end_bytes
        return first_end(self.new_table, self.divider_bytes)


class CannotGiveWayError(Exception):
    """Inside the planner: this divider is impossible. `needed_bytes`: no smaller one is possible.

    None when no divider helps.
    """

    def __init__(self, error: BlockrepError, needed_bytes: int | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.needed_bytes = needed_bytes


def first_end(table: Table, divider_bytes: int) -> int:
    """The end of the last partition below the divider."""
    ends = (p.end_bytes for p in table.partitions if not p.is_extended)
    return max((end for end in ends if end <= divider_bytes), default=MIB)


def align_down(value_bytes: int) -> int:
    return value_bytes // MIB * MIB


def align_up(value_bytes: int) -> int:
    return -(-value_bytes // MIB) * MIB


def in_mib(value_bytes: int) -> str:
    """For messages; rounded up."""
    return f"{align_up(value_bytes) // MIB} MiB"
