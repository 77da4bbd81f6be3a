"""A partition table as a value, whatever its kind on disk.

Offsets and lengths are bytes; on disk they are sectors of `sector_bytes`. `table` reads tables from
a device and computes the writes from one to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Protocol

MBR_EXTENDED_TYPES = frozenset({"5", "f", "85"})
FIRST_LOGICAL = 5


class TableKind(StrEnum):
    """In the words of sfdisk; `NONE` is a bare filesystem or a blank disk."""

    GPT = "gpt"
    MBR = "dos"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, numbered as the kernel does (MBR logical ones from 5).

    `type` is a GUID in upper case (GPT) or hex digits in lower case without `0x` (MBR).
    `attributes` is the 64-bit field of GPT, or the boot flag byte of MBR.
    """

    number: int
    start_bytes: int
    length_bytes: int
    type: str
    uuid: str = ""
    name: str = ""
    attributes: int = 0

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + self.length_bytes

    @property
    def is_extended(self) -> bool:
        return self.type in MBR_EXTENDED_TYPES

    @property
    def is_logical(self) -> bool:
        """Only meaningful in a table of kind MBR."""
        return self.number >= FIRST_LOGICAL


@dataclass(frozen=True, slots=True)
class Table:
    """A whole table. Two tables are equal if they say the same, wherever their sectors lie.

    `partitions` is in number order and includes the extended container of an MBR. `disk_id` is the
    GUID in upper case (GPT), 8 hex digits (MBR) or empty. `raw` is sector 0 as read: boot code, and
    for GPT the protective MBR, which is never written. `entries_lba` is where the primary entry
    array of a GPT belongs (2, but boards with boot code at sector 2 have it elsewhere).
    """

    kind: TableKind
    sector_bytes: int
    disk_bytes: int
    disk_id: str
    partitions: tuple[Partition, ...]
    first_usable_bytes: int
    usable_end_bytes: int
    entry_count: int = 128
    entry_bytes: int = 128
    raw: bytes = field(default=b"", compare=False, repr=False)
    entries_lba: int = field(default=2, compare=False)


class Source(Protocol):
    """What tables are read from: a `Device`, or memory in a test."""

    path: Path
    size_bytes: int
    sector_bytes: int

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that many bytes."""


def find_layout_fault(table: Table) -> str:
    """Why the partitions of a table cannot be as they stand, or an empty string.

    The container of an MBR may overlap its logical partitions, which must lie inside it.
    """
    for part in table.partitions:
        if part.length_bytes <= 0:
            return f"partition {part.number} is empty"
        if part.start_bytes < table.first_usable_bytes or part.end_bytes > table.usable_end_bytes:
            return (
                f"partition {part.number} (bytes {part.start_bytes} to {part.end_bytes}) is "
                f"outside the usable range {table.first_usable_bytes} to {table.usable_end_bytes}"
            )
    return _find_overlap(table) or _find_stray_logical(table)


def _find_overlap(table: Table) -> str:
    mbr = table.kind is TableKind.MBR
    outer = [p for p in table.partitions if not (mbr and p.is_logical)]
    inner = [p for p in table.partitions if mbr and p.is_logical]
    for group in (outer, inner):
        ordered = sorted(group, key=lambda part: part.start_bytes)
        for left, right in pairwise(ordered):
            if left.end_bytes > right.start_bytes:
                return f"partitions {left.number} and {right.number} overlap"
    return ""


def _find_stray_logical(table: Table) -> str:
    if table.kind is not TableKind.MBR:
        return ""
    containers = [p for p in table.partitions if p.is_extended and not p.is_logical]
    for part in table.partitions:
        if part.is_logical and not any(
            c.start_bytes < part.start_bytes and part.end_bytes <= c.end_bytes for c in containers
        ):
            return f"logical partition {part.number} is outside the extended partition"
    return ""
