"""A GPT for another disk: as it was, but for the places that depend on size and sectors."""

from __future__ import annotations

import struct
from dataclasses import replace

from blockrep.disk import gpt, mbr
from blockrep.disk.gpt_disk import GptCopy, check_protective, try_copy
from blockrep.disk.partition import Table
from blockrep.disk.writes import Write
from blockrep.errors import DoesNotFit, TableDamaged, TableUnsupported
from blockrep.extents import round_up
from blockrep.transfer.restore_place import Place, TableSource
from blockrep.units import format_exact

_LBAS = struct.Struct("<QQ")
_LBAS_AT = 32


def build_gpt(source: TableSource, new: Table, place: Place) -> tuple[Write, ...]:
    """Protective MBR, both headers and both arrays, in ascending order, and zeros over the old."""
    check_protective(source)
    copy, fault = try_copy(source, gpt.PRIMARY_LBA)
    if copy is None:
        raise TableDamaged(f"the partition table of the epoch is damaged: {fault}")
    array = gpt.build_entries(copy.header, copy.array, new.partitions)
    array = _in_sectors(array, copy.header.entry_bytes, place)
    primary = _primary_header(copy, array, new, place)
    last_lba = place.disk_bytes // place.sector_bytes - 1
    backup = gpt.with_array(gpt.mirror(primary, last_lba), array, primary.last_usable_lba + 1)
    unit = place.sector_bytes
    return (
        *_wiped(copy, place),
        Write(0, _protective(source.read(0, place.owner_sector_bytes), place)),
        Write(unit, gpt.build_header(primary)),
        _array(primary, array, unit),
        _array(backup, array, unit),
        Write(last_lba * unit, gpt.build_header(backup)),
    )


def _primary_header(copy: GptCopy, array: bytes, new: Table, place: Place) -> gpt.GptHeader:
    unit, old = place.sector_bytes, copy.header
    if old.header_bytes > unit:
        raise TableUnsupported(
            f"the GPT header of {old.header_bytes} bytes is larger than a sector"
        )
    sectors = place.disk_bytes // unit
    entries_lba = _entries_lba(old, place)
    array_sectors = -(-len(array) // unit)
    first = max(entries_lba + array_sectors, -(-new.first_usable_bytes // unit))
    last = sectors - array_sectors - 2
    starts = [part.start_bytes for part in new.partitions]
    if starts and min(starts) < first * unit:
        raise TableUnsupported(
            f"a GPT in sectors of {unit} bytes reaches to byte {first * unit}, but the first "
            f"partition starts at byte {min(starts)}",
            hint=f"take a disk with sectors of {place.owner_sector_bytes} bytes",
        )
    end = max((part.end_bytes for part in new.partitions), default=0)
    if end > (last + 1) * unit or first > last:
        need = round_up(max(end, first * unit), unit) + (array_sectors + 1) * unit
        raise DoesNotFit(
            f"the first area and the backup of its GPT need {format_exact(need)}, the disk has "
            f"{format_exact(place.disk_bytes)}",
            hint="take a larger disk",
        )
    header = replace(
        old,
        alternate_lba=sectors - 1,
        first_usable_lba=first,
        last_usable_lba=last,
        sector=old.sector[:unit].ljust(unit, b"\0"),
    )
    return gpt.with_array(header, array, entries_lba)


def _entries_lba(old: gpt.GptHeader, place: Place) -> int:
    """Where boards with boot code behind the header have it, or 2."""
    at, unit = old.entries_lba * place.owner_sector_bytes, place.sector_bytes
    if unit == place.owner_sector_bytes:
        return old.entries_lba
    return at // unit if old.entries_lba > 2 and at % unit == 0 else 2


def _in_sectors(array: bytes, entry_bytes: int, place: Place) -> bytes:
    """The entries with their sectors counted in the target's; all are aligned."""
    if place.sector_bytes == place.owner_sector_bytes:
        return array
    result = bytearray(array)
    for at in range(_LBAS_AT, len(result), entry_bytes):
        first, last = _LBAS.unpack_from(result, at)
        if last:
            start, end = first * place.owner_sector_bytes, (last + 1) * place.owner_sector_bytes
            _LBAS.pack_into(result, at, start // place.sector_bytes, end // place.sector_bytes - 1)
    return bytes(result)


def _protective(sector: bytes, place: Place) -> bytes:
    """Sector 0 with its boot code; its one entry covers the disk, as far as it can say."""
    slots = tuple(
        replace(slot, count=min(place.disk_bytes // place.sector_bytes - 1, mbr.MAX_SECTOR))
        if slot.is_used
        else slot
        for slot in mbr.parse_slots(sector)
    )
    return mbr.build_record(sector[: mbr.RECORD_BYTES], slots, 0)


def _wiped(copy: GptCopy, place: Place) -> tuple[Write, ...]:
    """Zeros where the old one was, if the new one has other places."""
    unit, old = place.sector_bytes, place.owner_sector_bytes
    if unit == old:
        return ()
    coarse = max(unit, old)
    spans = [
        (old, 2 * old),
        (copy.header.entries_lba * old, copy.header.entries_lba * old + copy.header.array_bytes),
    ]
    return tuple(
        Write(start // coarse * coarse, bytes(round_up(end, coarse) - start // coarse * coarse))
        for start, end in spans
    )


def _array(header: gpt.GptHeader, array: bytes, unit: int) -> Write:
    return Write(header.entries_lba * unit, array.ljust(round_up(len(array), unit), b"\0"))
