"""The stretches of a disk in order, for summaries: partitions, second area, free space."""

from __future__ import annotations

from collections.abc import Callable

from blockrep.disk.area import AREA_BYTES, AREA_TYPE, RESERVE_TYPE, SEGMENT_TYPE, Area
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.summary import Region
from blockrep.extents import Extent, subtract

KINDS = {AREA_TYPE: "area", SEGMENT_TYPE: "segment", RESERVE_TYPE: "reserve"}
SMALLEST_FREE_BYTES = 1 << 20


def list_regions(
    table: Table, area: Area | None, filesystem: Callable[[Partition], str], bare_end_bytes: int
) -> tuple[Region, ...]:
    """Every partition, the second area as `area` tells it, and free stretches from 1 MiB on.

    `filesystem` names what a partition holds. Without a table the filesystem is a partition of
    number 0 from 0 to `bare_end_bytes`, and the second area is known from the area record alone.
    """
    second = _second_area(area) if area else {}
    regions = [_region(p, second, filesystem(p)) for p in table.partitions if not p.is_extended]
    if table.kind is TableKind.NONE:
        bare = Partition(0, 0, bare_end_bytes, "")
        regions = [Region("partition", 0, "", filesystem(bare), 0, bare_end_bytes)]
        regions += [
            Region(kind, None, name, "", extent.start, extent.length)
            for extent, (kind, name) in second.items()
        ]
    taken = [Extent(r.start_bytes, r.length_bytes) for r in regions]
    whole = Extent(table.first_usable_bytes, table.usable_end_bytes - table.first_usable_bytes)
    regions += [
        Region("free", None, "", "", *gap)
        for gap in subtract([whole], taken)
        if gap.length >= SMALLEST_FREE_BYTES
    ]
    return tuple(sorted(regions, key=lambda r: r.start_bytes))


def _second_area(area: Area) -> dict[Extent, tuple[str, str]]:
    found = {Extent(area.area_start_bytes, AREA_BYTES): ("area", "blockrep area")}
    for segment in area.segments:
        extent = Extent(segment.start_bytes, segment.length_bytes)
        owner = f" of {segment.owner_name}" if segment.owner_name else ""
        found[extent] = ("segment", f"blockrep segment {segment.number}{owner}")
    if area.reserve:
        found[area.reserve] = ("reserve", "blockrep reserve")
    return found


def _region(part: Partition, second: dict[Extent, tuple[str, str]], filesystem: str) -> Region:
    extent = Extent(part.start_bytes, part.length_bytes)
    kind, name = second.get(extent, (KINDS.get(part.type, "partition"), part.name))
    return Region(kind, part.number, name, filesystem, *extent)
