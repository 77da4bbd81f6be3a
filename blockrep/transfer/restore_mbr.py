"""A DOS table for another disk: its records stay where they are, as far as sectors allow."""

from __future__ import annotations

from dataclasses import replace

from blockrep.disk import mbr
from blockrep.disk.mbr_disk import Ebr, MbrOnDisk, read_mbr_sectors
from blockrep.disk.partition import FIRST_LOGICAL, Partition, Table
from blockrep.disk.writes import Write
from blockrep.errors import TableUnsupported
from blockrep.extents import round_down
from blockrep.transfer.restore_place import Place, TableSource

LINK_TYPE = 5


def build_mbr(
    source: TableSource, new: Table, place: Place
) -> tuple[tuple[Partition, ...], tuple[Write, ...]]:
    """Sector 0 and the records of the logical partitions; these are numbered in a row again."""
    found = read_mbr_sectors(source, place.content_bytes)
    _check_limits(new, place)
    kept = _renumbered(new)
    writes = [Write(0, _main_record(found, new, place)), *_records(found, new, place)]
    return kept, tuple(writes)


def _check_limits(new: Table, place: Place) -> None:
    ends = [part.end_bytes for part in new.partitions]
    if max(ends, default=0) > mbr.MAX_SECTOR * place.sector_bytes:
        raise TableUnsupported(
            f"an MBR with sectors of {place.sector_bytes} bytes cannot name the end of the last "
            "partition",
            hint=f"take a disk with sectors of {place.owner_sector_bytes} bytes",
        )


def _renumbered(new: Table) -> tuple[Partition, ...]:
    primaries = [p for p in new.partitions if not p.is_logical]
    logicals = [p for p in new.partitions if p.is_logical]
    return (
        *primaries,
        *(replace(p, number=n) for n, p in enumerate(logicals, FIRST_LOGICAL)),
    )


def _main_record(found: MbrOnDisk, new: Table, place: Place) -> bytes:
    """Boot code and disk ID of the old sector 0, the entries that stay in their slots."""
    parts = {p.number: p for p in new.partitions}
    slots = tuple(
        _slot(parts[number], 0, place) if number in parts else mbr.EMPTY for number in range(1, 5)
    )
    # Only the record itself: behind it, up to the first partition, lies the boot loader.
    return mbr.build_record(found.sector[: mbr.RECORD_BYTES], slots, 0)


def _records(found: MbrOnDisk, new: Table, place: Place) -> list[Write]:
    container = next((p for p in new.partitions if p.is_extended and not p.is_logical), None)
    if container is None:
        return []
    logicals = [p for p in new.partitions if p.is_logical]
    used = [ebr for ebr in found.chain if ebr.logical.is_used]
    chain = [(used[p.number - FIRST_LOGICAL], p) for p in logicals]
    places = _places(chain, container, place)
    writes = []
    for index, ((ebr, part), at) in enumerate(zip(chain, places, strict=True)):
        link = mbr.EMPTY
        if index + 1 < len(chain):
            start, end = places[index + 1], chain[index + 1][1].end_bytes
            unit = place.sector_bytes
            link = mbr.Slot(0, LINK_TYPE, (start - container.start_bytes) // unit,
                            (end - start) // unit)  # fmt: skip
        slots = (_slot(part, at, place), link, mbr.EMPTY, mbr.EMPTY)
        record = mbr.build_record(ebr.sector[: mbr.RECORD_BYTES], slots, at // place.sector_bytes)
        writes.append(Write(at, record.ljust(place.sector_bytes, b"\0")))
    return writes


def _places(chain: list[tuple[Ebr, Partition]], container: Partition, place: Place) -> list[int]:
    """Where each record goes: the first to the container's first sector, the others stay.

    One that does not start on a sector of the target goes down to one, if nothing lies there.
    """
    taken = [(part.start_bytes, part.end_bytes) for _, part in chain]
    places: list[int] = []
    for index, (ebr, part) in enumerate(chain):
        at = round_down(ebr.lba * place.owner_sector_bytes, place.sector_bytes)
        if index == 0:
            at = container.start_bytes
        end = at + place.sector_bytes
        clash = any(start < end and at < stop for start, stop in taken)
        if clash or at in places or at < container.start_bytes:
            raise TableUnsupported(
                f"there is no room for the record of logical partition {part.number} in sectors "
                f"of {place.sector_bytes} bytes",
                hint=f"take a disk with sectors of {place.owner_sector_bytes} bytes",
            )
        places.append(at)
    return places


def _slot(part: Partition, base_bytes: int, place: Place) -> mbr.Slot:
    unit = place.sector_bytes
    return mbr.Slot(
        part.attributes,
        int(part.type, 16),
        (part.start_bytes - base_bytes) // unit,
        part.length_bytes // unit,
    )
