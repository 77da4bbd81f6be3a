"""The ways to the same goal that are compared: ours, other people's, and the least possible."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.divide.plan import plan_divide
from blockrep.divide.summary import DivideRequest
from blockrep.extents import Extent
from blockrep.progress import Silent

BLOCKREP = Path(sys.executable).with_name("blockrep")
BLOCK_BYTES = 4096
BUFFER_BYTES = 8 << 20

# (from, to, length) in bytes of the image
Move = tuple[int, int, int]


def run(*command: object, accept: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in accept:
        raise AssertionError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")


def flush(image: Path) -> None:
    with image.open("rb+") as file:
        os.fsync(file.fileno())


def fresh_copy(original: Path, image: Path) -> None:
    """A copy that is on the disk and in no cache, so that every way starts alike."""
    image.unlink(missing_ok=True)
    run("cp", "--sparse=always", original, image)
    flush(image)
    for path in (original, image):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def divide(image: Path, first_bytes: int, *options: str) -> None:
    run(BLOCKREP, "divide", image, "--first", first_bytes, "--peers", 1, "--yes", *options)
    flush(image)


def resize(image: Path, first_bytes: int) -> None:
    run("e2fsck", "-f", "-y", image, accept=(0, 1))
    # Without -f it refuses by an estimate far above what it needs.
    run("resize2fs", "-f", image, first_bytes // BLOCK_BYTES)
    flush(image)


def defragment_and_resize(image: Path, first_bytes: int, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    run("mount", "-t", "ext4", "-o", "loop", image, folder)
    try:
        # It says 1 when a file could not be improved.
        run("e4defrag", folder, accept=(0, 1))
    finally:
        run("umount", folder)
    resize(image, first_bytes)


def planned_moves(image: Path, first_bytes: int) -> list[Move]:
    """What `divide` would copy, in its order; neighbours joined."""
    request = DivideRequest(first_bytes=first_bytes, peers=1)
    moves: list[Move] = []
    with Device(image, writable=True) as device, plan_divide(device, request, Silent()) as plan:
        assert plan.transaction
        for copy in plan.transaction.host.copies:
            source, target = copy.src * BLOCK_BYTES, copy.dst * BLOCK_BYTES
            length = copy.length * BLOCK_BYTES
            last = moves[-1] if moves else (0, 0, 0)
            if (last[0] + last[2], last[1] + last[2]) == (source, target):
                moves[-1] = (last[0], last[1], last[2] + length)
            else:
                moves.append((source, target, length))
    return moves


def move_bytes(image: Path, moves: Iterable[Move]) -> None:
    """The limit: read and write what has to move, around the cache, and flush."""
    descriptor = os.open(image, os.O_RDWR | os.O_DIRECT)
    try:
        with mmap.mmap(-1, BUFFER_BYTES) as buffer, memoryview(buffer) as view:
            for source, target, length in moves:
                for at in range(0, length, BUFFER_BYTES):
                    with view[: min(BUFFER_BYTES, length - at)] as part:
                        assert os.preadv(descriptor, [part], source + at) == len(part)
                        assert os.pwritev(descriptor, [part], target + at) == len(part)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_extents(image: Path, extents: Sequence[Extent]) -> None:
    """The floor of every copy: one read of these bytes around the cache."""
    descriptor = os.open(image, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, BUFFER_BYTES) as buffer, memoryview(buffer) as view:
            for extent in extents:
                for at in range(extent.start, extent.end, BUFFER_BYTES):
                    with view[: min(BUFFER_BYTES, extent.end - at)] as part:
                        assert os.preadv(descriptor, [part], at) == len(part)
    finally:
        os.close(descriptor)
