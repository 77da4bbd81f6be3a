"""A small engine with a redo log, to test the crash tests themselves; and wrong ones.

It takes the new disk as given, logs every sector that differs, locks, applies, unlocks, and writes
the MBR last. Nobody would ship it: its log needs as much room as all that changes.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

from loops import loop_device

from blockrep.disk.device import Device
from fault.engine import NOTHING
from fault.outside import LOCK_BIT, SUPERBLOCK_BYTES, is_locked, run

SECTOR = 512
MAGIC = b"fake log"
# One way each to get it wrong; "" is right.
MISTAKES = (
    "log not flushed",
    "no lock",
    "backups not locked",
    "lock after the first writes",
    "no flush before unlock",
    "unlock before the writes",
    "table first",
    "log cleared before unlock",
    "torn log accepted",
    "recover forgets sectors",
    "boot code lost",
)


def shrunk_copy(
    initial: Path, final: Path, start_bytes: int, old_bytes: int, new_bytes: int
) -> None:
    """The new disk, made by e2fsck, resize2fs and sfdisk."""
    shutil.copyfile(initial, final)
    final.chmod(0o600)
    with loop_device(final, start_bytes, old_bytes) as device:
        for command in (["e2fsck", "-fy"], ["resize2fs", "-f"]):
            size = [f"{new_bytes // 1024}K"] if command[0] == "resize2fs" else []
            done = run([*command, str(device), *size])
            if done.returncode > 1:
                raise RuntimeError(done.stdout + done.stderr)
    with final.open("r+b") as file:
        file.seek(446 + 12)
        file.write(struct.pack("<I", new_bytes // SECTOR))


Log = dict[str, Any]


class FakeEngine:
    """`mistake` is one of `MISTAKES`, or empty."""

    def __init__(
        self, initial: bytes, final: bytes, superblocks: list[int], log_at: int, mistake: str = ""
    ) -> None:
        self.superblocks = superblocks  # the primary first
        self.log_at = log_at
        start, sectors = struct.unpack_from("<II", final, 446 + 8)
        self.new_end = (start + sectors) * SECTOR
        self.mistake = mistake
        special = {o // SECTOR + n for o in superblocks for n in range(2)} | {0}
        count = len(initial) // SECTOR
        differing = [
            n for n in range(count)
            if n not in special
            and initial[n * SECTOR : n * SECTOR + SECTOR] != final[n * SECTOR : n * SECTOR + SECTOR]
        ]  # fmt: skip
        self.payload = pickle.dumps(
            {
                "old": {n: initial[n * SECTOR : (n + 1) * SECTOR] for n in differing},
                "new": {n: final[n * SECTOR : (n + 1) * SECTOR] for n in differing},
                "old super": [initial[o : o + SUPERBLOCK_BYTES] for o in superblocks],
                "new super": [final[o : o + SUPERBLOCK_BYTES] for o in superblocks],
                "old table": initial[:SECTOR],
                "new table": final[:SECTOR],
            }
        )

    def run(self, device: Device) -> None:
        log = pickle.loads(self.payload)
        if self.mistake == "boot code lost":
            device.write(SECTOR * 2, bytes(SECTOR))
        body = self.payload + bytes(-len(self.payload) % SECTOR)
        for at in range(0, len(body), 1 << 20):
            device.write(self.log_at + SECTOR + at, body[at : at + (1 << 20)])
        if self.mistake not in ("log not flushed", "torn log accepted"):
            device.flush()
        digest = hashlib.sha256(self.payload).digest()
        header = MAGIC + struct.pack("<Q", len(self.payload)) + digest
        device.write(self.log_at, header.ljust(SECTOR, b"\0"))
        if self.mistake != "log not flushed":
            device.flush()
        if self.mistake == "lock after the first writes":
            self._apply(device, log["new"])
            device.flush()
        if self.mistake == "unlock before the writes":
            self._finish(device, log, "new")
            self._apply(device, log["new"])
            device.flush()
            return
        if self.mistake == "table first":
            device.write(0, log["new table"])
        if self.mistake != "no lock":
            self._lock(device, log)
        self._apply(device, log["new"])
        if self.mistake != "no flush before unlock":
            device.flush()
        self._finish(device, log, "new")

    def recover(self, device: Device, *, back: bool) -> str:
        header = device.read(self.log_at, SECTOR)
        if not header.startswith(MAGIC):
            return NOTHING
        (length,) = struct.unpack_from("<Q", header, 8)
        payload = device.read(self.log_at + SECTOR, length)
        if (
            hashlib.sha256(payload).digest() != header[16:48]
            and self.mistake != "torn log accepted"
        ):
            return NOTHING
        log = pickle.loads(payload)
        side = "old" if back else "new"
        if is_locked(device.read(self.superblocks[0], SUPERBLOCK_BYTES)):
            self._lock(device, log)
            sectors = dict(log[side])
            if self.mistake == "recover forgets sectors":
                for number in list(sectors)[::4]:
                    del sectors[number]
            self._apply(device, sectors)
            device.flush()
            self._finish(device, log, side)
            return "finished" if side == "new" else "went back"
        # Not locked: the commit point decides, and somebody may have written since.
        committed = device.read(self.superblocks[0] + 4, 4) == log["new super"][0][4:8]
        self._finish_backups(device, log, "new" if committed else "old")
        if committed:
            device.write(0, log["new table"])
        device.flush()
        self._clear(device)
        return "finished" if committed else "went back"

    def _lock(self, device: Device, log: Log) -> None:
        order = (
            [] if self.mistake == "backups not locked" else list(range(1, len(self.superblocks)))
        )
        for number in order:
            self._lock_one(device, self.superblocks[number], log["old super"][number])
        if self.mistake != "log not flushed":
            device.flush()
        self._lock_one(device, self.superblocks[0], log["old super"][0])
        device.flush()

    def _lock_one(self, device: Device, offset: int, superblock: bytes) -> None:
        (incompat,) = struct.unpack_from("<I", superblock, 0x60)
        locked = superblock[:0x60] + struct.pack("<I", incompat | LOCK_BIT) + superblock[0x64:]
        device.write(offset, locked[:SECTOR])

    def _apply(self, device: Device, sectors: dict[int, bytes]) -> None:
        """Neighbours in one write, of at most 64 KiB."""
        numbers = sorted(sectors)
        while numbers:
            count = 1
            while count < min(128, len(numbers)) and numbers[count] == numbers[0] + count:
                count += 1
            span, numbers = numbers[:count], numbers[count:]
            device.write(span[0] * SECTOR, b"".join(sectors[n] for n in span))

    def _finish(self, device: Device, log: Log, side: str) -> None:
        primary = log[f"{side} super"][0]
        if self.mistake == "log cleared before unlock":
            self._clear(device)
        device.write(self.superblocks[0] + SECTOR, primary[SECTOR:])
        if self.mistake != "no flush before unlock":
            device.flush()
        device.write(self.superblocks[0], primary[:SECTOR])
        device.flush()
        self._finish_backups(device, log, side)
        device.flush()
        device.write(0, log[f"{side} table"])
        device.flush()
        self._clear(device)

    def _finish_backups(self, device: Device, log: Log, side: str) -> None:
        """A backup behind the new end stays locked: there is no filesystem any more."""
        for offset, superblock in zip(self.superblocks[1:], log[f"{side} super"][1:], strict=True):
            if side == "new" and offset >= self.new_end:
                continue
            if is_locked(device.read(offset, SUPERBLOCK_BYTES)):
                device.write(offset, superblock)

    def _clear(self, device: Device) -> None:
        device.write(self.log_at, bytes(SECTOR))
        device.flush()
