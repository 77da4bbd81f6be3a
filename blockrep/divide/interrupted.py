"""Tell whether a transaction was cut on a disk, before anything else is believed."""

from __future__ import annotations

from blockrep.disk.device import Device
from blockrep.disk.superblock import SUPERBLOCK_BYTES, Superblock, parse_superblock
from blockrep.disk.table import read_standing_table
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
    """Whether `recover` has something to do."""
    for offset, length in host_places(device):
        superblock = read_superblock(device, offset, length)
        if superblock is None:
            continue
        raw = superblock.raw
        if parse_lock(raw) or parse_mark(raw) or locked_backups(device, offset, superblock):
            return True
    return False


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
