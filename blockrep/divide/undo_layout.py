"""Plan the table after the second area is given back. Pure.

The simplest rule that loses nothing: area, segments and reserve go; partitions that were moved stay
where they are, unless the caller can make a swap again where it was; the host grows to its old end,
or to whatever now lies before that.
"""

from __future__ import annotations

from dataclasses import replace

from blockrep.disk.area import AREA_TYPE, RESERVE_TYPE, SEGMENT_TYPE, Area, ChangedPartition
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.layout_values import in_mib
from blockrep.divide.second_area import EBR_ROOM_BYTES


def plan_undo(
    table: Table, area: Area, *, return_swaps: bool = False
) -> tuple[Table, tuple[str, ...]]:
    """The table without the second area, and what the user should know of it.

    Partitions keep their numbers. With `return_swaps` a swap has its old place in the new table if
    that is free, and the caller makes its header there. Without a table nothing changes.
    """
    if table.kind is TableKind.NONE:
        return table, ()
    before = {c.number: c for c in area.changed}
    parts = {p.number: p for p in table.partitions if not _is_ours(table, area, p)}
    container = next((p for p in parts.values() if p.is_extended), None)
    if container is not None:
        del parts[container.number]
    if return_swaps:
        _return_swaps(table, parts, before)
    if container is not None:
        kept = _container(table, container, parts, before)
        if kept is not None:
            parts[kept.number] = kept
    notes = (*_grow_host(table, area, parts, before), *_stay_notes(area, parts, before))
    ordered = tuple(sorted(parts.values(), key=lambda p: p.number))
    return replace(table, partitions=ordered), notes


def _is_ours(table: Table, area: Area, p: Partition) -> bool:
    if table.kind is TableKind.GPT:
        return p.type in (AREA_TYPE, SEGMENT_TYPE, RESERVE_TYPE)
    starts = {area.area_start_bytes, *(s.start_bytes for s in area.segments)}
    if area.reserve is not None:
        starts.add(area.reserve.start)
    return p.is_logical and p.start_bytes in starts


def _return_swaps(
    table: Table, parts: dict[int, Partition], before: dict[int, ChangedPartition]
) -> None:
    """Put each swap back where it was, if nobody has taken the place."""
    for number, was in before.items():
        p = parts.get(number)
        if p is None or not was.is_swap or p.length_bytes != was.old_length_bytes:
            continue
        back = replace(p, start_bytes=was.old_start_bytes)
        others = [q for q in parts.values() if q.number != number]
        if back.end_bytes <= table.usable_end_bytes and not any(_overlap(back, q) for q in others):
            parts[number] = back


def _container(
    table: Table,
    now: Partition,
    parts: dict[int, Partition],
    before: dict[int, ChangedPartition],
) -> Partition | None:
    """The extended partition as it was if that still does, else just what its logicals need."""
    logicals = [p for p in parts.values() if p.is_logical]
    primaries = [p for p in parts.values() if not p.is_logical]
    was = before.get(now.number)
    if was is not None and was.old_length_bytes > 0:
        old = replace(now, start_bytes=was.old_start_bytes, length_bytes=was.old_length_bytes)
        covered = all(
            old.start_bytes < p.start_bytes and p.end_bytes <= old.end_bytes for p in logicals
        )
        if covered and not any(_overlap(old, p) for p in primaries):
            return old
    if not logicals:
        return None
    unmoved = [p for p in table.partitions if p.is_logical and parts.get(p.number) == p]
    start = min(p.start_bytes for p in logicals) - EBR_ROOM_BYTES
    if unmoved:
        start = min(start, now.start_bytes)
    return replace(now, start_bytes=start, length_bytes=max(p.end_bytes for p in logicals) - start)


def _grow_host(
    table: Table,
    area: Area,
    parts: dict[int, Partition],
    before: dict[int, ChangedPartition],
) -> list[str]:
    host = parts.get(area.host) if area.host is not None else None
    if host is None or host.number not in before:
        return []
    was = before[host.number]
    old_end = was.old_start_bytes + was.old_length_bytes
    end = min([old_end, *_barriers(table, host, parts)])
    if end <= host.end_bytes:
        end = host.end_bytes
    parts[host.number] = replace(host, length_bytes=end - host.start_bytes)
    if end < old_end:
        return [
            f"partition {host.number} grows to {in_mib(end - host.start_bytes)} instead of its old "
            f"{in_mib(was.old_length_bytes)}: another partition is in the way"
        ]
    return []


def _barriers(table: Table, host: Partition, parts: dict[int, Partition]) -> list[int]:
    """Where the host has to end because of what lies behind it."""
    behind = [p for p in parts.values() if p.start_bytes > host.start_bytes]
    if table.kind is TableKind.GPT:
        return [p.start_bytes for p in behind]
    if not host.is_logical:
        return [p.start_bytes for p in behind if not p.is_logical]
    rooms = [p.start_bytes - EBR_ROOM_BYTES for p in behind if p.is_logical]
    ends = [p.end_bytes for p in parts.values() if p.is_extended]
    return rooms + ends


def _stay_notes(
    area: Area, parts: dict[int, Partition], before: dict[int, ChangedPartition]
) -> list[str]:
    return [
        f"partition {p.number} stays where the divide moved it, at {in_mib(p.start_bytes)}"
        for p in parts.values()
        if p.number in before
        and not p.is_extended
        and p.number != area.host
        and p.start_bytes != before[p.number].old_start_bytes
    ]


def _overlap(a: Partition, b: Partition) -> bool:
    return a.start_bytes < b.end_bytes and b.start_bytes < a.end_bytes
