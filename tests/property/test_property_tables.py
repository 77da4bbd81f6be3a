"""Random tables: what is built is read back, and no crash state shows a mixture of two tables.

The model of the kernel below is written on its own, from block/partitions/{efi,msdos}.c.
"""

from __future__ import annotations

import random
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blockrep.disk.table import Partition, Table, TableKind, read_table, table_stages
from blockrep.disk.writes import Stage
from blockrep.errors import TableUnsupported
from blockrep.extents import Extent

UNIT = 1 << 20
UNITS = 24
EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Memory:
    """A disk in memory: what it held at first, and the sectors written since."""

    base: bytes
    sector_bytes: int
    written: dict[int, bytes] = field(default_factory=dict)
    path: Path = field(default=Path("disk"))

    @property
    def size_bytes(self) -> int:
        return len(self.base)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        size, end = self.sector_bytes, offset_bytes + length_bytes
        assert 0 <= offset_bytes <= end <= len(self.base)
        first = offset_bytes - offset_bytes % size
        parts = [self.written.get(at, self.base[at : at + size]) for at in range(first, end, size)]
        return b"".join(parts)[offset_bytes - first : end - first]

    def put(self, sectors: list[tuple[int, bytes]]) -> Memory:
        return replace(self, written=self.written | dict(sectors))


def split(stage: Stage, sector_bytes: int) -> list[tuple[int, bytes]]:
    return [
        (write.offset_bytes + at, write.data[at : at + sector_bytes])
        for write in stage.writes
        for at in range(0, len(write.data), sector_bytes)
    ]


def crash_states(
    disk: Memory, stages: tuple[Stage, ...], seed: int, subsets: int
) -> Iterator[Memory]:
    """Every prefix of sectors, every single sector alone or missing, and random subsets."""
    rng = random.Random(seed)
    for stage in stages:
        sectors = split(stage, disk.sector_bytes)
        picks = [sectors[:n] for n in range(len(sectors) + 1)]
        picks += [[one] for one in sectors]
        picks += [[s for s in sectors if s is not one] for one in sectors]
        picks += [[s for s in sectors if rng.random() < 0.5] for _ in range(subsets)]
        if len(picks) > 60:
            picks = [*rng.sample(picks, 60), sectors]
        for pick in picks:
            yield disk.put(pick)
        disk = disk.put(sectors)


def finish(disk: Memory, stages: tuple[Stage, ...]) -> Memory:
    for stage in stages:
        disk = disk.put(split(stage, disk.sector_bytes))
    return disk


# -- the model of the kernel ---------------------------------------------------------------------


def kernel_reads(disk: Memory) -> tuple[object, ...]:
    if disk.read(512, 8) == b"EFI PART" or disk.read(4096, 8) == b"EFI PART":
        return kernel_reads_gpt(disk)
    return kernel_reads_mbr(disk)


def kernel_reads_gpt(disk: Memory) -> tuple[object, ...]:
    size = disk.sector_bytes
    for lba in (1, disk.size_bytes // size - 1):
        header = disk.read(lba * size, size)
        (length, crc, mine) = struct.unpack_from("<IIxxxxQ", header, 12)
        if header[:8] != b"EFI PART" or not 92 <= length <= size or mine != lba:
            continue
        if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != crc:
            continue
        entries_lba, count, entry_bytes, entries_crc = struct.unpack_from("<QIII", header, 72)
        array = disk.read(entries_lba * size, count * entry_bytes)
        if zlib.crc32(array) == entries_crc:
            assert lba == 1, "Linux does not look at the backup unless it is told to"
            return (header[56:72], header[40:56], *split_entries(array, entry_bytes))
    raise AssertionError("no valid GPT")


def split_entries(array: bytes, entry_bytes: int) -> list[tuple[int, bytes]]:
    entries = [array[at : at + entry_bytes] for at in range(0, len(array), entry_bytes)]
    return [(n, e) for n, e in enumerate(entries, 1) if e[:16] != bytes(16)]


def kernel_reads_mbr(disk: Memory) -> tuple[object, ...]:
    """The partitions that hold data; the container holds nothing."""
    size = disk.sector_bytes
    parts: list[tuple[int, int, int, int, int]] = []
    first = None
    for number, (flag, kind, start, count) in enumerate(mbr_entries(disk.read(0, 512)), 1):
        if count and kind in (5, 0xF, 0x85):
            first = start
        elif count:
            parts.append((number, flag, kind, start, count))
    number, at = 5, first
    while at is not None and disk.read(at * size + 510, 2) == b"\x55\xaa":
        entries = mbr_entries(disk.read(at * size, 512))
        for flag, kind, start, count in entries[:2]:
            if count and kind not in (5, 0xF, 0x85):
                parts.append((number, flag, kind, at + start, count))
                number += 1
        links = [e[2] for e in entries if e[3] and e[1] in (5, 0xF, 0x85)]
        assert first is not None
        at = first + links[0] if links else None
        assert number < 200
    return (disk.read(0, 446), *parts)


def mbr_entries(sector: bytes) -> list[tuple[int, int, int, int]]:
    assert sector[510:512] == b"\x55\xaa"
    return [struct.unpack_from("<BxxxBxxxII", sector, 446 + 16 * n) for n in range(4)]


# -- random tables -------------------------------------------------------------------------------

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
OURS = "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE4005E"


@st.composite
def spans(draw: st.DrawFn, low: int, most: int) -> list[tuple[int, int]]:
    """Disjoint runs of units between `low` and the end of the disk."""
    cuts = sorted(draw(st.sets(st.integers(low, UNITS - 1), max_size=2 * most)))
    return [(a, b - a) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]


@st.composite
def gpt_partitions(draw: st.DrawFn) -> tuple[Partition, ...]:
    runs = draw(st.permutations(draw(spans(1, 6))))
    numbers = draw(st.sets(st.integers(1, 20), min_size=len(runs), max_size=len(runs)))
    return tuple(
        Partition(
            number=number,
            start_bytes=start * UNIT,
            length_bytes=length * UNIT,
            type=draw(st.sampled_from([LINUX, OURS])),
            uuid=str(uuid.UUID(int=draw(st.integers(1, 2**128 - 1)))).upper(),
            name=draw(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=18)),
            attributes=draw(st.integers(0, 2**64 - 1)),
        )
        for number, (start, length) in zip(sorted(numbers), runs, strict=True)
    )


def gpt_disk(sector_bytes: int, gap_taken: bool) -> tuple[Memory, Table]:
    """A disk with an empty GPT, boot code in the gap or not."""
    data = bytearray(UNITS * UNIT + 40960)
    last = len(data) // sector_bytes - 1
    array_sectors = 128 * 128 // sector_bytes
    if gap_taken:
        data[: UNITS * UNIT] = b"boot" * (UNITS * UNIT // 4)
    data[:512] = bytes(512)
    struct.pack_into("<BxxxBxxxII", data, 446, 0, 0xEE, 1, last)
    data[510:512] = b"\x55\xaa"
    data[2 * sector_bytes : (2 + array_sectors) * sector_bytes] = bytes(16384)
    for mine, other, entries in ((1, last, 2), (last, 1, last - array_sectors)):
        header = bytearray(sector_bytes)
        struct.pack_into(
            "<8sIIIIQQQQ16sQIII", header, 0, b"EFI PART", 0x10000, 92, 0, 0, mine, other,
            2 + array_sectors, last - array_sectors - 1, uuid.UUID(int=7).bytes_le, entries, 128,
            128, zlib.crc32(bytes(16384)),
        )  # fmt: skip
        struct.pack_into("<I", header, 16, zlib.crc32(header[:92]))
        data[mine * sector_bytes : (mine + 1) * sector_bytes] = header
    disk = Memory(bytes(data), sector_bytes)
    return disk, read_table(disk)


@st.composite
def mbr_partitions(draw: st.DrawFn) -> tuple[Partition, ...]:
    """Primaries, and an extended partition behind them with logical ones, each 1 MiB or less
    behind its record."""
    runs = draw(spans(1, 6))
    primaries = draw(st.integers(0, min(3, len(runs))))
    types = st.sampled_from(["83", "82", "7", "da"])
    parts = [
        Partition(
            n, start * UNIT, length * UNIT, draw(types), attributes=draw(st.sampled_from([0, 128]))
        )
        for n, (start, length) in enumerate(runs[:primaries], 1)
    ]
    logicals = [(start, length) for start, length in runs[primaries:] if length > 1]
    if logicals:
        start = logicals[0][0] * UNIT
        end = draw(st.integers(sum(logicals[-1]), UNITS)) * UNIT
        parts.append(Partition(4, start, end - start, draw(st.sampled_from(["5", "f"]))))
        parts += [
            Partition(n, (at + 1) * UNIT, (length - 1) * UNIT, draw(types))
            for n, (at, length) in enumerate(draw(st.permutations(logicals)), 5)
        ]
    return tuple(parts)


def mbr_disk(sector_bytes: int) -> tuple[Memory, Table]:
    data = bytearray(UNITS * UNIT)
    data[:440] = b"\xfa" + b"code" * 109 + b"end"
    data[510:512] = b"\x55\xaa"
    disk = Memory(bytes(data), sector_bytes)
    return disk, read_table(disk)


def check_change(
    disk: Memory, old: Table, new: Table, scratch: Extent | None, seed: int, deep: int
) -> Memory:
    """Every crash state reads as old or new; sampled ones are finished in both directions."""
    stages = table_stages(disk, old, new, scratch)
    final = finish(disk, stages)
    assert read_table(final) == new
    assert table_stages(final, old, new, scratch) == ()
    valid = [kernel_reads(disk), kernel_reads(final)]
    rng = random.Random(seed)
    states = list(crash_states(disk, stages, seed, 20))
    for state in states:
        assert kernel_reads(state) in valid
    for state in rng.sample(states, min(deep, len(states))):
        for start, goal in ((old, new), (new, old)):
            again = table_stages(state, start, goal, scratch)
            for inner in crash_states(state, again, seed, 3):
                assert kernel_reads(inner) in valid
            assert read_table(finish(state, again)) == goal
    return final


sectors = st.sampled_from([512, 4096])


@EXAMPLES
@given(sectors, gpt_partitions(), gpt_partitions(), st.booleans(), st.integers(0, 2**32))
def test_gpt_is_at_every_instant_old_or_new(
    sector_bytes: int,
    before: tuple[Partition, ...],
    after: tuple[Partition, ...],
    gap_taken: bool,
    seed: int,
) -> None:
    disk, empty = gpt_disk(sector_bytes, gap_taken)
    scratch = Extent((UNITS - 1) * UNIT, UNIT) if gap_taken else None
    clear = replace(empty, partitions=tuple(p for p in before if p.end_bytes < (UNITS - 1) * UNIT))
    disk = finish(disk, table_stages(disk, empty, clear, scratch))
    new = replace(clear, partitions=tuple(p for p in after if p.end_bytes < (UNITS - 1) * UNIT))
    check_change(disk, clear, new, scratch, seed, deep=2)


def has_container_in_data(one: Table, other: Table) -> bool:
    """An extended partition that begins inside what is now data has no room for a second chain,
    and is refused."""
    starts = [p.start_bytes for p in one.partitions if p.is_extended]
    data = [p for p in other.partitions if not p.is_extended]
    return any(p.start_bytes <= start < p.end_bytes for p in data for start in starts)


@EXAMPLES
@given(sectors, mbr_partitions(), mbr_partitions(), st.integers(0, 2**32))
def test_mbr_is_at_every_instant_old_or_new(
    sector_bytes: int, before: tuple[Partition, ...], after: tuple[Partition, ...], seed: int
) -> None:
    disk, empty = mbr_disk(sector_bytes)
    old = replace(empty, partitions=before)
    new = replace(empty, partitions=after)
    assume(not has_container_in_data(old, new) and not has_container_in_data(new, old))
    disk = finish(disk, table_stages(disk, empty, old))
    assert read_table(disk) == old
    check_change(disk, old, new, None, seed, deep=5)


@EXAMPLES
@given(sectors, mbr_partitions(), st.integers(0, 5), st.integers(0, 2**32))
def test_mbr_with_one_logical_partition_changed(
    sector_bytes: int, before: tuple[Partition, ...], which: int, seed: int
) -> None:
    disk, empty = mbr_disk(sector_bytes)
    old = replace(empty, partitions=before)
    disk = finish(disk, table_stages(disk, empty, old))
    parts = list(before)
    if parts:
        part = parts[which % len(parts)]
        if not part.is_extended:
            shorter = replace(part, length_bytes=part.length_bytes // 2)
            parts[which % len(parts)] = shorter
    check_change(disk, old, replace(old, partitions=tuple(parts)), None, seed, deep=5)


@EXAMPLES
@given(sectors, gpt_partitions())
def test_unknown_bytes_of_a_gpt_stay(sector_bytes: int, parts: tuple[Partition, ...]) -> None:
    disk, empty = gpt_disk(sector_bytes, gap_taken=False)
    table = replace(empty, partitions=parts)
    disk = finish(disk, table_stages(disk, empty, table))
    before = kernel_reads(disk)
    assert read_table(disk) == table
    back = finish(disk, table_stages(disk, table, empty))
    again = finish(back, table_stages(back, empty, table))
    assert kernel_reads(again) == before


def test_no_gap_is_refused() -> None:
    disk, empty = gpt_disk(512, gap_taken=True)
    new = replace(
        empty, partitions=(Partition(1, UNIT, UNIT, LINUX, str(uuid.UUID(int=9)).upper()),)
    )
    try:
        table_stages(disk, empty, new)
    except TableUnsupported as error:
        assert "gap" in error.message
    else:
        raise AssertionError("a gap was found where there is none")
    assert new.kind is TableKind.GPT
