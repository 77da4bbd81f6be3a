"""Where everything on a divided disk goes, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

import pytest

from blockrep.disk.area import (
    AREA_BYTES,
    AREA_TYPE,
    RESERVE_TYPE,
    SEGMENT_TYPE,
    build_area,
    parse_area,
)
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.layout import (
    FsKind,
    Layout,
    PartitionFacts,
    PartitionMove,
    describe_area,
    plan_layout,
    plan_undo,
    smallest_divider,
)
from blockrep.errors import (
    AlreadyDivided,
    DoesNotFit,
    FilesystemUnsupported,
    TableDamaged,
    TableUnsupported,
    UsageError,
)

MIB, GIB = 1 << 20, 1 << 30
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"

Facts = Mapping[int, PartitionFacts]


def uuids() -> Callable[[], uuid.UUID]:
    numbers = iter(range(1, 1000))
    return lambda: uuid.UUID(int=next(numbers))


def ext(minimum_bytes: int, filesystem_bytes: int = 0) -> PartitionFacts:
    return PartitionFacts(FsKind.EXT, minimum_bytes, 4096, filesystem_bytes)


SWAPS = PartitionFacts(FsKind.SWAP)
OTHER = PartitionFacts(FsKind.OTHER)


def gpt(disk_bytes: int, *partitions: Partition, sector: int = 512, entries: int = 128) -> Table:
    array = -(-entries * 128 // sector) * sector
    first, end = 2 * sector + array, disk_bytes - sector - array
    return Table(TableKind.GPT, sector, disk_bytes, "D", partitions, first, end, entries)


def mbr(disk_bytes: int, *partitions: Partition) -> Table:
    end = min(disk_bytes, 512 << 32)
    return Table(TableKind.MBR, 512, disk_bytes, "0badcafe", partitions, 512, end)


def part(number: int, start_mib: float, end_mib: float, kind: str = LINUX) -> Partition:
    start, end = int(start_mib * MIB), int(end_mib * MIB)
    ident = f"P{number}" if len(kind) > 2 else ""
    return Partition(number, start, end - start, kind, ident)


def plan(table: Table, first: int, peers: int, facts: Facts, share: float | None = None) -> Layout:
    return plan_layout(table, first, peers, share, facts, uuids())


def whole(disk_bytes: int, used: int = 700 * MIB) -> tuple[Table, Facts]:
    end_mib = disk_bytes // MIB - 1
    return gpt(disk_bytes, part(1, 1, end_mib)), {1: ext(used, (end_mib - 1) * MIB)}


def place(layout: Layout, number: int) -> tuple[float, float]:
    """Start and end in MiB."""
    (p,) = [p for p in layout.new_table.partitions if p.number == number]
    return p.start_bytes / MIB, p.end_bytes / MIB


@pytest.mark.parametrize(
    ("disk", "first", "peers"),
    [(9 * GIB, GIB, 8), (4 * GIB, GIB, 3), (20 * GIB, 5 * GIB, 3)],
)
def test_the_examples_fit_each_other(disk: int, first: int, peers: int) -> None:
    table, facts = whole(disk)
    layout = plan(table, first, peers, facts)
    assert layout.divider_bytes == layout.area_start_bytes == first
    assert len(layout.segments) == peers
    assert layout.first_end_bytes <= layout.segments[0].capacity_bytes
    assert first - 128 * MIB < layout.first_end_bytes < first
    assert layout.host_partition == 1
    assert layout.host_end_bytes == layout.first_end_bytes
    assert "a little below the divider" in layout.notes[0]


def test_five_and_fifteen_cannot_hold_each_other_and_are_told() -> None:
    table, facts = whole(20 * GIB)
    layout = plan(table, 5 * GIB, 15, facts)
    assert layout.first_end_bytes == 5 * GIB
    assert "916 MiB" in layout.notes[0]
    assert "5120 MiB" in layout.notes[0]


def test_eleven_percent() -> None:
    table, facts = whole(9 * GIB)
    layout = plan(table, 9 * GIB * 11 // 100, 8, facts)
    assert layout.divider_bytes == 1013 * MIB
    assert layout.first_end_bytes <= layout.segments[0].capacity_bytes


def test_where_there_is_room_a_tenth_is_history() -> None:
    table, facts = whole(100 * GIB)
    segment = plan(table, 5 * GIB, 3, facts).segments[0]
    assert segment.history_bytes == -(-segment.length_bytes // 10 // MIB) * MIB
    small = plan(table, 24 * GIB, 3, facts).segments[0]
    assert small.capacity_bytes == 24 * GIB
    assert small.history_bytes < small.length_bytes // 10


def test_an_explicit_history_that_does_not_fit() -> None:
    table, facts = whole(9 * GIB)
    with pytest.raises(DoesNotFit, match="50%") as caught:
        plan(table, GIB, 8, facts, 0.5)
    assert "at most" in caught.value.hint
    assert plan(table, 100 * MIB + 700 * MIB, 4, facts, 0.5).segments[0].history_bytes > GIB / 2


def test_our_partitions_on_gpt() -> None:
    table, facts = whole(9 * GIB)
    area, *segments = plan(table, GIB, 8, facts).new_table.partitions[1:]
    assert (area.number, area.type, area.length_bytes) == (2, AREA_TYPE, AREA_BYTES)
    assert area.attributes == 1 << 63 | 1 << 62
    assert [s.name for s in segments] == [f"blockrep segment {n}" for n in range(1, 9)]
    assert {s.type for s in segments} == {SEGMENT_TYPE}
    assert len({s.uuid for s in (area, *segments)}) == 9


def test_the_second_area_unsplit() -> None:
    table, facts = whole(9 * GIB)
    layout = plan(table, GIB, 0, facts)
    assert layout.segments == ()
    assert layout.reserve is not None
    assert layout.reserve.end == 9 * GIB - MIB
    assert layout.new_table.partitions[-1].type == RESERVE_TYPE
    assert layout.host_end_bytes == GIB


def test_it_may_end_before_the_segments_capacity_only_if_it_fits() -> None:
    table, _ = whole(9 * GIB)
    layout = plan(table, GIB, 8, {1: ext(1010 * MIB)})
    assert layout.host_end_bytes == GIB
    assert "too large" in layout.notes[0]


def test_too_small_names_the_smallest_that_works() -> None:
    table, facts = whole(9 * GIB)
    with pytest.raises(DoesNotFit, match="701 MiB") as caught:
        plan(table, 100 * MIB, 8, facts)
    assert "needs at least 700 MiB and would have 99 MiB" in caught.value.message
    assert plan(table, 701 * MIB, 8, facts).host_end_bytes == 701 * MIB
    with pytest.raises(DoesNotFit):
        plan(table, 700 * MIB, 8, facts)


def test_too_large_names_what_is_possible() -> None:
    table, facts = whole(9 * GIB)
    with pytest.raises(DoesNotFit) as caught:
        plan(table, 9 * GIB - 60 * MIB, 8, facts)
    assert "at most 9147 MiB" in caught.value.hint
    assert "at most 6 peers" in caught.value.hint
    plan(table, 9147 * MIB, 8, facts)
    plan(table, 9 * GIB - 60 * MIB, 6, facts)


@pytest.mark.parametrize("first", [-1, 0, MIB - 1, 9 * GIB, 1 << 62])
def test_senseless_sizes(first: int) -> None:
    table, facts = whole(9 * GIB)
    with pytest.raises(UsageError):
        plan(table, first, 8, facts)


@pytest.mark.parametrize("peers", [-1, 65])
def test_senseless_peers(peers: int) -> None:
    table, facts = whole(9 * GIB)
    with pytest.raises(UsageError):
        plan(table, GIB, peers, facts)


def test_swap_past_the_divider_goes_right_below_it() -> None:
    table = gpt(20 * GIB, part(1, 1, 19000), part(2, 19000, 20000, SWAP))
    layout = plan(table, 5 * GIB, 2, {1: ext(GIB), 2: SWAPS})
    assert layout.moves == (PartitionMove(2, 19000 * MIB, 4120 * MIB, 1000 * MIB, True),)
    assert place(layout, 2) == (4120, 5120)
    assert place(layout, 1) == (1, 4120)
    assert layout.host_end_bytes == 4120 * MIB
    assert layout.first_end_bytes == 5 * GIB


def test_a_gap_that_is_free_is_used_before_the_host_shrinks_for_it() -> None:
    table = gpt(20 * GIB, part(1, 1, 500), part(3, 2000, 19000), part(4, 19000, 20000, SWAP))
    layout = plan(table, 5 * GIB, 2, {1: OTHER, 3: ext(GIB), 4: SWAPS})
    assert place(layout, 4) == (1000, 2000)
    assert layout.host_end_bytes == 5 * GIB


def test_nothing_shrinks_when_the_tail_is_free() -> None:
    table = gpt(20 * GIB, part(1, 1, 2000), part(2, 2000, 3000, SWAP))
    layout = plan(table, 5 * GIB, 2, {1: ext(GIB), 2: SWAPS})
    assert layout.host_partition is None
    assert layout.moves == ()
    assert layout.first_end_bytes == 3000 * MIB


def test_a_filesystem_below_the_divider_shrinks_for_a_swap_past_it() -> None:
    table = gpt(20 * GIB, part(1, 1, 5000), part(2, 19000, 20000, SWAP))
    layout = plan(table, 5 * GIB, 2, {1: ext(GIB), 2: SWAPS})
    assert layout.host_partition == 1
    assert place(layout, 1) == (1, 4120)
    assert place(layout, 2) == (4120, 5120)


def test_a_swap_across_the_divider_may_overlap_itself_but_data_may_not() -> None:
    table = gpt(20 * GIB, part(1, 1, 5000), part(2, 5000, 5500, SWAP))
    assert place(plan(table, 5 * GIB, 2, {1: ext(GIB), 2: SWAPS}), 2) == (4620, 5120)
    layout = plan(table, 5 * GIB, 2, {1: ext(GIB), 2: OTHER})
    assert place(layout, 2) == (4500, 5000)
    assert layout.host_end_bytes == 4500 * MIB


def test_several_move_in_order() -> None:
    table = gpt(20 * GIB, part(1, 1, 15000), part(2, 15000, 15500), part(3, 15500, 16000, SWAP))
    layout = plan(table, 5 * GIB, 2, {1: ext(GIB), 2: ext(MIB), 3: SWAPS})
    assert [place(layout, n) for n in (1, 2, 3)] == [(1, 4120), (4120, 4620), (4620, 5120)]


def test_an_esp_moves_with_a_word_and_a_bios_boot_partition_never() -> None:
    table = gpt(20 * GIB, part(1, 1, 15000), part(2, 15000, 15100, ESP))
    layout = plan(table, 5 * GIB, 2, {1: ext(GIB), 2: OTHER})
    assert "EFI system partition 2 moves" in layout.notes[0]
    table = gpt(20 * GIB, part(1, 1, 15000), part(14, 15000, 15001, BIOS_BOOT))
    with pytest.raises(DoesNotFit, match="BIOS boot partition 14") as caught:
        plan(table, 5 * GIB, 2, {1: ext(GIB), 14: PartitionFacts(FsKind.EMPTY)})
    assert "smallest possible first area is 15001 MiB" in caught.value.message


def test_a_big_one_past_the_divider_is_refused_with_advice() -> None:
    table = gpt(20 * GIB, part(1, 1, 10000), part(2, 10000, 15000))
    with pytest.raises(DoesNotFit, match=r"partition 2 \(ext\)") as caught:
        plan(table, 5 * GIB, 2, {1: ext(GIB), 2: ext(2 * GIB)})
    assert "12048 MiB" in caught.value.message
    assert caught.value.hint
    assert plan(table, 12048 * MIB, 2, {1: ext(GIB), 2: ext(2 * GIB)}).host_partition == 2


def test_a_crossing_partition_of_another_kind() -> None:
    table = gpt(20 * GIB, part(1, 1, 15000))
    with pytest.raises(DoesNotFit, match=r"partition 1 \(other\)"):
        plan(table, 5 * GIB, 2, {})


def test_too_few_free_entries() -> None:
    table = gpt(9 * GIB, part(1, 1, 9000), entries=8)
    plan(table, GIB, 6, {1: ext(100 * MIB)})
    with pytest.raises(TableUnsupported, match="7 free entries of 8"):
        plan(table, GIB, 7, {1: ext(100 * MIB)})


def test_numbers_from_below_when_the_last_is_taken() -> None:
    table = gpt(9 * GIB, part(1, 2, 9000), part(128, 1, 2, BIOS_BOOT))
    layout = plan(table, GIB, 2, {1: ext(100 * MIB), 128: PartitionFacts(FsKind.EMPTY)})
    assert [p.number for p in layout.new_table.partitions] == [1, 2, 3, 4, 128]


def test_divided_already() -> None:
    table, facts = whole(9 * GIB)
    layout = plan(table, GIB, 8, facts)
    with pytest.raises(AlreadyDivided):
        plan(layout.new_table, GIB, 8, facts)
    table, facts = debian()
    with pytest.raises(AlreadyDivided):
        plan(plan(table, 2 * GIB, 3, facts).new_table, GIB, 8, facts)


def test_overlapping_partitions() -> None:
    with pytest.raises(TableDamaged):
        plan(gpt(9 * GIB, part(1, 1, 900), part(2, 800, 1000)), GIB, 2, {})


def debian() -> tuple[Table, Facts]:
    """What Debian's installer makes: root, and swap in an extended partition at the end."""
    table = mbr(
        9 * GIB,
        part(1, 1, 8191, "83"),
        Partition(2, 8192 * MIB - 1024, 1023 * MIB + 1024, "5"),
        part(5, 8192, 9215, "82"),
    )
    return table, {1: ext(700 * MIB, 8190 * MIB), 5: SWAPS}


def test_debian_on_mbr() -> None:
    table, facts = debian()
    layout = plan(table, 2 * GIB, 3, facts)
    assert place(layout, 1) == (1, 1024)
    assert place(layout, 2) == (1024, 9216)
    assert place(layout, 5) == (1025, 2048)
    assert layout.area_start_bytes == 2049 * MIB
    kinds = [(p.number, p.type) for p in layout.new_table.partitions]
    assert kinds == [(1, "83"), (2, "5"), (5, "82"), *((n, "da") for n in range(6, 10))]


def test_an_extended_partition_is_made_where_there_is_none() -> None:
    layout = plan(mbr(9 * GIB, part(1, 1, 9000, "83")), GIB, 2, {1: ext(100 * MIB)})
    assert place(layout, 2) == (1024, 9216)
    assert [p.number for p in layout.new_table.partitions] == [1, 2, 5, 6, 7]
    full = [part(n, n * 100, n * 100 + 50, "83") for n in range(1, 5)]
    with pytest.raises(TableUnsupported, match="four primary"):
        plan(mbr(9 * GIB, *full), GIB, 2, {n: ext(MIB) for n in range(1, 5)})


def test_a_logical_host() -> None:
    table = mbr(
        9 * GIB,
        part(1, 1, 100, "83"),
        part(2, 100, 9000, "5"),
        part(5, 101, 8000, "83"),
        part(6, 8001, 9000, "82"),
    )
    layout = plan(table, 2 * GIB, 2, {1: ext(MIB), 5: ext(500 * MIB), 6: SWAPS})
    assert layout.host_partition == 5
    assert place(layout, 2) == (100, 9216)
    assert place(layout, 6) == (1049, 2048)
    assert place(layout, 5) == (101, 1048)


def test_a_primary_behind_a_logical_that_stays() -> None:
    table = mbr(
        9 * GIB,
        part(1, 1000, 9000, "83"),
        part(2, 1, 1000, "5"),
        part(5, 2, 1000, "83"),
    )
    with pytest.raises(TableUnsupported, match="primary partition 1"):
        plan(table, 2 * GIB, 2, {1: ext(MIB), 5: ext(MIB)})


def test_a_boot_record_must_not_land_on_what_still_is_in_its_old_place() -> None:
    table = mbr(9 * GIB, part(1, 1, 2048, "83"), part(2, 2048, 2500, "7"))
    with pytest.raises(TableUnsupported, match="partition 2"):
        plan(table, 2 * GIB, 2, {1: ext(MIB), 2: OTHER})


def test_past_the_reach_of_an_mbr() -> None:
    disk = 3 << 40
    layout = plan(mbr(disk, part(1, 1, 9000, "83")), GIB, 2, {1: ext(MIB)})
    assert layout.new_table.partitions[-1].end_bytes <= 512 << 32


def bare(disk_bytes: int) -> Table:
    return Table(TableKind.NONE, 512, disk_bytes, "", (), 0, disk_bytes)


def test_a_bare_filesystem() -> None:
    table = bare(9 * GIB)
    layout = plan(table, GIB, 8, {0: ext(100 * MIB, 9 * GIB)})
    assert layout.new_table == table
    assert layout.host_partition == 0
    assert layout.area_start_bytes == 9 * GIB - AREA_BYTES
    assert layout.segments[0].start_bytes == GIB
    assert (
        layout.segments[-1].start_bytes + layout.segments[-1].length_bytes <= 9 * GIB - AREA_BYTES
    )
    assert layout.first_end_bytes <= layout.segments[0].capacity_bytes
    with pytest.raises(DoesNotFit, match="100 MiB"):
        plan(table, 50 * MIB, 8, {0: ext(100 * MIB, 9 * GIB)})


def test_a_bare_filesystem_that_ends_below_already() -> None:
    layout = plan(bare(9 * GIB), GIB, 2, {0: ext(100 * MIB, 500 * MIB)})
    assert layout.host_partition is None
    assert layout.first_end_bytes == 500 * MIB


def test_bare_but_no_ext() -> None:
    with pytest.raises(FilesystemUnsupported):
        plan(bare(9 * GIB), GIB, 2, {0: OTHER})
    with pytest.raises(TableUnsupported):
        plan(bare(9 * GIB), GIB, 2, {})


def test_sectors_of_4096_bytes() -> None:
    table = gpt(9 * GIB, part(1, 1, 9000), sector=4096)
    layout = plan(table, GIB, 8, {1: ext(100 * MIB)})
    assert layout.new_table.partitions[-1].end_bytes <= table.usable_end_bytes


@pytest.mark.parametrize("disk", [whole(9 * GIB), debian()])
def test_the_record_says_how_to_go_back(disk: tuple[Table, Facts]) -> None:
    table, facts = disk
    layout = plan(table, 2 * GIB, 3, facts)
    area = describe_area(layout, table, facts, bytes(16), 1_700_000_000)
    assert parse_area(build_area(area)) == area
    assert area.host == 1
    assert area.host_old_blocks == facts[1].filesystem_bytes // 4096
    assert plan_undo(layout.new_table, area, return_swaps=True) == (table, ())


def test_what_was_moved_stays_and_is_told() -> None:
    table, facts = debian()
    layout = plan(table, 2 * GIB, 3, facts)
    area = describe_area(layout, table, facts, bytes(16), 0)
    back, notes = plan_undo(layout.new_table, area)
    assert [p.number for p in back.partitions] == [1, 2, 5]
    assert back.partitions[0].end_bytes == 1024 * MIB
    assert back.partitions[1].end_bytes == 2048 * MIB
    assert "partition 1 grows to 1023 MiB instead of its old 8190 MiB" in notes[0]
    assert "partition 5 stays" in notes[1]


def test_an_extended_partition_that_we_made_goes_again() -> None:
    table, facts = mbr(9 * GIB, part(1, 1, 9000, "83")), {1: ext(100 * MIB)}
    layout = plan(table, GIB, 2, facts)
    area = describe_area(layout, table, facts, bytes(16), 0)
    assert plan_undo(layout.new_table, area) == (table, ())


def test_smallest_divider_is_the_smallest() -> None:
    table, facts = debian()
    smallest = smallest_divider(table, 3, None, facts)
    assert smallest == (1 + 700 + 1 + 1023) * MIB
    plan(table, smallest, 3, facts)
    with pytest.raises(DoesNotFit):
        plan(table, smallest - MIB, 3, facts)
