"""What the store of a segment is told and tells: plain values."""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.segment.epoch import Epoch
from blockrep.segment.header import SegmentState


@dataclass(frozen=True, slots=True)
class Assignment:
    """To whom a segment shall belong; `content_bytes` is the length of that first area."""

    group_id: bytes
    owner_key: bytes
    device_id: bytes
    owner_name: str
    writer: bytes
    content_bytes: int
    lock_s: int
    escrow: bytes = b""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a segment is and holds; fields of the owner are empty while it is unassigned."""

    uuid: str
    state: SegmentState
    capacity_bytes: int
    ring_bytes: int
    ring_free_bytes: int
    owner_key: bytes = b""
    owner_name: str = ""
    device_id: bytes = b""
    group_id: bytes = b""
    writer: bytes = b""
    content_bytes: int = 0
    lock_s: int = 0
    map_generation: int = 0
    applying_id: bytes | None = None
    base_lost: bool = False
    epoch: bytes | None = None  # the record of the epoch that can be read whole
    damage: str | None = None
    # What may be wrong, or no more than the trace of a cut in the write of a header.
    doubt: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """An epoch that can be read. `present`: the newest one; the others are older versions."""

    record: bytes
    epoch: Epoch
    present: bool
    locked: bool
    pinned: bool
