"""The segment of which `segment-history-v1.hex` is a sample: an owner, three epochs, a fourth cut.

`python tests/compat/segment_sample.py` prints the sample. It is never made again: another version
gets another file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from replicas import CHUNK, START, FakeClock, MemoryDisk, Owner, messages, new_disk, send

from blockrep.segment.geometry import MIB
from blockrep.segment.store import Store

CHUNKS = 4
CONTENT = CHUNKS * CHUNK
SEGMENT_BYTES = 8 * MIB


def block(text: str) -> bytes:
    return text.encode().ljust(4096, b"\0")


def epochs() -> Iterator[dict[int, bytes]]:
    """What the first area is at each epoch; the last one is not committed."""
    now = {n: block(f"first {n}") for n in (0, 1, 5, 16, 17, 40)}
    yield dict(now)
    now[1] = block("second 1")
    del now[5]
    yield dict(now)
    now.update({5: block("third 5"), 60: block("third 60")})
    yield dict(now)
    now[0] = block("fourth 0")
    yield dict(now)


def build_segment() -> bytes:
    """The segment alone, over a disk of zeros."""
    disk = MemoryDisk(bytes(START + SEGMENT_BYTES + MIB))
    made = new_disk(SEGMENT_BYTES, 2 * MIB)
    for first, end in ((0, 2 * MIB), (SEGMENT_BYTES - MIB, SEGMENT_BYTES)):
        disk.content[START + first : START + end] = made[START + first : START + end]
    owner, clock = Owner(), FakeClock()
    store = Store.open(disk, START, clock)
    store.assign(owner.assignment(CONTENT, lock_s=604_800))
    *whole, cut = epochs()
    old = None
    for blocks in whole:
        clock.go_on(3600)
        send(store, owner, blocks, old, CONTENT)
        old = blocks
    store.begin(owner.next_id(), owner.number + 1, owner.last)
    for items, data in messages([0], cut, old, 1):
        assert store.apply(items, data) == []
    store.drain()
    return bytes(disk.content[START : START + SEGMENT_BYTES])


def as_text(data: bytes) -> str:
    """The length, then `offset bytes` in hex for every 32 bytes that are not all zero."""
    lines = (
        f"{at:x} {data[at : at + 32].hex()}"
        for at in range(0, len(data), 32)
        if any(data[at : at + 32])
    )
    return "\n".join((str(len(data)), *lines, ""))


if __name__ == "__main__":
    sys.stdout.write(as_text(build_segment()))
