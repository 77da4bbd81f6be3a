"""The judgement of one crash state, by programs that are not ours."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace

from loops import loop_device, mounted

from blockrep.errors import BlockrepError
from fault.engine import NOTHING, Engine
from fault.locked import check_locked
from fault.outside import (
    SUPERBLOCK_BYTES,
    Partition,
    TableView,
    Wrong,
    blocks_count,
    check_filesystem,
    is_locked,
    is_superblock,
    partition_identity,
    read_geometry,
    read_table,
    run,
    table_bytes,
    verify_table,
)
from fault.recorder import TracingDevice
from fault.remembered import Recovery, Remembered
from fault.scratch import Scratch
from fault.sectors import Disk
from fault.truth import Side, Truth, check_boot_code, check_others


@dataclass
class Oracle:
    """Judges states of one disk. Answers of other programs are kept, by what they looked at.

    What a recovery did is kept, too, by all that it read, and a disk after recovery is judged once.
    `doubt` is the share of what is known that is tried again, to see that it is true.
    """

    truth: Truth
    engine: Engine
    scratch: Scratch
    rng: random.Random
    doubt: float = 0.0
    runs: int = 0  # recoveries that were really run
    _asked: set[bytes] = field(default_factory=set)
    _tables: dict[bytes, TableView] = field(default_factory=dict)
    _names: dict[bytes, str] = field(default_factory=dict)
    _versions: list[Side] = field(default_factory=list)
    _judged: dict[bytes, str] = field(default_factory=dict)
    _known: dict[bool, Remembered] = field(
        default_factory=lambda: {False: Remembered(), True: Remembered()}
    )

    def check_before_recovery(self, disk: Disk) -> str:
        """It is old, or new, or locked against everybody.

        Returns "old", "new" (by the filesystem) or "locked".
        """
        side = self._side_by_table(disk)
        check_others(self.truth, side, disk, lambda part: self._identify(disk, part))
        check_boot_code(self.truth, disk)
        if is_locked(self._superblock(disk, side.host.start_bytes + 1024)):
            if self._ask(b"locked", self._superblocks(disk, side.host)):
                check_locked(self.truth, self.scratch, disk, side.host)
            return "locked"
        found = self._side_by_filesystem(disk, side)
        self._check_backups(disk, side.host, found)
        known = self._is_known(disk, found)
        if not known or self._ask(b"unlocked", self._superblocks(disk, side.host)):
            self._full_check(disk, side.host, files=not known)
        if not known:
            self._learn(disk, found)
        return found.name

    def expected_back(self, disk: Disk) -> str:
        """What taking a locked disk back must give: the side whose size the superblock has.

        That is the old one, unless a transaction behind the divide itself was cut.
        """
        side = self._side_by_table(disk)
        count = blocks_count(self._superblock(disk, side.host.start_bytes + 1024))
        old, new = self.truth.sides
        return new.name if count == new.geometry.blocks != old.geometry.blocks else old.name

    def recover(self, disk: Disk, *, back: bool = False) -> Recovery:
        """What recovery does on `disk`; `Wrong` when it refuses."""
        known = self._known[back].recall(disk)
        if known is not None and self.rng.random() >= self.doubt:
            return known
        done, reads = self._run(disk, back)
        if known is None:
            self._known[back].learn(disk, reads, done)
            return done
        if not known.same_as(done):
            raise Wrong("recover does not do the same on the same bytes")
        return known

    def _run(self, disk: Disk, back: bool) -> tuple[Recovery, list[tuple[int, int]]]:
        """Run recovery on the scratch."""
        self.runs += 1
        self.scratch.put(disk)
        with TracingDevice(self.scratch.path) as device:
            try:
                action = self.engine.recover(device, back=back)
            except BlockrepError as error:
                raise Wrong(f"recover refused: {type(error).__name__}: {error}") from error
            finally:
                writes = device.log.placed(disk.sectors)
                self.scratch.expect(disk.after(writes))
        return Recovery(action, writes), device.reads

    def check_after_recovery(self, disk: Disk) -> str:
        """It is the old or the new disk, whole, and a second recovery does nothing."""
        key = disk.digest
        if key not in self._judged or self.rng.random() < self.doubt:
            self._judged[key] = self._judge_after(disk)
        return self._judged[key]

    def _judge_after(self, disk: Disk) -> str:
        side = self._side_by_table(disk)
        found = self._side_by_filesystem(disk, side)
        if side is not found:
            raise Wrong(f"after recover the table is {side.name}, the filesystem {found.name}")
        check_others(self.truth, side, disk, lambda part: self._identify(disk, part))
        check_boot_code(self.truth, disk)
        for offset in side.superblock_offsets():
            if is_locked(self._superblock(disk, offset)):
                raise Wrong(f"the superblock at byte {offset} is still locked")
        self._check_backups(disk, side.host, found)
        if side.table is not None:
            self._verify_table(disk)
        if not side.same_filesystem(disk) or self._ask(b"after", side.name.encode()):
            self._check_version(disk, side)
        again = self.recover(disk)
        if again.action != NOTHING or not again.idle:
            writes = sum(map(len, again.writes))
            raise Wrong(f"a second recover says {again.action!r}, {writes} writes")
        return side.name

    def check_touched(self, disk: Disk) -> None:
        """Someone mounts the unlocked filesystem and writes before recovery: that must stay."""
        start = self.truth.old.host.start_bytes
        host = self._side_by_table(disk).host
        data = self.rng.randbytes(50_000)
        self.scratch.put(disk)
        try:
            self._write_file(host, data)
        finally:
            touched = self.scratch.read()
        after = touched.after(self.recover(touched).writes)
        host = self._side_by_table(after).host
        self.scratch.put(after)
        with loop_device(self.scratch.path, start, host.length_bytes, read_only=True) as device:
            done = run(["e2fsck", "-fn", str(device)])
            if done.returncode:
                raise Wrong(f"recover after a mount and a write: {done.stdout}")
            with mounted(device) as root:
                if (root / "written after the crash").read_bytes() != data:
                    raise Wrong("recover lost a file written after the crash")

    def _write_file(self, host: Partition, data: bytes) -> None:
        with loop_device(self.scratch.path, host.start_bytes, host.length_bytes) as device:
            with mounted(device, read_only=False) as root:
                (root / "written after the crash").write_bytes(data)
            done = run(["e2fsck", "-fn", str(device)])
            if done.returncode:
                raise Wrong(f"after a mount and a write: {done.stdout}")

    def _side_by_table(self, disk: Disk) -> Side:
        old, new = self.truth.sides
        if old.table is None:
            return self._bare_side(disk)
        view = self._read_table(disk)
        for side in (old, new):
            if side.table is not None and view.text == side.table.text:
                return side
        raise Wrong(f"the table is neither the old nor the new one: {view.text}")

    def _read_table(self, disk: Disk) -> TableView:
        """As sfdisk reads it; asked once for the same bytes."""
        key = table_bytes(disk, self.truth.sector_bytes)
        if key not in self._tables or self.rng.random() < self.doubt:
            self.scratch.put(disk)
            self._tables[key] = read_table(self.scratch.path, self.truth.sector_bytes)
        return self._tables[key]

    def _verify_table(self, disk: Disk) -> None:
        sector_bytes = self.truth.sector_bytes
        if self._ask(b"table", table_bytes(disk, sector_bytes)):
            self.scratch.put(disk)
            verify_table(self.scratch.path, sector_bytes)

    def _identify(self, disk: Disk, part: Partition) -> str:
        """As blkid names what is in a partition; asked once for the same bytes."""
        key = disk.part(part.start_bytes, part.end_bytes).digest
        if key not in self._names:
            self.scratch.put(disk)
            self._names[key] = partition_identity(self.scratch.path, part)
        return self._names[key]

    def _bare_side(self, disk: Disk) -> Side:
        """Without a table the filesystem alone decides."""
        count = blocks_count(self._superblock(disk, 1024))
        new = self.truth.new
        return new if count == new.geometry.blocks else self.truth.old

    def _side_by_filesystem(self, disk: Disk, by_table: Side) -> Side:
        """By its size; where both sides have the same, by the table."""
        window = by_table.host
        superblock = self._superblock(disk, window.start_bytes + 1024)
        if not is_superblock(superblock):
            raise Wrong("there is no superblock")
        count = blocks_count(superblock)
        for side in (by_table, *self.truth.sides):
            if side.geometry.blocks == count:
                if count * side.geometry.block_bytes > window.length_bytes:
                    raise Wrong("the filesystem is longer than its partition")
                return side
        raise Wrong(f"a filesystem of {count} blocks is neither old nor new")

    def _check_backups(self, disk: Disk, window: Partition, side: Side) -> None:
        """No backup superblock offers the other geometry to `mount -o sb=` or `e2fsck -b`."""
        for offset in side.superblock_offsets()[1:]:
            backup = self._superblock(disk, offset)
            if not is_superblock(backup) or is_locked(backup):
                continue
            if blocks_count(backup) != side.geometry.blocks:
                raise Wrong(f"the backup superblock at byte {offset} is of the other state")
        other = self.truth.new if side is self.truth.old else self.truth.old
        for offset in set(other.superblock_offsets()[1:]) - set(side.superblock_offsets()):
            backup = self._superblock(disk, offset)
            if not window.start_bytes <= offset < window.end_bytes - SUPERBLOCK_BYTES:
                continue
            if not self._uses(side, offset) and self._offers(backup, other):
                raise Wrong(f"a stale superblock at byte {offset} can still be mounted")

    def _offers(self, superblock: bytes, side: Side) -> bool:
        live = is_superblock(superblock) and not is_locked(superblock)
        return live and blocks_count(superblock) == side.geometry.blocks

    def _uses(self, side: Side, offset: int) -> bool:
        at = offset - side.host.start_bytes
        return any(first <= at < last for first, last in side.geometry.used)

    def _is_known(self, disk: Disk, side: Side) -> bool:
        """Whether programs found the same filesystem right before, but for the superblocks."""
        versions = [side, *self._versions]
        return any(
            v.name == side.name and v.same_filesystem(disk, skip_superblocks=True) for v in versions
        )

    def _learn(self, disk: Disk, side: Side) -> None:
        """A version of one side that was found right: between transactions there is another."""
        host = side.host
        geometry = read_geometry(self.scratch.path, host.start_bytes, host.length_bytes)
        self._versions.append(replace(side, content=disk, geometry=geometry))

    def _check_version(self, disk: Disk, side: Side) -> None:
        """Files and superblocks of a whole disk; what is a known version needs no comparison."""
        known = self._is_known(disk, side)
        if known and not self._ask(b"version", self._superblocks(disk, side.host)):
            return
        self._full_check(disk, side.host)
        if not known:
            self._learn(disk, side)

    def _full_check(self, disk: Disk, host: Partition, *, files: bool = True) -> None:
        self.scratch.put(disk)
        check_filesystem(
            self.scratch.path,
            host.start_bytes,
            host.length_bytes,
            self.truth.manifest if files else None,
            mountable=self.truth.mountable,
        )

    def _ask(self, question: bytes, about: bytes) -> bool:
        """Whether other programs are to be asked: the first time for what they see, or in doubt."""
        key = hashlib.blake2b(question + about, digest_size=16).digest()
        if key in self._asked and self.rng.random() >= self.doubt:
            return False
        self._asked.add(key)
        return True

    def _superblocks(self, disk: Disk, window: Partition) -> bytes:
        """Window, and all that a program reads before it decides whether to go on."""
        offsets = [window.start_bytes + 1024, *self.truth.backup_offsets()]
        parts = [self._superblock(disk, offset) for offset in offsets]
        return repr(window).encode() + b"".join(parts)

    def _superblock(self, disk: Disk, offset: int) -> bytes:
        return bytes(disk[offset : offset + SUPERBLOCK_BYTES])
