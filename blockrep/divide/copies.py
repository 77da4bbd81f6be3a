"""Carry out copies within a filesystem: the bulk of a divide's work, and the only bulk.

Every destination is free in the old filesystem, so the copies change nothing that anybody uses and
may be stopped, or lost, at any moment.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle

from blockrep.disk.device import Device, new_buffer
from blockrep.native import Copy
from blockrep.progress import Progress

BATCH_BYTES = 16 << 20


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
    batches = _batches(copies, BATCH_BYTES // block_bytes)
    with closing(_read_ahead(device, host_offset_bytes, block_bytes, batches)) as filled:
        for batch in filled:
            progress.check()
            for at, view in batch.writes:
                device.write(at, view)
            progress.advance(batch.length_bytes)
    # C1: the log and the lock may only come when what they rely on is on the medium.
    device.flush()


@dataclass(frozen=True, slots=True)
class _Filled:
    """Content that was read, and where it goes."""

    writes: list[tuple[int, memoryview]]  # byte of the device, a part of the buffer
    length_bytes: int


def _read_ahead(
    device: Device, host: int, block_bytes: int, batches: Iterator[list[Copy]]
) -> Generator[_Filled, None, None]:
    """Each batch with its content; the next one is read meanwhile.

    No source is a destination (P1, P2), so no read can see a write of this run.
    """
    buffers = cycle((new_buffer(BATCH_BYTES), new_buffer(BATCH_BYTES)))
    ready: Future[_Filled] | None = None
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        for batch in batches:
            ahead = reader.submit(_fill, device, host, block_bytes, batch, next(buffers))
            if ready:
                yield ready.result()
            ready = ahead
        if ready:
            yield ready.result()


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


def _fill(
    device: Device, host: int, block_bytes: int, batch: list[Copy], buffer: memoryview
) -> _Filled:
    """Lay the destinations side by side in the buffer, so that writes join as well as reads."""
    places: dict[Copy, int] = {}
    at = 0
    for copy in sorted(batch, key=lambda c: c.dst):
        places[copy] = at
        at += copy.length * block_bytes
    for copy in batch:
        view = buffer[places[copy] : places[copy] + copy.length * block_bytes]
        device.read_into(host + copy.src * block_bytes, view)
    writes = [
        (host + dst * block_bytes, buffer[place : place + length * block_bytes])
        for dst, place, length in _joined(places)
    ]
    return _Filled(writes, at)


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
