"""The stretches of a disk that are shown: in order, whole, and nothing twice."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from blockrep.disk.area import AREA_TYPE, RESERVE_TYPE, SEGMENT_TYPE
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.regions import SMALLEST_FREE_BYTES, list_regions
from blockrep.extents import Extent, normalise, subtract

MIB = 1 << 20
DISK = 200 * MIB
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
UNIT = 256 << 10


@st.composite
def tables(draw: st.DrawFn) -> Table:
    cuts = sorted(draw(st.sets(st.integers(4, (DISK - MIB) // UNIT), max_size=16)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    order = draw(st.permutations(range(1, len(spans) + 1)))
    kinds = st.sampled_from([LINUX, AREA_TYPE, SEGMENT_TYPE, RESERVE_TYPE])
    parts = [
        Partition(number, low * UNIT, (high - low) * UNIT, draw(kinds), name=f"p{number}")
        for number, (low, high) in zip(order, spans, strict=True)
    ]
    parts.sort(key=lambda p: p.number)
    return Table(TableKind.GPT, 512, DISK, "", tuple(parts), MIB, DISK - MIB)


@given(tables())
def test_every_byte_once(table: Table) -> None:
    regions = list_regions(table, None, lambda p: f"fs{p.number}", DISK)
    assert list(regions) == sorted(regions, key=lambda r: r.start_bytes)
    assert all(a.end_bytes <= b.start_bytes for a, b in pairwise(regions))
    shown = {r.number: r for r in regions if r.kind != "free"}
    kinds = {AREA_TYPE: "area", SEGMENT_TYPE: "segment", RESERVE_TYPE: "reserve"}
    assert shown.keys() == {p.number for p in table.partitions}
    for part in table.partitions:
        region = shown[part.number]
        assert (region.start_bytes, region.length_bytes) == (part.start_bytes, part.length_bytes)
        assert region.kind == kinds.get(part.type, "partition")
        assert (region.name, region.filesystem) == (part.name, f"fs{part.number}")
    taken = [Extent(p.start_bytes, p.length_bytes) for p in table.partitions]
    gaps = subtract([Extent(MIB, DISK - 2 * MIB)], taken)
    free = [Extent(r.start_bytes, r.length_bytes) for r in regions if r.kind == "free"]
    assert normalise(free) == [gap for gap in gaps if gap.length >= SMALLEST_FREE_BYTES]
