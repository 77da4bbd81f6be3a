"""Whatever the disk looks like: a layout is sound, or it is refused by name."""

from __future__ import annotations

import uuid
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from blockrep.disk.area import build_area, parse_area
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.layout import (
    FsKind,
    Layout,
    PartitionFacts,
    describe_area,
    plan_layout,
    plan_undo,
    smallest_divider,
)
from blockrep.errors import BlockrepError, DoesNotFit, TableUnsupported, UsageError
from blockrep.segment.geometry import (
    DEFAULT_HISTORY_SHARE,
    MIB,
    Geometry,
    geometry_for,
    map_bytes_for,
    plan_geometry,
    smallest_ring,
)
from blockrep.segment.header import SegmentHeader, SegmentState, build_header, parse_header

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
KINDS = st.sampled_from(list(FsKind))


@st.composite
def disks(draw: st.DrawFn) -> tuple[Table, dict[int, PartitionFacts]]:
    """A GPT or MBR disk of up to 12 GiB with up to six partitions, or a bare filesystem."""
    disk_bytes = draw(st.integers(40, 12000)) * MIB + draw(st.integers(0, 3)) * 512
    kind = draw(st.sampled_from(list(TableKind)))
    if kind is TableKind.NONE:
        facts = {0: draw(facts_of(disk_bytes))}
        return Table(kind, 512, disk_bytes, "", (), 0, disk_bytes), facts
    end = disk_bytes - 33 * 512 if kind is TableKind.GPT else disk_bytes
    first = 34 * 512 if kind is TableKind.GPT else 512
    places = draw(cuts(end))
    numbers = draw(st.permutations(range(1, len(places) + 1)))
    parts = [
        Partition(number, start, length, LINUX, f"U{number}")
        for number, (start, length) in zip(numbers, places, strict=True)
    ]
    if kind is TableKind.MBR:
        parts = draw(as_mbr(places))
    facts = {p.number: draw(facts_of(p.length_bytes)) for p in parts if not p.is_extended}
    parts.sort(key=lambda p: p.number)
    return Table(kind, 512, disk_bytes, "", tuple(parts), first, end), facts


@st.composite
def cuts(draw: st.DrawFn, end_bytes: int) -> list[tuple[int, int]]:
    """Disjoint ranges in order, at least 1 MiB apart."""
    count = 2 * draw(st.integers(0, 6))
    marks = draw(st.lists(st.integers(1, end_bytes // MIB), max_size=count, unique=True))
    marks.sort()
    found = []
    for start, end in zip(marks[::2], marks[1::2], strict=False):
        length = (end - start) * MIB - draw(st.sampled_from([0, 0, 512, 1024]))
        begin = start * MIB + MIB
        if length > MIB:
            found.append((begin, length - MIB))
    return found


@st.composite
def as_mbr(draw: st.DrawFn, places: list[tuple[int, int]]) -> list[Partition]:
    """The first and last few primary, a run in between logical."""
    first = draw(st.integers(0, min(3, len(places))))
    count = draw(st.integers(0, len(places) - first))
    inner, outer = places[first : first + count], places[:first] + places[first + count :]
    outer = outer[: 3 if inner else 4]
    parts = [Partition(n, s, length, "83") for n, (s, length) in enumerate(outer, 1)]
    if inner:
        start, end = inner[0][0] - MIB, sum(inner[-1])
        parts.append(Partition(len(outer) + 1, start, end - start, "f"))
        parts += [Partition(n, s, length, "83") for n, (s, length) in enumerate(inner, 5)]
    return parts


@st.composite
def facts_of(draw: st.DrawFn, length_bytes: int) -> PartitionFacts:
    kind = draw(KINDS)
    if kind is not FsKind.EXT:
        return PartitionFacts(kind)
    return PartitionFacts(kind, draw(st.integers(0, length_bytes)), 4096, length_bytes)


def lay(
    table: Table, first: int, peers: int, share: float | None, facts: dict[int, PartitionFacts]
) -> Layout:
    numbers = iter(range(1, 1000))
    return plan_layout(table, first, peers, share, facts, lambda: uuid.UUID(int=next(numbers)))


def check_sound(table: Table, facts: dict[int, PartitionFacts], layout: Layout) -> None:
    new = {p.number: p for p in layout.new_table.partitions}
    old = {p.number: p for p in table.partitions}
    data = sorted((p.start_bytes, p.end_bytes) for p in new.values() if not p.is_extended)
    assert all(a[1] <= b[0] for a, b in pairwise(data))
    assert all(
        table.first_usable_bytes <= start < end <= table.usable_end_bytes for start, end in data
    )
    assert set(old) <= set(new) or table.kind is TableKind.NONE
    assert len({p.uuid for p in new.values() if p.uuid}) == sum(bool(p.uuid) for p in new.values())
    moves = {m.number: m for m in layout.moves}
    for number, was in old.items():
        now = new[number]
        assert replace(now, start_bytes=was.start_bytes, length_bytes=was.length_bytes) == was
        if was.is_extended:
            continue
        assert now.end_bytes <= layout.first_end_bytes <= layout.divider_bytes
        if number in moves:
            assert now.start_bytes == moves[number].new_start_bytes
            assert now.start_bytes % MIB == 0
            assert now.length_bytes == was.length_bytes
        elif number == layout.host_partition:
            assert facts[number].kind is FsKind.EXT
            assert now.start_bytes == was.start_bytes
            assert facts[number].minimum_bytes <= now.length_bytes <= was.length_bytes
            assert now.end_bytes == layout.host_end_bytes
        else:
            assert now == was
    check_moves(table, layout)
    check_second_area(table, layout)
    check_container(layout)


def check_moves(table: Table, layout: Layout) -> None:
    """No new place on an old one that somebody still needs until the new table is written."""
    for move in layout.moves:
        end = move.new_start_bytes + move.length_bytes
        for p in table.partitions:
            own_swap = p.number == move.number and move.is_swap
            if p.is_extended or p.number == layout.host_partition or own_swap:
                continue
            assert end <= p.start_bytes or p.end_bytes <= move.new_start_bytes


def check_second_area(table: Table, layout: Layout) -> None:
    spans = [(layout.area_start_bytes, layout.area_length_bytes)]
    spans += [(s.start_bytes, s.length_bytes) for s in layout.segments]
    spans += [] if layout.reserve is None else [tuple(layout.reserve)]
    spans.sort()
    assert all(start % MIB == 0 and length % MIB == 0 for start, length in spans)
    assert all(a + length <= b for (a, length), (b, _) in pairwise(spans))
    assert spans[0][0] >= layout.divider_bytes
    assert sum(spans[-1]) <= table.usable_end_bytes
    assert len({s.length_bytes for s in layout.segments}) <= 1
    assert all(s.capacity_bytes + s.history_bytes < s.length_bytes for s in layout.segments)


def check_container(layout: Layout) -> None:
    if layout.new_table.kind is not TableKind.MBR:
        return
    (box,) = [p for p in layout.new_table.partitions if p.is_extended]
    assert box.number <= 4
    logicals = [p for p in layout.new_table.partitions if p.is_logical]
    assert [p.number for p in logicals] == list(range(5, 5 + len(logicals)))
    used = sorted((p.start_bytes, p.end_bytes) for p in logicals)
    # Each has room for its boot record in front of it.
    befores = [box.start_bytes, *(end for _, end in used)]
    assert all(start - end >= MIB for (start, _), end in zip(used, befores, strict=False))
    assert used[-1][1] <= box.end_bytes
    for p in layout.new_table.partitions:
        if not p.is_logical and p is not box:
            assert p.end_bytes <= box.start_bytes or p.start_bytes >= box.end_bytes


@settings(max_examples=400)
@given(disks(), st.integers(0, 13000 * MIB), st.integers(0, 12), st.sampled_from([None, 0.0, 0.3]))
def test_sound_or_refused(
    disk: tuple[Table, dict[int, PartitionFacts]], first: int, peers: int, share: float | None
) -> None:
    table, facts = disk
    try:
        layout = lay(table, first, peers, share, facts)
    except BlockrepError as error:
        assert error.message
        assert error.exit_code not in (1, 71)
        return
    assert layout.divider_bytes == first // MIB * MIB
    check_sound(table, facts, layout)
    area = describe_area(layout, table, facts, bytes(16), 1)
    assert parse_area(build_area(area)) == area
    for return_swaps in (False, True):
        back, _ = plan_undo(layout.new_table, area, return_swaps=return_swaps)
        check_undone(table, layout, back)


def check_undone(table: Table, layout: Layout, back: Table) -> None:
    data = sorted((p.start_bytes, p.end_bytes) for p in back.partitions if not p.is_extended)
    assert all(a[1] <= b[0] for a, b in pairwise(data))
    numbers = {p.number for p in table.partitions if not p.is_extended}
    assert numbers == {p.number for p in back.partitions if not p.is_extended}
    boxes = [p for p in back.partitions if p.is_extended]
    if back.kind is TableKind.MBR:
        for p in back.partitions:
            if p.is_logical:
                assert boxes[0].start_bytes < p.start_bytes
                assert p.end_bytes <= boxes[0].end_bytes
            elif boxes and p is not boxes[0]:
                box = boxes[0]
                assert p.end_bytes <= box.start_bytes or p.start_bytes >= box.end_bytes
    if not layout.moves and table.kind is not TableKind.NONE:
        assert back.partitions == table.partitions


@settings(max_examples=200)
@given(disks(), st.integers(0, 4))
def test_the_smallest_divider_works(
    disk: tuple[Table, dict[int, PartitionFacts]], peers: int
) -> None:
    table, facts = disk
    smallest = smallest_divider(table, peers, None, facts)
    if smallest is None:
        return
    assert lay(table, smallest, peers, None, facts).divider_bytes == smallest
    if smallest > MIB:
        try:
            lay(table, smallest - MIB, peers, None, facts)
        except (DoesNotFit, TableUnsupported, UsageError):
            return
        raise AssertionError("a smaller one works")


SEGMENTS = st.integers(16, 1 << 24).map(lambda mib: mib * MIB)


def check_geometry(g: Geometry) -> None:
    assert g.map_offset == 2 * MIB
    assert g.map_offset + g.map_bytes == g.ring_offset
    assert g.ring_offset + g.ring_bytes == g.data_offset
    assert g.data_offset + g.data_bytes + MIB == g.segment_bytes
    assert g.data_offset % MIB == g.data_bytes % MIB == 0
    assert map_bytes_for(g.data_bytes) <= g.map_bytes
    assert map_bytes_for(g.data_bytes + MIB) > g.map_bytes - MIB
    assert g.ring_bytes >= smallest_ring(g.segment_bytes)
    assert g.data_bytes >= MIB
    assert g.data_offset >= (4 << 20) + 4096


@given(SEGMENTS, st.integers(0, 1 << 44))
def test_geometries(segment_bytes: int, wanted_bytes: int) -> None:
    check_geometry(plan_geometry(segment_bytes))
    found = geometry_for(segment_bytes, wanted_bytes)
    check_geometry(found)
    assert found.ring_bytes <= plan_geometry(segment_bytes, DEFAULT_HISTORY_SHARE).ring_bytes
    least = plan_geometry(segment_bytes, 0)
    assert found.data_bytes >= min(wanted_bytes, least.data_bytes)


@given(SEGMENTS, st.integers(1, 1 << 40), st.uuids(), st.binary(min_size=16, max_size=16))
def test_header_round_trip(
    segment_bytes: int, generation: int, ident: uuid.UUID, instance_id: bytes
) -> None:
    header = SegmentHeader(
        generation,
        str(ident).upper(),
        instance_id,
        1,
        SegmentState.UNASSIGNED,
        plan_geometry(segment_bytes),
    )
    assert parse_header(build_header(header)) == header
