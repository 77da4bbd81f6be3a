"""Chunks on their way to a disk: one thread reads and decrypts ahead of the one that writes.

Memory is bounded by `SLOTS` buffers whatever the size of the disk, and the order is that of the
disk, so that a drive with a head need not seek.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from itertools import pairwise

from blockrep.chunks import CHUNK_BYTES
from blockrep.disk.device import Device, new_buffer
from blockrep.extents import Extent
from blockrep.progress import Progress
from blockrep.transfer.plain import Chunks, PlainEpoch
from blockrep.transfer.source import READ_CHUNKS

SLOTS = 4
ZERO_PIECE_BYTES = 256 << 20
POLL_S = 0.2


class ReadAhead:
    """The chunks of an epoch from `first` on, each yield valid until the next one."""

    def __init__(self, plain: PlainEpoch, first: int, end: int) -> None:
        self._plain = plain
        self._range = first, end
        self._free: queue.Queue[memoryview] = queue.Queue()
        self._full: queue.Queue[tuple[memoryview, Chunks] | BaseException | None] = queue.Queue()
        for _ in range(SLOTS):
            self._free.put(new_buffer(READ_CHUNKS * CHUNK_BYTES))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="restore-read")

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Chunks]:
        while True:
            item = self._full.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            buffer, chunks = item
            yield chunks
            self._free.put(buffer)

    def _run(self) -> None:
        try:
            for numbers, masks in self._plain.groups(*self._range):
                buffer = self._take()
                if buffer is None:
                    return
                self._full.put((buffer, self._plain.load(numbers, masks, buffer)))
            self._full.put(None)
        except BaseException as error:
            self._full.put(error)

    def _take(self) -> memoryview | None:
        """A free buffer, or None when nobody wants the rest."""
        while not self._stopped.is_set():
            try:
                return self._free.get(timeout=POLL_S)
            except queue.Empty:
                continue
        return None


def write_chunks(
    device: Device, plain: PlainEpoch, extent: Extent, progress: Progress
) -> list[int]:
    """Make these bytes of the disk those of the epoch; what is not stored becomes zeros.

    They start with a chunk. Chunks that no holder has undamaged become zeros
    and are returned. Nothing is flushed.
    """
    damaged: list[int] = []
    at = extent.start
    with ReadAhead(plain, at // CHUNK_BYTES, -(-extent.end // CHUNK_BYTES)) as ahead:
        for chunks in ahead:
            damaged += chunks.damaged
            for index, length in _runs(chunks.numbers):
                progress.check()
                start = chunks.numbers[index] * CHUNK_BYTES
                end = min(start + length * CHUNK_BYTES, extent.end)
                write_zeros(device, Extent(at, start - at), progress)
                at_data = index * CHUNK_BYTES
                device.write(start, chunks.data[at_data : at_data + end - start])
                progress.advance(end - start)
                at = end
    write_zeros(device, Extent(at, extent.end - at), progress)
    return damaged


def write_zeros(device: Device, extent: Extent, progress: Progress) -> None:
    """Zeros in pieces short enough to be stopped in between."""
    for at in range(extent.start, extent.end, ZERO_PIECE_BYTES):
        progress.check()
        length = min(ZERO_PIECE_BYTES, extent.end - at)
        device.zero(at, length)
        progress.advance(length)


def _runs(numbers: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Where chunks follow each other: (index of the first, how many)."""
    first = 0
    for index, (left, right) in enumerate(pairwise(numbers), 1):
        if right != left + 1:
            yield first, index - first
            first = index
    yield first, len(numbers) - first
