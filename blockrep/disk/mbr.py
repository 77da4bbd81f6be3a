"""DOS partition tables as bytes: the MBR, and the chain of EBRs of an extended partition.

Pure codecs. There is no specification; what Linux (block/partitions/msdos.c) and sfdisk read and
write is what counts. A record is a sector: code, disk id at 0x1b8, four entries at 0x1be, 55 AA.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from blockrep.disk.partition import MBR_EXTENDED_TYPES

MAGIC = b"\x55\xaa"
MAGIC_AT = 510
RECORD_BYTES = 512  # whatever the sector behind it
ID_AT = 0x1B8
ENTRIES_AT = 0x1BE
ENTRY_BYTES = 16
PROTECTIVE_TYPE = 0xEE
MAX_LOGICALS = 128
MAX_SECTOR = 0xFFFFFFFF

_ENTRY = struct.Struct("<B3sB3sII")
_HEADS, _TRACK = 255, 63
_BEYOND_CHS = b"\xfe\xff\xff"
_FAT_MARKS = ((0x36, b"FAT"), (0x52, b"FAT32"), (3, b"NTFS    "), (3, b"EXFAT   "))


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the four entries. `start` is in sectors, relative to what its record says."""

    flag: int
    type: int
    start: int
    count: int

    @property
    def is_used(self) -> bool:
        """As the kernel sees it: a size makes an entry, a type alone does not."""
        return self.count != 0 and self.type != 0

    @property
    def is_extended(self) -> bool:
        return f"{self.type:x}" in MBR_EXTENDED_TYPES


EMPTY = Slot(0, 0, 0, 0)


def has_magic(sector: bytes) -> bool:
    return sector[MAGIC_AT : MAGIC_AT + 2] == MAGIC


def parse_slots(sector: bytes) -> tuple[Slot, Slot, Slot, Slot]:
    """The four entries of an MBR or EBR, used or not."""
    a, b, c, d = (_parse_slot(sector, index) for index in range(4))
    return a, b, c, d


def _parse_slot(sector: bytes, index: int) -> Slot:
    flag, _, kind, _, start, count = _ENTRY.unpack_from(sector, ENTRIES_AT + index * ENTRY_BYTES)
    return Slot(flag, kind, start, count)


def build_record(sector: bytes, slots: tuple[Slot, ...], base_lba: int) -> bytes:
    """`sector` with these four entries; an entry that says the same already keeps its bytes.

    `base_lba` is what `start` is relative to; it only matters for the cylinder/head/sector fields.
    """
    result = bytearray(sector)
    for index, (old, new) in enumerate(zip(parse_slots(sector), slots, strict=True)):
        at = ENTRIES_AT + index * ENTRY_BYTES
        if not new.is_used and not old.is_used:
            continue
        if not new.is_used:
            result[at : at + ENTRY_BYTES] = bytes(ENTRY_BYTES)
        elif old != new:
            first, last = base_lba + new.start, base_lba + new.start + new.count - 1
            _ENTRY.pack_into(
                result, at, new.flag, _chs(first), new.type, _chs(last), new.start, new.count
            )
    result[MAGIC_AT : MAGIC_AT + 2] = MAGIC
    return bytes(result)


def parse_disk_id(sector: bytes) -> str:
    return f"{struct.unpack_from('<I', sector, ID_AT)[0]:08x}"


def is_table(sector: bytes) -> bool:
    """Whether sector 0 is a partition table and not the boot sector of a filesystem.

    The kernel's rule (boot flags are 0 or 0x80), and the names that FAT, NTFS and exFAT leave in
    theirs, which may be followed by zeros where the entries would be.
    """
    if not has_magic(sector):
        return False
    if any(slot.flag not in (0, 0x80) for slot in parse_slots(sector)):
        return False
    return sector[0] not in (0xEB, 0xE9) or not any(
        sector[at : at + len(mark)] == mark for at, mark in _FAT_MARKS
    )


def _chs(lba: int) -> bytes:
    cylinder, rest = divmod(lba, _HEADS * _TRACK)
    if cylinder > 1023:
        return _BEYOND_CHS
    head, sector = divmod(rest, _TRACK)
    return bytes((head, (sector + 1) | (cylinder >> 2 & 0xC0), cylinder & 0xFF))
