"""What a table is made for."""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.disk.partition import Source as TableSource

__all__ = ["Place", "TableSource"]


@dataclass(frozen=True, slots=True)
class Place:
    """A target: its bytes and sectors, and what of the owner's disk comes onto it."""

    disk_bytes: int
    sector_bytes: int
    content_bytes: int
    owner_sector_bytes: int
