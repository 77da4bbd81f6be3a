"""A disk as a row of slices, each one of a few kinds: what text and SVG maps are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from blockrep.divide.summary import Cell, DividedDisk, DivideSummary, Inspection, Region


class Kind(StrEnum):
    METADATA = "metadata"
    CONTIGUOUS = "contiguous"
    FRAGMENTED = "fragmented"
    PARTLY = "partly"  # less than half of it is used
    FREE = "free"
    PARTITION = "partition"
    AREA = "area"
    SEGMENT = "segment"
    RESERVE = "reserve"
    OUTSIDE = "outside"  # of every partition


MEANINGS = {
    Kind.CONTIGUOUS: "files in one piece",
    Kind.FRAGMENTED: "files in pieces",
    Kind.METADATA: "metadata",
    Kind.PARTLY: "less than half used",
    Kind.FREE: "free",
    Kind.PARTITION: "partition",
    Kind.AREA: "area record",
    Kind.SEGMENT: "segment",
    Kind.RESERVE: "reserve",
    Kind.OUTSIDE: "no partition",
}


@dataclass(frozen=True, slots=True)
class Slice:
    """One stretch of the disk; `number` is that of its partition or segment."""

    kind: Kind
    number: int | None = None


@dataclass(frozen=True, slots=True)
class DiskMap:
    """`slices` in the order of the disk, `starts_bytes` where each begins.

    `divider_slice` is the first slice behind the divider, None where nothing is divided. No slice
    lies on both sides of it.
    """

    disk_bytes: int
    divider_bytes: int | None
    divider_slice: int | None
    slices: tuple[Slice, ...]
    starts_bytes: tuple[int, ...]

    def runs(self) -> list[tuple[int, int, Slice]]:
        """Alike neighbours as `(start, length, slice)`."""
        result: list[tuple[int, int, Slice]] = []
        at = 0
        for piece, group in groupby(self.slices):
            length = len(list(group))
            result.append((at, length, piece))
            at += length
        return result

    def kinds(self) -> set[Kind]:
        return {piece.kind for piece in self.slices}


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be drawn: a disk, its regions, and the cells of its host filesystem."""

    title: str
    disk_bytes: int
    regions: tuple[Region, ...]
    host_partition: int | None
    cells: tuple[Cell, ...]
    divider_bytes: int | None

    @property
    def segments(self) -> int:
        return sum(region.kind == "segment" for region in self.regions)


def scenes_of_plan(plan: DivideSummary, *, divided_before: bool = False) -> tuple[Scene, Scene]:
    """The disk before and after; the divider stays visible where one is or will be."""
    host = plan.host_partition
    after_divider = None if divided_before else plan.divider_bytes
    return (
        Scene("Before", plan.disk_bytes, plan.before, host, plan.cells_before, plan.divider_bytes),
        Scene("After", plan.disk_bytes, plan.after, host, plan.cells_after, after_divider),
    )


def scene_of_inspection(found: Inspection) -> Scene:
    cells = found.filesystem.cells if found.filesystem else ()
    divider = found.divided.divider_bytes if found.divided else None
    return Scene(found.disk, found.disk_bytes, found.regions, found.host_partition, cells, divider)


def scene_of_divided(disk: DividedDisk) -> Scene:
    return Scene(disk.disk, disk.disk_bytes, disk.regions, None, (), disk.divider_bytes)


def build_map(scene: Scene, count: int) -> DiskMap:
    """The disk in `count` slices of about the same size."""
    split = _divider_slice(scene, count)
    bounds = _bounds(scene, count, split)
    regions = sorted(scene.regions, key=lambda region: region.start_bytes)
    numbers = _segment_numbers(regions)
    pieces = tuple(_slice(scene, regions, numbers, bounds[i], bounds[i + 1]) for i in range(count))
    return DiskMap(scene.disk_bytes, scene.divider_bytes, split, pieces, tuple(bounds[:-1]))


def _divider_slice(scene: Scene, count: int) -> int | None:
    divider = scene.divider_bytes
    if divider is None or not 0 < divider < scene.disk_bytes:
        return None
    return max(1, min(count - 1, round(divider * count / scene.disk_bytes)))


def _bounds(scene: Scene, count: int, split: int | None) -> list[int]:
    if split is None or scene.divider_bytes is None:
        return [scene.disk_bytes * i // count for i in range(count + 1)]
    first, rest = scene.divider_bytes, scene.disk_bytes - scene.divider_bytes
    below = [first * i // split for i in range(split)]
    return below + [first + rest * i // (count - split) for i in range(count - split + 1)]


def _segment_numbers(regions: Sequence[Region]) -> dict[int, int]:
    """Segments by their start, counted from 1 in the order of the disk."""
    starts = [region.start_bytes for region in regions if region.kind == "segment"]
    return {start: number for number, start in enumerate(starts, 1)}


def _slice(
    scene: Scene, regions: Sequence[Region], numbers: dict[int, int], start: int, end: int
) -> Slice:
    best, covered = None, 0
    for region in regions:
        if region.kind == "area" and start <= region.start_bytes < end:
            return Slice(Kind.AREA)  # small, and still to be seen
        overlap = min(end, region.end_bytes) - max(start, region.start_bytes)
        if overlap > covered and region.kind not in ("free", "table"):
            best, covered = region, overlap
    if best is None:
        return Slice(Kind.OUTSIDE)
    if best.kind == "segment":
        return Slice(Kind.SEGMENT, numbers[best.start_bytes])
    if best.kind in ("area", "reserve"):
        return Slice(Kind(best.kind))
    if best.number == scene.host_partition and scene.cells:
        return Slice(_cell_kind(scene.cells, best, start, end), best.number)
    return Slice(Kind.PARTITION, best.number)


def _cell_kind(cells: tuple[Cell, ...], region: Region, start: int, end: int) -> Kind:
    """The kind that most of the used blocks between two offsets are of."""
    count, length = len(cells), region.length_bytes
    low = max(0, start - region.start_bytes) * count / length
    high = min(length, end - region.start_bytes) * count / length
    sums = [0.0, 0.0, 0.0, 0.0]
    for index in range(int(low), min(count, int(high) + 1)):
        weight = min(high, index + 1) - max(low, index)
        cell = cells[index]
        for at, blocks in enumerate((cell.metadata, cell.contiguous, cell.fragmented, cell.free)):
            sums[at] += blocks * max(0.0, weight)
    used = sum(sums[:3])
    if used == 0:
        return Kind.FREE
    if used < sums[3]:
        return Kind.PARTLY
    return (Kind.METADATA, Kind.CONTIGUOUS, Kind.FRAGMENTED)[sums.index(max(sums[:3]))]
