"""Where the two copies of a GPT lie on a device, and what each of them says."""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.disk import gpt, mbr
from blockrep.disk.partition import Source, Table, TableKind, find_layout_fault
from blockrep.errors import TableDamaged, TableUnsupported


@dataclass(frozen=True, slots=True)
class GptCopy:
    """A header whose checksum holds, with the array that it vouches for."""

    header: gpt.GptHeader
    array: bytes


def read_gpt(source: Source) -> Table:
    """The table, if both copies are whole and say the same and the partitions can be.

    Stricter than the kernel, which reads the primary alone: a disk whose second copy is damaged or
    says something else is somebody's to repair before we rewrite both.
    """
    check_protective(source)
    primary, fault = try_copy(source, gpt.PRIMARY_LBA)
    last_lba = source.size_bytes // source.sector_bytes - 1
    if primary is None:
        raise _primary_damaged(source, fault, last_lba)
    if primary.header.alternate_lba != last_lba:
        raise TableDamaged(
            f"{source.path}: the backup of the GPT is in sector {primary.header.alternate_lba}, "
            f"but the disk's last sector is {last_lba}",
            hint=f"`sgdisk -e {source.path}` moves it to the end of the disk",
        )
    backup, fault = try_copy(source, last_lba)
    if backup is None:
        raise TableDamaged(
            f"{source.path}: the backup of the GPT at the end of the disk is damaged: {fault}",
            hint=f"`gdisk {source.path}`, then `w`, writes it again from the good one",
        )
    table = to_table(source, primary)
    if to_table(source, backup) != table or backup.header.alternate_lba != gpt.PRIMARY_LBA:
        raise TableDamaged(
            f"{source.path}: the GPT and its backup do not say the same",
            hint="gdisk shows both (`r`, then `b` or `c`) and writes the one you choose to both",
        )
    _check_arrays(source, primary, backup)
    if fault := find_layout_fault(table):
        raise TableDamaged(f"{source.path}: {fault}")
    return table


def read_standing_gpt(source: Source) -> Table:
    """What the kernel and other tools go by: the primary copy if it is whole, else the backup.

    Between the stages of a change the two copies differ, and each is a table of its own.
    """
    last_lba = source.size_bytes // source.sector_bytes - 1
    primary, fault = try_copy(source, gpt.PRIMARY_LBA)
    backup, _ = try_copy(source, last_lba)
    standing = primary or backup
    if standing is None:
        raise TableDamaged(f"{source.path}: both copies of the GPT are damaged: {fault}")
    return to_table(source, standing)


def read_copies(source: Source) -> tuple[Table | None, Table | None]:
    """The primary and the backup, each for itself; None for one that is not whole."""
    primary, _ = try_copy(source, gpt.PRIMARY_LBA)
    backup, _ = try_copy(source, source.size_bytes // source.sector_bytes - 1)
    return (
        None if primary is None else to_table(source, primary),
        None if backup is None else to_table(source, backup),
    )


def _primary_damaged(source: Source, fault: str, last_lba: int) -> TableDamaged:
    backup, _ = try_copy(source, last_lba)
    if backup is not None:
        return TableDamaged(
            f"{source.path}: the GPT is damaged ({fault}), its backup is good",
            hint=f"`gdisk {source.path}`, then `r`, `b`, `w`, writes it again from the backup",
        )
    other = 4096 if source.sector_bytes == 512 else 512
    if source.size_bytes > 2 * other and source.read(other, 8) == gpt.SIGNATURE:
        return TableDamaged(
            f"{source.path} was partitioned with sectors of {other} bytes, not "
            f"{source.sector_bytes}",
            hint="use it with the sector size it was made with",
        )
    return TableDamaged(f"{source.path}: the GPT is damaged ({fault}), and so is its backup")


def _check_arrays(source: Source, primary: GptCopy, backup: GptCopy) -> None:
    """The arrays lie before and behind everything usable, off the headers."""
    head, tail = primary.header, backup.header
    if head.entries_lba + head.array_sectors > head.first_usable_lba:
        raise TableDamaged(f"{source.path}: the GPT entries lie in the range of the partitions")
    if not tail.last_usable_lba < tail.entries_lba <= tail.my_lba - tail.array_sectors:
        raise TableDamaged(
            f"{source.path}: the entries of the backup GPT lie in sector {tail.entries_lba}, not "
            f"between the partitions and its header"
        )


def try_copy(source: Source, lba: int) -> tuple[GptCopy | None, str]:
    """The copy whose header lies at `lba`, or None and what is wrong with it."""
    sector_bytes = source.sector_bytes
    disk_sectors = source.size_bytes // sector_bytes
    if not gpt.PRIMARY_LBA <= lba < disk_sectors:
        return None, f"sector {lba} is outside the disk"
    try:
        sector = source.read(lba * sector_bytes, sector_bytes)
        header = gpt.parse_header(sector, lba, disk_sectors)
        array = source.read(header.entries_lba * sector_bytes, header.array_bytes)
        gpt.check_array(header, array)
        gpt.parse_entries(header, array)
    except TableDamaged as error:
        return None, error.message
    return GptCopy(header, array), ""


def to_table(source: Source, copy: GptCopy) -> Table:
    """What one copy says; its layout is not judged."""
    header, sector_bytes = copy.header, source.sector_bytes
    return Table(
        kind=TableKind.GPT,
        sector_bytes=sector_bytes,
        disk_bytes=source.size_bytes,
        disk_id=header.disk_guid,
        partitions=gpt.parse_entries(header, copy.array),
        first_usable_bytes=header.first_usable_lba * sector_bytes,
        usable_end_bytes=(header.last_usable_lba + 1) * sector_bytes,
        entry_count=header.entry_count,
        entry_bytes=header.entry_bytes,
        raw=source.read(0, sector_bytes),
        entries_lba=header.entries_lba,
    )


def has_gpt_header(source: Source) -> bool:
    """Whether a sound GPT header stands where the primary belongs."""
    return try_copy(source, gpt.PRIMARY_LBA)[0] is not None


def check_protective(source: Source) -> None:
    """`TableUnsupported` if the MBR before the GPT lists partitions of its own."""
    slots = mbr.parse_slots(source.read(0, source.sector_bytes))
    used = [slot for slot in slots if slot.is_used]
    if any(slot.type != mbr.PROTECTIVE_TYPE for slot in used):
        raise TableUnsupported(
            f"{source.path} has a hybrid MBR: partitions both in the GPT and in an MBR before it",
            hint=f"`gdisk {source.path}`, then `x`, `n`, `w`, leaves a plain protective MBR if no "
            "old system needs the hybrid one",
        )
    if len(used) != 1 or used[0].start != 1:
        raise TableDamaged(f"{source.path}: the protective MBR before the GPT is damaged")
