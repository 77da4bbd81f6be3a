"""What a partition table says, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TableKind(StrEnum):
    """The words of sfdisk; NONE is a bare filesystem or a blank disk."""

    GPT = "gpt"
    MBR = "dos"
    NONE = "none"


EXTENDED_TYPES = frozenset({"5", "f", "85"})
FIRST_LOGICAL = 5


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, numbered as the kernel does."""

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
        return self.type in EXTENDED_TYPES

    @property
    def is_logical(self) -> bool:
        return len(self.type) <= 2 and self.number >= FIRST_LOGICAL


@dataclass(frozen=True, slots=True)
class Table:
    """A whole table; `partitions` are in number order and include an MBR's extended container."""

    kind: TableKind
    sector_bytes: int
    disk_bytes: int
    disk_id: str
    partitions: tuple[Partition, ...]
    first_usable_bytes: int
    usable_end_bytes: int
    entry_count: int = 128
    entry_bytes: int = 128
    raw: bytes = b""
