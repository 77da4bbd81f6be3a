"""Carry out copies within a filesystem: the bulk of a divide's work, and the only bulk.

Every destination is free in the old filesystem, so the copies change nothing that anybody uses and
may be stopped, or lost, at any moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blockrep.disk.device import Device, new_buffer
from blockrep.native import Copy
from blockrep.progress import Progress

BATCH_BYTES = 32 << 20


def run_copies(
    device: Device,
    host_offset_bytes: int,
    block_bytes: int,
    copies: Sequence[Copy],
    progress: Progress,
) -> None:
    """Copy in the order of the sources, a batch of reads and then a batch of writes; then flush.

    `copies` are in blocks of the host. A failure leaves only free blocks changed.
    """
    progress.phase("moving files", sum(c.length for c in copies) * block_bytes)
    buffer = new_buffer(BATCH_BYTES)
    for batch in _batches(copies, BATCH_BYTES // block_bytes):
        progress.check()
        _run_batch(device, host_offset_bytes, block_bytes, batch, buffer)
        progress.advance(sum(c.length for c in batch) * block_bytes)
    # C1: the log and the lock may only come when what they rely on is on the medium.
    device.flush()


def _batches(copies: Sequence[Copy], limit_blk: int) -> Iterator[list[Copy]]:
    batch: list[Copy] = []
    room = limit_blk
    for src, dst, length in copies:
        while length:
            part = min(length, room)
            batch.append(Copy(src, dst, part))
            src, dst, length, room = src + part, dst + part, length - part, room - part
            if not room:
                yield batch
                batch, room = [], limit_blk
    if batch:
        yield batch


def _run_batch(
    device: Device, host: int, block_bytes: int, batch: list[Copy], buffer: memoryview
) -> None:
    """Lay the destinations side by side in the buffer, so that writes join as well as reads."""
    places: dict[Copy, int] = {}
    at = 0
    for copy in sorted(batch, key=lambda c: c.dst):
        places[copy] = at
        at += copy.length * block_bytes
    for copy in batch:
        view = buffer[places[copy] : places[copy] + copy.length * block_bytes]
        device.read_into(host + copy.src * block_bytes, view)
    for dst, place, length in _joined(places):
        view = buffer[place : place + length * block_bytes]
        device.write(host + dst * block_bytes, view)


def _joined(places: dict[Copy, int]) -> Iterator[tuple[int, int, int]]:
    """Runs of destinations that touch: (first block, place in the buffer, blocks)."""
    run: tuple[int, int, int] | None = None
    for copy, place in places.items():
        if run and run[0] + run[2] == copy.dst:
            run = (run[0], run[1], run[2] + copy.length)
            continue
        if run:
            yield run
        run = (copy.dst, place, copy.length)
    if run:
        yield run
