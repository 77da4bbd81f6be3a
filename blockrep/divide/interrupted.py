"""Tell whether a transaction was cut on a disk, before anything else is believed."""

from __future__ import annotations

from blockrep.disk.area import AREA_TYPE
from blockrep.disk.device import Device
from blockrep.disk.gpt_disk import read_copies
from blockrep.disk.superblock import SUPERBLOCK_BYTES, Superblock, parse_superblock
from blockrep.disk.table import Table, TableKind, read_standing_table
from blockrep.divide.lock import parse_lock, parse_mark
from blockrep.divide.survey import read_superblock
from blockrep.errors import Interrupted


def host_places(device: Device) -> list[tuple[int, int]]:
    """Start and length, in bytes, of everything that may hold a filesystem."""
    table = read_standing_table(device)
    places = [(p.start_bytes, p.length_bytes) for p in table.partitions if not p.is_extended]
    return places or [(0, device.size_bytes)]


def refuse_interrupted(device: Device) -> None:
    """`Interrupted` when a lock or a pending mark is anywhere on the disk."""
    if is_interrupted(device):
        raise Interrupted(f"a divide or undivide of {device.path} was interrupted")


def is_interrupted(device: Device) -> bool:
    """Whether a transaction was cut: there are no two ways to see the disk but to recover it."""
    for offset, length in host_places(device):
        superblock = read_superblock(device, offset, length)
        if superblock is None:
            continue
        raw = superblock.raw
        if parse_lock(raw) or parse_mark(raw) or locked_backups(device, offset, superblock):
            return True
    primary, backup = _copies(device)
    return primary is not None and backup is not None and _is_half_written(primary, backup)


def can_recover(device: Device) -> bool:
    """Whether `recover` has something to do; it also mends a backup of the table that is torn."""
    return is_interrupted(device) or half_written_table(device) is not None


def half_written_table(device: Device) -> Table | None:
    """The table in force, where a divide was cut in the middle of writing its copies.

    A disk without an ext filesystem is divided without a lock: this is all that a cut can leave.
    A torn backup may be somebody else's; it is never read, and writing it again does no harm.
    """
    primary, backup = _copies(device)
    if primary is None or (backup is not None and not _is_half_written(primary, backup)):
        return None
    return primary


def _copies(device: Device) -> tuple[Table | None, Table | None]:
    """Both copies of a GPT; what looks like one on a disk with another table is none."""
    if read_standing_table(device).kind is not TableKind.GPT:
        return None, None
    return read_copies(device)


def _is_half_written(primary: Table, backup: Table) -> bool:
    ours = any(p.type == AREA_TYPE for p in (*primary.partitions, *backup.partitions))
    return primary != backup and ours


def locked_backups(device: Device, offset: int, superblock: Superblock) -> list[tuple[int, int]]:
    """Byte offsets and groups of the backup superblocks that hold a lock."""
    found = []
    for group in superblock.backup_groups:
        at = offset + superblock.backup_block(group) * superblock.block_bytes
        if at + SUPERBLOCK_BYTES > device.size_bytes:
            break
        raw = device.read(at, SUPERBLOCK_BYTES)
        if parse_superblock(raw) is not None and parse_lock(raw):
            found.append((at, group))
    return found
