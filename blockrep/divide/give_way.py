"""Who is past the divider, who shrinks, who moves and where to. Pure.

At most one partition crosses the limit. If it holds an ext filesystem it is the *host* and shrinks;
everything else past the limit moves down as a whole. Movers go into gaps that are free already;
then right below the limit, and the host ends below them. Where no ext filesystem crosses the limit
and the gaps do not do, the last one below it becomes the host.

On an MBR the logical partitions (with the area and the segments among them) have to stay together
in one extended partition that reaches to the end of the disk: its movers are the last ones below
the limit, and nothing primary may lie behind its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.layout_values import (
    BARE_FILESYSTEM,
    FIRST_LOGICAL,
    MIB,
    CannotGiveWayError,
    FsKind,
    PartitionFacts,
    PartitionMove,
    align_down,
    align_up,
    in_mib,
)
from blockrep.divide.second_area import EBR_ROOM_BYTES
from blockrep.errors import BlockrepError, DoesNotFit, FilesystemUnsupported, TableUnsupported
from blockrep.extents import Extent, normalise, subtract

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
PREP_TYPES = frozenset({"9E1A2D38-C612-4316-AA26-8B49521E5A8B", "41"})
ESP_TYPES = frozenset({"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "ef"})
SMALL_BYTES = 1 << 30
SMALL_DIVISOR = 8


@dataclass(frozen=True, slots=True)
class Given:
    """The first area after everything gave way; `container` is the extended partition to be."""

    partitions: tuple[Partition, ...]
    host: int | None
    host_end_bytes: int
    moves: tuple[PartitionMove, ...]
    container: Partition | None
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Scene:
    """One attempt at one limit. `top` is the end of what is still to be given away."""

    table: Table
    facts: Mapping[int, PartitionFacts]
    limit: int
    divider: int
    stay: list[Partition]
    move: list[Partition]
    host: Partition | None
    old_container: Partition | None
    top: int = 0
    places: dict[int, int] = field(default_factory=dict)

    def kind(self, partition: Partition) -> FsKind:
        facts = self.facts.get(partition.number)
        return FsKind.OTHER if facts is None else facts.kind

    def content(self, partition: Partition) -> str:
        facts = self.facts.get(partition.number)
        return (facts and facts.name) or self.kind(partition)

    def logical(self, partition: Partition) -> bool:
        return self.table.kind is TableKind.MBR and partition.number >= FIRST_LOGICAL

    @property
    def container_stays(self) -> bool:
        """Whether a logical partition keeps its place, and with it the container its start."""
        kept = self.stay if self.host is None else [*self.stay, self.host]
        return any(self.logical(p) for p in kept)


def give_way(
    table: Table, facts: Mapping[int, PartitionFacts], limit_bytes: int, divider_bytes: int
) -> Given:
    """Make everything end at or below the limit (at most the divider).

    `CannotGiveWayError` when this limit is impossible.
    """
    if table.kind is TableKind.NONE:
        return _bare(table, facts.get(BARE_FILESYSTEM), limit_bytes, divider_bytes)
    scene = _survey(table, facts, limit_bytes, divider_bytes)
    notes = [note for p in scene.move for note in _check_movable(scene, p)]
    if not _place(scene):
        _promote(scene)
        if not _place(scene):
            raise _no_place(scene)
    return _given(scene, tuple(notes))


def _bare(table: Table, facts: PartitionFacts | None, limit: int, divider: int) -> Given:
    if facts is None or facts.kind is FsKind.EMPTY:
        raise CannotGiveWayError(
            TableUnsupported(
                "there is neither a partition table nor a filesystem on it",
                hint="make a partition table first, for example with sfdisk",
            ),
            None,
        )
    if facts.kind is not FsKind.EXT:
        raise CannotGiveWayError(
            FilesystemUnsupported("what is on it is not an ext2, ext3 or ext4 filesystem"), None
        )
    size = facts.filesystem_bytes or table.disk_bytes
    if size <= limit:
        return Given((), None, align_up(size), (), None, ())
    if facts.minimum_bytes > limit:
        raise _host_too_small("the filesystem", facts.minimum_bytes, limit, divider)
    return Given((), BARE_FILESYSTEM, limit, (), None, ())


def _survey(table: Table, facts: Mapping[int, PartitionFacts], limit: int, divider: int) -> _Scene:
    parts = sorted((p for p in table.partitions if not p.is_extended), key=lambda p: p.start_bytes)
    scene = _Scene(
        table=table,
        facts=facts,
        limit=limit,
        divider=divider,
        stay=[p for p in parts if p.end_bytes <= limit],
        move=[p for p in parts if p.end_bytes > limit],
        host=None,
        old_container=next((p for p in table.partitions if p.is_extended), None),
    )
    first = scene.move[0] if scene.move else None
    if first is not None and first.start_bytes < limit and scene.kind(first) is FsKind.EXT:
        scene.host = scene.move.pop(0)
    return scene


def _check_movable(scene: _Scene, p: Partition) -> list[str]:
    """What the user should know of this move; `CannotGiveWayError` if it cannot be."""
    if p.type == BIOS_BOOT or p.type in PREP_TYPES:
        what = "BIOS boot" if p.type == BIOS_BOOT else "PReP boot"
        raise _immovable(
            p, f"the {what} partition {p.number}", "firmware finds it by its place", p.length_bytes
        )
    kind = scene.kind(p)
    if kind is FsKind.SWAP:
        return []
    if p.length_bytes > max(SMALL_BYTES, scene.limit // SMALL_DIVISOR):
        least = scene.facts[p.number].minimum_bytes if kind is FsKind.EXT else p.length_bytes
        what, why = f"partition {p.number} ({kind})", f"{in_mib(p.length_bytes)} are too much"
        raise _immovable(p, what, why, least)
    if p.type in ESP_TYPES:
        return [f"the EFI system partition {p.number} moves: check the firmware's boot entries"]
    if kind is FsKind.OTHER:
        return [
            f"partition {p.number} moves as a whole: what finds it by its sector must be renewed"
        ]
    return []


def _immovable(p: Partition, what: str, why: str, least_bytes: int) -> CannotGiveWayError:
    error = DoesNotFit(
        f"{what} ends at {in_mib(p.end_bytes)}, past the divider, and cannot move: {why}",
        hint="move or delete it yourself, or choose a larger first area",
    )
    return CannotGiveWayError(error, p.start_bytes + least_bytes)


def _place(scene: _Scene) -> bool:
    """Find a place for every mover; False when more room is needed than there is without a host."""
    scene.places.clear()
    scene.top = _zone_top(scene)
    container_start = scene.old_container.start_bytes if scene.old_container else 0
    if scene.container_stays:
        _check_primaries(scene, container_start)
    together = [p for p in scene.move if scene.logical(p)]
    others = [p for p in scene.move if not scene.logical(p)]
    for p in reversed(together):
        if not _put_on_top(scene, p, EBR_ROOM_BYTES):
            return False
    gaps = _gaps(scene, container_start if scene.container_stays else scene.top)
    for p in reversed(others):
        if _put_into_gap(scene, p, gaps):
            continue
        if scene.host is None or scene.container_stays or not _put_on_top(scene, p, 0):
            return False
    return True


def _zone_top(scene: _Scene) -> int:
    """Nothing is put on the old place of something that moves, but a swap alone on its own."""
    crossing = [p for p in scene.move if p.start_bytes < scene.limit]
    if not crossing or (len(scene.move) == 1 and scene.kind(crossing[0]) is FsKind.SWAP):
        return scene.limit
    return align_down(crossing[0].start_bytes)


def _floor(scene: _Scene) -> int:
    """Nothing is put on top below this."""
    if scene.host is not None:
        return scene.host.start_bytes
    return max([MIB, *(p.end_bytes for p in scene.stay)])


def _put_on_top(scene: _Scene, p: Partition, room_before: int) -> bool:
    start = align_down(scene.top - p.length_bytes)
    for record in reversed(_boot_records(scene)):
        if start - room_before < record.end and record.start < start + p.length_bytes:
            start = align_down(record.start - p.length_bytes)
    if start - room_before < _floor(scene):
        return False
    scene.places[p.number] = start
    scene.top = start - room_before
    return True


def _gaps(scene: _Scene, end: int) -> list[Extent]:
    """What is free in the old table below `end`, and below the host."""
    first = align_up(max(scene.table.first_usable_bytes, MIB))
    if scene.host is not None:
        end = min(end, scene.host.start_bytes)
    used = [Extent(p.start_bytes, p.length_bytes) for p in (*scene.stay, *scene.move)]
    used += _boot_records(scene)
    return subtract([Extent(first, end - first)], normalise(used))


def _boot_records(scene: _Scene) -> list[Extent]:
    """Where the EBRs of an MBR may be: overwriting one would break the old table."""
    if scene.old_container is None:
        return []
    starts = [p.start_bytes - EBR_ROOM_BYTES for p in scene.move if scene.logical(p)]
    starts.append(align_down(scene.old_container.start_bytes))
    return normalise(Extent(start, EBR_ROOM_BYTES) for start in starts)


def _put_into_gap(scene: _Scene, p: Partition, gaps: list[Extent]) -> bool:
    for index in reversed(range(len(gaps))):
        gap = gaps[index]
        start = align_down(gap.end - p.length_bytes)
        if start >= gap.start:
            gaps[index] = Extent(gap.start, start - gap.start)
            scene.places[p.number] = start
            if scene.host is None and gap.end == scene.top:
                scene.top = start
            return True
    return False


def _check_primaries(scene: _Scene, container_start: int) -> None:
    kept = scene.stay if scene.host is None else [*scene.stay, scene.host]
    for p in kept:
        if not scene.logical(p) and p.start_bytes >= container_start:
            error = TableUnsupported(
                f"the primary partition {p.number} lies between the extended partition and the "
                "divider",
                hint="convert the table to GPT first, for example with sgdisk --mbrtogpt",
            )
            raise CannotGiveWayError(error, None)


def _promote(scene: _Scene) -> None:
    """Make the last ext filesystem below the limit the host, so that it makes room."""
    last = scene.stay[-1] if scene.stay else None
    if scene.host is not None or last is None or scene.kind(last) is not FsKind.EXT:
        raise _no_place(scene)
    scene.host = scene.stay.pop()


def _no_place(scene: _Scene) -> CannotGiveWayError:
    homeless = [p for p in scene.move if p.number not in scene.places] or scene.move
    p = homeless[-1]
    lacking = p.length_bytes - (scene.top - _floor(scene))
    where = "is" if p.start_bytes >= scene.divider else "reaches"
    error = DoesNotFit(
        f"partition {p.number} ({scene.content(p)}, {in_mib(p.length_bytes)}) {where} past the "
        f"divider and there is no room for it below",
        hint="move or delete it yourself, or choose a larger first area",
    )
    hosts = [q.start_bytes + MIB for q in scene.move if scene.kind(q) is FsKind.EXT]
    needed = min([scene.divider + lacking - 2 * MIB, p.end_bytes, *hosts])
    return CannotGiveWayError(error, needed)


def _given(scene: _Scene, notes: tuple[str, ...]) -> Given:
    host = scene.host
    moved = {p.number: replace(p, start_bytes=scene.places[p.number]) for p in scene.move}
    kept = list(scene.stay)
    if host is not None:
        kept.append(_shrunk(scene, host))
    container = _container(scene, moved) if scene.table.kind is TableKind.MBR else None
    ends = [p.end_bytes for p in (*kept, *moved.values())]
    return Given(
        partitions=(*kept, *moved.values()),
        host=None if host is None else host.number,
        host_end_bytes=max(ends, default=MIB) if host is None else kept[-1].end_bytes,
        moves=tuple(_move(scene, p) for p in scene.move),
        container=container,
        notes=notes,
    )


def _shrunk(scene: _Scene, host: Partition) -> Partition:
    end = min(scene.top, host.end_bytes)
    length = end - host.start_bytes
    least = max(scene.facts[host.number].minimum_bytes, scene.table.sector_bytes)
    if length < least:
        raise _host_too_small(
            f"the filesystem of partition {host.number}", least, length, scene.divider
        )
    return replace(host, length_bytes=length)


def _host_too_small(what: str, least: int, length: int, divider: int) -> CannotGiveWayError:
    error = DoesNotFit(
        f"{what} needs at least {in_mib(least)} and would have {max(length, 0) // MIB} MiB",
        hint="choose a larger first area, or delete files",
    )
    return CannotGiveWayError(error, divider + least - length)


def _move(scene: _Scene, p: Partition) -> PartitionMove:
    is_swap = scene.kind(p) is FsKind.SWAP
    return PartitionMove(p.number, p.start_bytes, scene.places[p.number], p.length_bytes, is_swap)


def _container(scene: _Scene, moved: Mapping[int, Partition]) -> Partition:
    """The extended partition: from its first logical partition's boot record to the disk's end."""
    old = scene.old_container
    logicals = [p.start_bytes for p in moved.values() if scene.logical(p)]
    if scene.container_stays and old is not None:
        start = old.start_bytes
    else:
        start = min(logicals, default=scene.divider + EBR_ROOM_BYTES) - EBR_ROOM_BYTES
    length = align_down(scene.table.usable_end_bytes) - start
    if old is not None:
        return replace(old, start_bytes=start, length_bytes=length)
    return Partition(_free_slot(scene.table), start, length, "f")


def _free_slot(table: Table) -> int:
    used = {p.number for p in table.partitions}
    free = [n for n in range(1, FIRST_LOGICAL) if n not in used]
    if not free:
        error: BlockrepError = TableUnsupported(
            "all four primary partitions of the table are taken, and none is an extended one",
            hint="convert the table to GPT first, for example with sgdisk --mbrtogpt",
        )
        raise CannotGiveWayError(error, None)
    return free[0]
