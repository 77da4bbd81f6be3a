"""A process with many holders that throw everything away, to look at an owner alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sides import HolderSide, Segments

from blockrep.chunks import empty_pages
from blockrep.segment.header import SegmentState
from blockrep.segment.values import StoreInfo


class Sink:
    """As much of a `Store` as a session needs."""

    def __init__(self, number: int, capacity_bytes: int) -> None:
        self.uuid = f"00112233-4455-6677-8899-{number:012X}"
        self.capacity_bytes = capacity_bytes
        self.record: bytes | None = None
        self.writer = b""

    @property
    def info(self) -> StoreInfo:
        state = SegmentState.SETTLED
        return StoreInfo(
            self.uuid, state, self.capacity_bytes, 1, 1, writer=self.writer, epoch=self.record
        )

    def assign(self, assignment: Any) -> None:
        self.writer = assignment.writer

    def begin(self, *_: Any, **__: Any) -> bool:
        return False

    def escrow(self) -> bytes:
        return b""

    def set_escrow(self, escrow: bytes) -> None:
        pass

    def map_pages(self, first: int, count: int, epoch_id: bytes | None = None) -> bytes:
        return empty_pages(first, count)

    def compare(self, salt: bytes, items: Sequence[Any], verify: bool) -> list[int]:
        return [item[1] for item in items]

    def apply(self, items: Sequence[Any], blocks: Any) -> list[int]:
        return []

    def commit(self, record: bytes) -> None:
        self.record = record


def sink_side(folder: Path, number: int, capacity_bytes: int) -> HolderSide:
    side = HolderSide(folder / f"sink{number}.img", number)
    side.segments = Segments([Sink(number, capacity_bytes)])  # type: ignore[list-item]
    return side


def main() -> None:
    """Arguments: folder, count, capacity, the owner's certificate and key in hex.

    Prints a port for each holder, and serves until its input ends.
    """
    folder, count, capacity = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    certificate, key = (bytes.fromhex(word) for word in sys.argv[4:6])
    with many(folder, count, capacity) as sides:
        for side in sides:
            side.trust(certificate, key)
        print(*(side.address()[1] for side in sides), flush=True)
        sys.stdin.read()


@contextmanager
def many(folder: Path, count: int, capacity: int) -> Iterator[list[HolderSide]]:
    sides = [sink_side(folder, number, capacity) for number in range(1, count + 1)]
    try:
        for side in sides:
            side.__enter__()
        yield sides
    finally:
        enders = [threading.Thread(target=side.__exit__) for side in sides]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()


if __name__ == "__main__":
    main()
