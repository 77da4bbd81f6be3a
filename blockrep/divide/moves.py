"""Partitions that go somewhere else whole, as changes of a transaction."""

from __future__ import annotations

from functools import partial

from blockrep.disk.device import Device
from blockrep.divide.layout import PartitionMove
from blockrep.divide.log import Change

SWAP_HEADER_BYTES = 64 << 10
PIECE_BYTES = 4 << 20


def move_changes(device: Device, move: PartitionMove) -> list[Change]:
    """The new place gets the content of the old one; of a swap only its header matters."""
    length = min(move.length_bytes, SWAP_HEADER_BYTES) if move.is_swap else move.length_bytes
    changes = []
    for at in range(0, length, PIECE_BYTES):
        size = min(PIECE_BYTES, length - at)
        old = partial(device.read, move.new_start_bytes + at, size)
        source = move.old_start_bytes + at
        changes.append(Change(move.new_start_bytes + at, size, old, source=source))
    return changes
