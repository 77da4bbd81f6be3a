"""Our own way to copy a disk: an owner here, a holder in a process of its own, TLS between them."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from sides import HolderSide, OwnerSide

from blockrep.chunks import BLOCK_BYTES
from blockrep.extents import Extent
from blockrep.group.identity import identity_from_seed
from blockrep.native import Filesystem
from blockrep.transfer.kept import KeptMap
from blockrep.transfer.send import Mode

MIB = 1 << 20
WAIT_S = 600


class Ours:
    """An owner of the bare filesystem in `source`, and how often its holder is made anew."""

    def __init__(self, folder: Path, source: Path, key: bytes | None) -> None:
        folder.mkdir()
        self.folder = folder
        self.owner = OwnerSide(folder / "owner", b"", key=key)
        self.owner.path = source
        self.segment_mib = source.stat().st_size // MIB * 5 // 4

    def forget_map(self) -> None:
        """The owner knows nothing of earlier copies."""
        self.owner.kept = KeptMap(Path(tempfile.mkdtemp(dir=self.folder)) / "kept.map")

    def survey(self) -> int:
        """Read the bitmaps, as a backup does before anything else; returns the used bytes."""
        with Filesystem.open(self.owner.path) as filesystem:
            used = filesystem.used()
        self.owner.used = [Extent(e.start * BLOCK_BYTES, e.length * BLOCK_BYTES) for e in used]
        return sum(extent.length for extent in self.owner.used)

    @contextmanager
    def holder(self, number: int = 1) -> Iterator[Remote]:
        """A new holder with one segment, ready to be sent to."""
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        process = context.Process(target=self._hold, args=(theirs, number))
        process.start()
        try:
            yield Remote(number, ours.recv())
            ours.send("end")
            process.join(WAIT_S)
            assert process.exitcode == 0
        finally:
            process.kill()
            process.join()

    def _hold(self, pipe: Connection, number: int) -> None:
        segment = self.folder / f"segment{number}.img"
        segment.unlink(missing_ok=True)
        ring_mib = self.segment_mib // 10
        side = HolderSide(segment, number, segment_mib=self.segment_mib, ring_mib=ring_mib)
        side.trust(self.owner.identity.certificate, self.owner.identity.key)
        with side:
            pipe.send(side.address())
            pipe.recv()
        assert not side.errors, side.errors

    def back_up(self, *holders: Remote, mode: Mode) -> int:
        """One epoch; returns the bytes on the wire, both ways, without those of TLS."""
        self.survey()
        self.owner.mode = mode
        results = self.owner.back_up(*holders)  # type: ignore[arg-type]
        for result in results:
            if result.error is not None:
                raise result.error
            assert result.receipt is not None
        return sum(result.sent_bytes + result.received_bytes for result in results)


class Remote:
    """What the owner needs to know of a holder in another process."""

    def __init__(self, number: int, address: tuple[str, int]) -> None:
        self.path = Path(f"holder {number}")
        self.identity = identity_from_seed(bytes([number]) * 32)
        self.key = self.identity.key
        self._address = address

    def address(self) -> tuple[str, int]:
        return self._address
