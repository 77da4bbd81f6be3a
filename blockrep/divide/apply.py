"""Carry a logged transaction forward or back.

Every step is idempotent: it writes images that the log holds, so a run that was cut is simply made
again (R1). Each flush below is an ordering that the promise needs; C4 to C11 are those of
docs/invariants.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import groupby

from blockrep.disk.device import Device
from blockrep.disk.superblock import SUPERBLOCK_BYTES
from blockrep.disk.writes import Stage
from blockrep.divide.lock import HALF_BYTES, LogPointer, build_lock, parse_lock
from blockrep.divide.log import Log, Record, RecordStage, StageKind
from blockrep.divide.table_change import plan_table, table_comes_first
from blockrep.errors import BlockrepError, DiskState
from blockrep.extents import round_down, round_up
from blockrep.progress import Progress


def put(device: Device, offset_bytes: int, data: bytes) -> None:
    """Write a multiple of 512 bytes; on larger sectors the rest of the sector stays."""
    start = round_down(offset_bytes, device.sector_bytes)
    end = round_up(offset_bytes + len(data), device.sector_bytes)
    if (start, end) != (offset_bytes, offset_bytes + len(data)):
        around = bytearray(device.read(start, end - start))
        around[offset_bytes - start : offset_bytes - start + len(data)] = data
        data = bytes(around)
    device.write(start, data)


def write_stages(device: Device, stages: Sequence[Stage]) -> None:
    """Carry out stages that need no log; an error leaves the disk resumable."""
    try:
        for stage in stages:
            for write in stage.writes:
                device.write(write.offset_bytes, write.data)
            device.flush()
    except BlockrepError as error:
        error.state = DiskState.RESUMABLE
        raise


@contextlib.contextmanager
def after_commit() -> Iterator[None]:
    """What fails here fails on a disk that is changed already, and must not say otherwise."""
    try:
        yield
    except BlockrepError as error:
        if error.state is DiskState.UNCHANGED:
            error.state = DiskState.UNKNOWN
        raise


def lock_host(device: Device, log: Log, pointer: LogPointer) -> None:
    """Lock every superblock of the old host, the primary last (C4, C5).

    Backups first: a tool that meets a locked primary must not find an unlocked backup to go by.
    Until the primary's flush returns the lock is "maybe": the log must be kept.
    """
    primary, *backups = log.records(StageKind.LOCK)
    for record in backups:
        put(device, record.offset_bytes, build_lock(log.old(record), pointer))
    device.flush()
    put(device, primary.offset_bytes, build_lock(log.old(primary), pointer))
    device.flush()


def run_forward(device: Device, log: Log, pointer: LogPointer, progress: Progress) -> None:
    """From the locked old host to the end, C6 to C11: all but the mark and the log's header."""
    _run_stages(device, log, log.stages, pointer, progress)


def run_after_commit(device: Device, log: Log, pointer: LogPointer, progress: Progress) -> None:
    """What comes after the commit point: the backups, and of a divide the table and second area."""
    kinds = [stage.kind for stage in log.stages]
    rest = log.stages[kinds.index(StageKind.SUPER_LOW) + 1 :]
    _run_stages(device, log, rest, pointer, progress)


def _run_stages(
    device: Device,
    log: Log,
    stages: Sequence[RecordStage],
    pointer: LogPointer,
    progress: Progress,
) -> None:
    """Each kind once; the steps of the table are those from where it stands."""
    for kind, alike in groupby(stages, key=lambda stage: stage.kind):
        records = [record for stage in alike for record in stage.records]
        if kind is StageKind.BACKUPS:
            _unlock(device, pointer, [(r.offset_bytes, log.new(r)) for r in records])
        elif kind is StageKind.TABLE:
            write_stages(device, plan_table(device, log, back=False))
        elif kind is not StageKind.LOCK:
            for record in records:
                put(device, record.offset_bytes, log.new(record))
                progress.advance(record.length_bytes)
        device.flush()


def run_back(device: Device, log: Log, pointer: LogPointer) -> None:
    """From any point before the commit to the old state, byte for byte where it mattered.

    The old table may have records where new metadata lies, so that goes first; and the steps to it
    may use a place of old metadata, so that goes once more.
    """
    _put_old(device, log, log.records(StageKind.METADATA))
    device.flush()
    if table_comes_first(log):
        write_stages(device, plan_table(device, log, back=True))
        _put_old(device, log, log.records(StageKind.METADATA))
        device.flush()
    _put_old(device, log, log.records(StageKind.SUPER_HIGH))
    device.flush()
    _put_old(device, log, log.records(StageKind.SUPER_LOW))
    device.flush()
    restore_backups(device, log, pointer)


def restore_backups(device: Device, log: Log, pointer: LogPointer) -> None:
    """Give locked backup superblocks their old image."""
    _, *backups = log.records(StageKind.LOCK)
    _unlock(device, pointer, [(r.offset_bytes, log.old(r)) for r in backups])


def _unlock(device: Device, pointer: LogPointer, images: list[tuple[int, bytes]]) -> None:
    """Only what holds our lock (C9): after the commit somebody may have rewritten the rest.

    The lock lies in the first half, so the second half goes first: a cut in between leaves a lock.
    """
    locked = [(offset, data) for offset, data in images if _holds_lock(device, offset, pointer)]
    for offset, data in locked:
        put(device, offset + HALF_BYTES, data[HALF_BYTES:])
    device.flush()
    for offset, data in locked:
        put(device, offset, data[:HALF_BYTES])
    device.flush()


def _holds_lock(device: Device, offset_bytes: int, pointer: LogPointer) -> bool:
    found = parse_lock(device.read(offset_bytes, SUPERBLOCK_BYTES))
    return found is not None and found.transaction == pointer.transaction


def _put_old(device: Device, log: Log, records: tuple[Record, ...]) -> None:
    for record in records:
        put(device, record.offset_bytes, log.old(record))
