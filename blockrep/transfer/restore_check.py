"""Read a restored disk back and compare it with what the owner signed."""

from __future__ import annotations

from collections.abc import Container, Iterable

from blockrep.chunks import CHUNK_BYTES
from blockrep.disk.device import Device, new_buffer
from blockrep.disk.writes import Write
from blockrep.errors import DeviceIO
from blockrep.extents import Extent
from blockrep.progress import Progress
from blockrep.transfer.plain import PlainEpoch
from blockrep.transfer.source import READ_CHUNKS


def verify_chunks(
    device: Device, plain: PlainEpoch, extent: Extent, lost: Container[int], progress: Progress
) -> None:
    """`DeviceIO` names the first place whose stored blocks are not those of the epoch.

    What is read is encrypted again, so the owner's own digests decide.
    """
    device.flush()
    buffer = new_buffer(READ_CHUNKS * CHUNK_BYTES)
    for numbers, masks in plain.groups(extent.start // CHUNK_BYTES, -(-extent.end // CHUNK_BYTES)):
        progress.check()
        for index, number in enumerate(numbers):
            chunk = buffer[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
            _read_chunk(device, plain, number, chunk, extent.end)
        digests = plain.stored_digests(numbers, masks, buffer[: len(numbers) * CHUNK_BYTES])
        for index, number in enumerate(numbers):
            if number not in lost and digests[index * 32 :][:32] != plain.digest(number):
                raise _differs(device, number * CHUNK_BYTES)
        progress.advance(len(numbers) * CHUNK_BYTES)


def _read_chunk(
    device: Device, plain: PlainEpoch, number: int, chunk: memoryview, end_bytes: int
) -> None:
    """A block at the end of the content was stored whole, but is not written past that end."""
    start = number * CHUNK_BYTES
    length = min(CHUNK_BYTES, end_bytes - start)
    if length < CHUNK_BYTES:
        chunk[:] = plain.read(start, CHUNK_BYTES)
    device.read_into(start, chunk[:length])


def verify_writes(device: Device, writes: Iterable[Write]) -> None:
    """`DeviceIO` when the disk does not give back what was written."""
    for write in writes:
        if device.read(write.offset_bytes, len(write.data)) != write.data:
            raise _differs(device, write.offset_bytes)


def _differs(device: Device, offset_bytes: int) -> DeviceIO:
    return DeviceIO(f"{device.path} gives back something else than was written at {offset_bytes}")
