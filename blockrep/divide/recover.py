"""Finish an interrupted divide or undivide, or take it back.

Three things can be found on a disk: a locked primary superblock (the transaction stopped before its
commit point), a pending mark (it stopped after it), locked backups alone (it stopped on the way in
or out). Each has one way to a whole state, and every one of them can be cut and run again.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.disk.holds import refuse_if_held
from blockrep.disk.kernel import tell_kernel
from blockrep.disk.superblock import (
    GROUP_NUMBER_OFFSET,
    INCOMPAT_OFFSET,
    STATE_VALID,
    Superblock,
    with_checksum,
)
from blockrep.disk.table import read_standing_table, read_table, table_stages
from blockrep.disk.whole import refuse_partition
from blockrep.disk.writes import Stage
from blockrep.divide.apply import (
    after_commit,
    lock_host,
    put,
    run_after_commit,
    run_back,
    run_forward,
    write_stages,
)
from blockrep.divide.interrupted import half_written_table, host_places, locked_backups
from blockrep.divide.lock import HALF_BYTES, LogPlace, LogPointer, parse_lock, parse_mark
from blockrep.divide.log import (
    NEW_IS_ON_DISK,
    Log,
    LogKind,
    StageKind,
    read_log,
)
from blockrep.divide.log_shape import refuse_misshapen
from blockrep.divide.log_store import FileStore
from blockrep.divide.prove import prove_host
from blockrep.divide.second_writes import second_area_writes
from blockrep.divide.standing import find_standing_area
from blockrep.divide.summary import Outcome
from blockrep.divide.survey import read_superblock
from blockrep.divide.table_change import changes_table, is_our_table, table_comes_first
from blockrep.divide.transaction import drop_mark, finish
from blockrep.errors import BlockrepError, DiskState, NoRoomForLog, RecoverFailed
from blockrep.extents import Extent, intersect
from blockrep.progress import Progress

NEEDS_RECOVERY = 0x4
STATE_OFFSET = 0x3A
FORWARD = {
    LogKind.DIVIDE: "the divide was finished",
    LogKind.UNDIVIDE: "the undivide was finished",
    LogKind.DEFRAGMENT: "a defragmentation was finished",
}


def recover_disk(
    device: Device, progress: Progress, back: bool = False, journal: Path | None = None
) -> Outcome:
    """Bring the disk to a whole state; `back` takes a transaction back if it is not committed.

    `RecoverFailed` leaves everything as it was found. An I/O error on the way leaves the disk
    resumable: run it again.
    """
    started = time.monotonic()
    if device.writable:
        refuse_partition(device.path)
        refuse_if_held(device.path)
    file = _open_journal(journal) if journal and device.writable else None
    try:
        action, details = _recover(device, progress, back, file)
    finally:
        if file:
            file.close()
    if action != "nothing to do":
        with after_commit():
            tell_kernel(device.path, read_table(device))
    return Outcome(action, str(device.path), tuple(details), time.monotonic() - started, 0)


def _open_journal(path: Path) -> FileStore:
    try:
        return FileStore(path)
    except NoRoomForLog as error:
        raise RecoverFailed(
            error.message,
            hint="name the file that `divide --journal` wrote",
            state=DiskState.RESUMABLE,
        ) from error


def _recover(
    device: Device, progress: Progress, back: bool, file: FileStore | None
) -> tuple[str, list[str]]:
    for offset, length in host_places(device):
        superblock = read_superblock(device, offset, length)
        if superblock is None:
            continue
        locked, mark = parse_lock(superblock.raw), parse_mark(superblock.raw)
        if locked:
            return _from_lock(device, offset, locked, progress, back, file)
        if mark:
            action, details = _from_mark(device, superblock, offset, mark, progress, back, file)
            late = ["it was past its commit point; `blockrep undivide` takes it back"]
            return action, details + (late if back and action == "finished" else [])
        if unlock_orphans(device, offset, superblock):
            return "backed out", ["backup superblocks were unlocked; nothing else had been changed"]
    return _from_tables(device)


def _from_tables(device: Device) -> tuple[str, list[str]]:
    """Without a filesystem there is no lock: the copies of the table are made to say the same."""
    standing = half_written_table(device)
    if standing is None:
        return "nothing to do", []
    write_stages(device, table_stages(device, standing, standing))
    return "finished", ["both copies of the partition table say again what the table in force says"]


def _from_lock(
    device: Device,
    offset: int,
    pointer: LogPointer,
    progress: Progress,
    back: bool,
    file: FileStore | None,
) -> tuple[str, list[str]]:
    try:
        log = read_log(device, pointer, file)
        refuse_misshapen(log)
    except RecoverFailed as error:
        error.state = DiskState.UNKNOWN
        if pointer.place is LogPlace.FILE and file is None:
            error.state = DiskState.RESUMABLE
        raise
    if log.host_offset_bytes != offset:
        raise RecoverFailed("the log belongs to another filesystem", state=DiskState.UNKNOWN)
    progress.phase("recovering", sum(r.length_bytes for s in log.stages for r in s.records))
    try:
        _refuse_changed_table(device, log, back)
        # R2: a lock that is read may not be on the medium yet. Make it so before anything else.
        lock_host(device, log, pointer)
        if back:
            run_back(device, log, pointer)
            log.invalidate()
            details = ["the disk is as it was before"]
        else:
            run_forward(device, log, pointer, progress)
            finish(device, log)
            details = [FORWARD[log.kind]]
        _remove_journal(pointer, file)
    except BlockrepError as error:
        error.state = DiskState.RESUMABLE
        raise
    prove_host(device, offset, progress)
    return ("backed out" if back else "finished"), details


def _from_mark(
    device: Device,
    superblock: Superblock,
    offset: int,
    mark: LogPointer,
    progress: Progress,
    back: bool,
    file: FileStore | None,
) -> tuple[str, list[str]]:
    """The filesystem is the new one and may have been used since: it is not touched (R3)."""
    try:
        log = _read_marked(device, mark, back, file)
        refuse_misshapen(log)
        _refuse_changed(device, log, superblock)
    except RecoverFailed as error:
        if error.state is DiskState.RESUMABLE:
            raise
        return _without_log(device, superblock, offset, mark)
    progress.phase("recovering")
    pointer = LogPointer(mark.place, mark.transaction, mark.position, log.digest)
    try:
        _move_again(device, log)
        run_after_commit(device, log, pointer, progress)
        finish(device, log)
        _remove_journal(mark, file)
    except BlockrepError as error:
        error.state = DiskState.RESUMABLE
        raise
    return "finished", [FORWARD[log.kind]]


def _without_log(
    device: Device, superblock: Superblock, offset: int, mark: LogPointer
) -> tuple[str, list[str]]:
    """The filesystem is whole. A second area that the table names already is made from there."""
    lost = "its log is gone, or the disk was changed since"
    table = read_standing_table(device)
    area = find_standing_area(device, table, offset, superblock, mark.transaction)
    if area is not None:
        stages = (
            *table_stages(device, table, table),
            Stage("second area", second_area_writes(area)),
        )
        write_stages(device, stages)
    drop_mark(device, offset, mark.transaction)
    if area is not None:
        return "finished", [lost, "the second area was made as the partition table names it"]
    again = ["the filesystem is whole and ends below the divider", "run `blockrep divide` again"]
    return "backed out", [lost, *again]


def _read_marked(device: Device, mark: LogPointer, back: bool, file: FileStore | None) -> Log:
    """The log of a mark. One in a file may be elsewhere: it is given up only for `back`."""
    try:
        return read_log(device, mark, file)
    except RecoverFailed as error:
        if mark.place is LogPlace.FILE and not back:
            raise RecoverFailed(
                error.message,
                hint="name the right file with --journal FILE; if it is lost, --back does without "
                "it: the filesystem stays as it is now",
                state=DiskState.RESUMABLE,
            ) from error
        raise


def _remove_journal(pointer: LogPointer, file: FileStore | None) -> None:
    """Only what was read as the log of this transaction is ours to remove."""
    if file and pointer.place is LogPlace.FILE:
        file.remove()


def _move_again(device: Device, log: Log) -> None:
    """Until the table names the new place of a moved partition, its old one may have been used."""
    taken = [
        Extent(p.start_bytes, p.length_bytes)
        for p in read_standing_table(device).partitions
        if not p.is_extended and p.start_bytes != log.host_offset_bytes
    ]
    for record in log.records(StageKind.METADATA):
        place = Extent(record.offset_bytes, record.length_bytes)
        if record.flags & NEW_IS_ON_DISK and not intersect([place], taken):
            put(device, record.offset_bytes, log.new(record))
    device.flush()


def _refuse_changed(device: Device, log: Log, superblock: Superblock) -> None:
    """R4: go on only from the state that the transaction left: its size, its tables on the way."""
    if superblock.blocks != log.blocks_after:
        raise RecoverFailed("the filesystem has been resized since")
    if changes_table(log) and not is_our_table(device, log):
        raise RecoverFailed("the partition table has been changed since")


def _refuse_changed_table(device: Device, log: Log, back: bool) -> None:
    """A locked disk whose table is of others' making: go only where none has to be written."""
    first = table_comes_first(log)
    if (back and not first) or not changes_table(log) or is_our_table(device, log):
        return
    hint = "restore the partition table as it was"
    if not back and not first:
        hint = "`blockrep recover --back` takes the divide back and leaves the table alone"
    raise RecoverFailed("the partition table has been changed since", hint=hint)


def unlock_orphans(device: Device, offset: int, superblock: Superblock) -> bool:
    """Renew locked backups from the unlocked primary; True when there were any."""
    found = locked_backups(device, offset, superblock)
    for at, group in found:
        image = _backup_image(superblock, group)
        put(device, at + HALF_BYTES, image[HALF_BYTES:])
        device.flush()
        put(device, at, image[:HALF_BYTES])
    device.flush()
    return bool(found)


def _backup_image(superblock: Superblock, group: int) -> bytes:
    """What e2fsprogs write as a backup: not valid, nothing to recover, its own group's number."""
    raw = bytearray(superblock.raw)
    (incompat,) = struct.unpack_from("<I", raw, INCOMPAT_OFFSET)
    struct.pack_into("<I", raw, INCOMPAT_OFFSET, incompat & ~NEEDS_RECOVERY)
    struct.pack_into("<H", raw, STATE_OFFSET, superblock.state & ~STATE_VALID)
    struct.pack_into("<H", raw, GROUP_NUMBER_OFFSET, group)
    return with_checksum(bytes(raw))
