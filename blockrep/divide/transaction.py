"""One transaction: the stages of a plan, its log, and the run from copies to commit.

Invariants: docs/invariants.md. Formats: docs/log-format.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.disk.superblock import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES
from blockrep.disk.writes import Stage, Write
from blockrep.divide.apply import lock_host, put, run_forward
from blockrep.divide.copies import run_copies
from blockrep.divide.host import HostPlan
from blockrep.divide.lock import (
    HALF_BYTES,
    LogPlace,
    LogPointer,
    add_mark,
    build_lock,
    clear_mark,
    parse_mark,
)
from blockrep.divide.log import (
    HAS_OLD,
    Change,
    ChangeStage,
    Log,
    LogKind,
    StageKind,
    log_bytes,
    read_log,
    write_log,
)
from blockrep.divide.log_store import DiskStore, FileStore, LogStore
from blockrep.errors import BlockrepError, DiskState
from blockrep.extents import Extent
from blockrep.progress import Progress

ZERO_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a transaction changes outside the host's own metadata.

    `table` are the ordered steps to the new partition table; `others` is
    written under the lock (swap headers, moved partitions); `second_area` after the table.
    """

    table: tuple[Stage, ...] = ()
    others: tuple[Change, ...] = ()
    second_area: tuple[Write, ...] = ()


@dataclass(frozen=True, slots=True)
class LogSite:
    """Where the log goes: extents of the disk (bytes), or a file on another one."""

    extents: tuple[Extent, ...] = ()
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """Everything that is needed to run it; a value."""

    kind: LogKind
    host: HostPlan
    stages: tuple[ChangeStage, ...]
    identity: bytes  # 16 random bytes
    site: LogSite


def build_stages(
    device: Device, kind: LogKind, host: HostPlan, around: Surroundings
) -> tuple[ChangeStage, ...]:
    """The stages in the order in which they run; the mark is put in when the log has its place."""
    writes = host.writes
    at = host.host.offset_bytes + SUPERBLOCK_OFFSET_BYTES
    supers = tuple(
        Change(offset, SUPERBLOCK_BYTES, old=_constant(raw)) for offset, raw in writes.supers_old
    )
    backups = tuple(
        Change(offset, SUPERBLOCK_BYTES, new=_constant(raw)) for offset, raw in writes.backups_new
    )
    fresh = tuple(
        Change(offset, SUPERBLOCK_BYTES, partial(device.read, offset, SUPERBLOCK_BYTES), new=new)
        for offset, new in ((c.offset_bytes, c.new) for c in backups)
        if offset in writes.backups_fresh
    )
    tables = tuple(_table_stage(device, s) for s in around.table)
    second = tuple(c for w in around.second_area for c in _zero_aware(w))
    core = (
        ChangeStage(StageKind.METADATA, (*writes.metadata, *fresh, *around.others)),
        *_super_stages(at, writes.supers_old[0][1], writes.super_new),
        ChangeStage(StageKind.BACKUPS, backups),
    )
    locks = ChangeStage(StageKind.LOCK, supers)
    if kind is LogKind.UNDIVIDE:
        return (locks, *tables, *core)
    return (locks, *core, *tables, ChangeStage(StageKind.SECOND_AREA, second))


def _super_stages(at: int, old: bytes, new: bytes) -> tuple[ChangeStage, ChangeStage]:
    high = Change(
        at + HALF_BYTES, HALF_BYTES, _constant(old[HALF_BYTES:]), _constant(new[HALF_BYTES:])
    )
    low = Change(at, HALF_BYTES, _constant(old[:HALF_BYTES]), _constant(new[:HALF_BYTES]))
    return ChangeStage(StageKind.SUPER_HIGH, (high,)), ChangeStage(StageKind.SUPER_LOW, (low,))


def _table_stage(device: Device, stage: Stage) -> ChangeStage:
    return ChangeStage(
        StageKind.TABLE,
        tuple(
            Change(
                w.offset_bytes,
                len(w.data),
                old=partial(device.read, w.offset_bytes, len(w.data)),
                new=_constant(w.data),
            )
            for w in stage.writes
        ),
    )


def _zero_aware(write: Write) -> Iterator[Change]:
    """A new second area is zeros for the most part, and zeros need no room in the log."""
    pages = [
        write.data[at : at + ZERO_PAGE_BYTES] for at in range(0, len(write.data), ZERO_PAGE_BYTES)
    ]
    at = write.offset_bytes
    for zeros, run in groupby(pages, key=lambda page: not any(page)):
        data = b"".join(run)
        yield Change(at, len(data), new=None if zeros else _constant(data), zeros=zeros)
        at += len(data)


def _constant(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def new_identity() -> bytes:
    """A transaction id."""
    return os.urandom(16)


def log_size(stages: Sequence[ChangeStage]) -> int:
    """The room that `place_log` has to find."""
    return log_bytes(stages)


def written_extents(stages: Sequence[ChangeStage]) -> list[Extent]:
    """Every range that the stages write: the log must not lie there."""
    return [Extent(c.offset_bytes, c.length_bytes) for s in stages for c in s.changes]


def run_transaction(device: Device, transaction: Transaction, progress: Progress) -> None:
    """Copies, log, lock, apply, commit.

    Before the lock an error leaves the disk unchanged; from the lock on it leaves it resumable, and
    the error's `state` says so. The user can stop it until the lock, not afterwards.
    """
    host = transaction.host
    run_copies(device, host.host.offset_bytes, host.host.block_bytes, host.copies, progress)
    store = _open_store(device, transaction.site)
    needed = False
    try:
        log, pointer = _write_and_prove_log(device, transaction, store, progress)
        progress.check()
        needed = True
        _commit(device, transaction, log, pointer, progress)
        needed = False
    finally:
        if isinstance(store, FileStore):
            store.close()
            if not needed:
                store.remove()


def _commit(
    device: Device, transaction: Transaction, log: Log, pointer: LogPointer, progress: Progress
) -> None:
    progress.phase("committing", sum(_new_bytes(s) for s in transaction.stages))
    try:
        lock_host(device, log, pointer)
        run_forward(device, log, pointer, progress)
        finish(device, log)
    except BlockrepError as error:
        error.state = DiskState.RESUMABLE
        raise


def _new_bytes(stage: ChangeStage) -> int:
    return sum(c.length_bytes for c in stage.changes if c.flags & ~HAS_OLD)


def _open_store(device: Device, site: LogSite) -> DiskStore | FileStore:
    if site.file is not None:
        return FileStore(site.file, create=True)
    return DiskStore(device, site.extents)


def _write_and_prove_log(
    device: Device, transaction: Transaction, store: DiskStore | FileStore, progress: Progress
) -> tuple[Log, LogPointer]:
    """Write the log and read it back: the lock may only point to what can be read."""
    host = transaction.host
    place = LogPlace.FILE if isinstance(store, FileStore) else LogPlace.DISK
    position = store.inode if isinstance(store, FileStore) else store.extents[0].start
    pointer = LogPointer(place, transaction.identity, position)
    stages = _with_pointer(transaction, pointer)
    progress.phase("writing the log", log_bytes(stages))
    digest = write_log(
        store,
        transaction.kind,
        transaction.identity,
        host.host.offset_bytes,
        host.host.superblock.blocks,
        host.after.blocks,
        stages,
        progress.advance,
    )
    pointer = LogPointer(place, transaction.identity, position, digest)
    file: LogStore | None = store if isinstance(store, FileStore) else None
    return read_log(device, pointer, file), pointer


def _with_pointer(transaction: Transaction, pointer: LogPointer) -> tuple[ChangeStage, ...]:
    """What could only be built when the log had its place: the lock of fresh backups, the mark."""
    return tuple(
        _with_mark(transaction, pointer, stage)
        if stage.kind in (StageKind.SUPER_HIGH, StageKind.SUPER_LOW)
        else _with_locks(transaction, pointer, stage)
        for stage in transaction.stages
    )


def _with_mark(transaction: Transaction, pointer: LogPointer, stage: ChangeStage) -> ChangeStage:
    """A divide goes on after its commit point; until it ends, a mark says where its log is."""
    if transaction.kind is not LogKind.DIVIDE:
        return stage
    writes = transaction.host.writes
    at = transaction.host.host.offset_bytes + SUPERBLOCK_OFFSET_BYTES
    marked = _super_stages(at, writes.supers_old[0][1], add_mark(writes.super_new, pointer))
    return next(m for m in marked if m.kind is stage.kind)


def _with_locks(transaction: Transaction, pointer: LogPointer, stage: ChangeStage) -> ChangeStage:
    """A backup where none stood comes with the lock, as all the others have it by then."""
    writes = transaction.host.writes
    if stage.kind is not StageKind.METADATA:
        return stage
    locked = {
        at: build_lock(raw, pointer) + raw[HALF_BYTES:]
        for at, raw in writes.backups_new
        if at in writes.backups_fresh
    }
    changes = (
        replace(c, new=_constant(locked[c.offset_bytes])) if c.offset_bytes in locked else c
        for c in stage.changes
    )
    return ChangeStage(stage.kind, tuple(changes))


def finish(device: Device, log: Log) -> None:
    """The end of a transaction (C12): clear the mark, then make the log unusable."""
    drop_mark(device, log.host_offset_bytes, log.transaction)
    log.invalidate()


def drop_mark(device: Device, host_offset_bytes: int, transaction: bytes) -> None:
    """Clear the pending mark of this transaction in the superblock as it is now."""
    at = host_offset_bytes + SUPERBLOCK_OFFSET_BYTES
    raw = device.read(at, SUPERBLOCK_BYTES)
    mark = parse_mark(raw)
    if mark is not None and mark.transaction == transaction:
        put(device, at + HALF_BYTES, clear_mark(raw)[HALF_BYTES:])
        device.flush()
