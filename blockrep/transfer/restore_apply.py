"""Carry out a planned restore.

The order of the writes is such that a disk on which it was cut is taken for a whole one by nobody:

1. Its first 8 KiB, where a table or a filesystem is found, become zeros. Flush. The rest of its
   head, and its end. Flush. The kernel forgets the old partitions.
2. Everything behind the head (the first MiB); swap areas; records of logical partitions. Flush.
3. The backup of a GPT, and the head but for its first 8 KiB. Flush.
4. Those 8 KiB: sector 0, the header of a GPT or the superblock of a bare ext. Flush.

A second run begins with 1 again and ends in the same disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from blockrep.chunks import CHUNK_BYTES
from blockrep.disk.area import AREA_BYTES
from blockrep.disk.device import Device
from blockrep.disk.kernel import tell_kernel
from blockrep.disk.partition import Partition, Table, TableKind
from blockrep.disk.table import read_table
from blockrep.disk.writes import Write
from blockrep.errors import BlockrepError, DiskState, ProofFailed, ReplicaDamaged, TableDamaged
from blockrep.extents import Extent, round_down, round_up
from blockrep.progress import Progress
from blockrep.transfer.plain import PlainEpoch, name_places
from blockrep.transfer.restore import RestorePlan
from blockrep.transfer.restore_check import verify_chunks, verify_writes
from blockrep.transfer.restore_pump import write_chunks, write_zeros

MIB = 1 << 20
FIRST_BYTES = 8192
# The area of a bare disk lies in its last 5 MiB; whatever else sits at ends is nearer to them.
END_BYTES = MIB + AREA_BYTES


@dataclass(frozen=True, slots=True)
class RestoreOutcome:
    """`damaged` are places of the disk that no holder had: they are zeros now."""

    target: str
    written_bytes: int
    elapsed_s: float
    damaged: tuple[Extent, ...]


def apply_restore(
    device: Device,
    plan: RestorePlan,
    plain: PlainEpoch,
    progress: Progress,
    *,
    verify: bool = False,
    accept_damage: bool = False,
) -> RestoreOutcome:
    """Write the planned disk; `verify` reads it back and compares with the owner's digests.

    Errors say `RESUMABLE`: the same restore again completes it, and up to its end the disk has no
    table. Chunks that no holder has are `ReplicaDamaged`, or zeros with `accept_damage`.
    """
    started = time.monotonic()
    try:
        head, lost = load_head(plain, plan)
        _forget_contents(device, plan, progress)
        lost += _write_body(device, plan, plain, progress, verify)
        if lost and not accept_damage:
            raise _damaged(plan, lost)
        _write_names(device, plan, head, verify)
    except BlockrepError as error:
        again = f"{plan.target} has no table now; the same restore again completes it"
        error.hint = f"{error.hint}; {again}" if error.hint else again
        error.state = DiskState.RESUMABLE
        raise
    _prove_table(device, plan)
    elapsed = time.monotonic() - started
    places = tuple(Extent(number * CHUNK_BYTES, CHUNK_BYTES) for number in lost)
    return RestoreOutcome(plan.target, plan.stored_bytes, elapsed, places)


def load_head(plain: PlainEpoch, plan: RestorePlan) -> tuple[bytes, list[int]]:
    """The first bytes of the target as they will be, and which chunks of them are lost."""
    head = bytearray(round_up(plan.table.head_bytes, CHUNK_BYTES))
    lost: list[int] = []
    for chunks in plain.walk(0, len(head) // CHUNK_BYTES):
        lost += chunks.damaged
        for index, number in enumerate(chunks.numbers):
            at = number * CHUNK_BYTES
            head[at : at + CHUNK_BYTES] = chunks.data[index * CHUNK_BYTES :][:CHUNK_BYTES]
    if plan.content_bytes < len(head):
        head[plan.content_bytes :] = bytes(len(head) - plan.content_bytes)
    del head[plan.table.head_bytes :]
    for write in (*plan.swaps, *plan.table.head):
        data = write.data[: max(len(head) - write.offset_bytes, 0)]
        head[write.offset_bytes : write.offset_bytes + len(data)] = data
    return bytes(head), lost


def _forget_contents(device: Device, plan: RestorePlan, progress: Progress) -> None:
    progress.phase("forgetting what was on the disk")
    # What was there stops being a disk at once, and not in parts.
    write_zeros(device, Extent(0, FIRST_BYTES), progress)
    device.flush()
    write_zeros(device, Extent(FIRST_BYTES, plan.table.head_bytes - FIRST_BYTES), progress)
    end = round_down(max(device.size_bytes - END_BYTES, 0), device.sector_bytes)
    write_zeros(device, Extent(end, device.size_bytes - end), progress)
    device.flush()
    blank = Table(TableKind.NONE, device.sector_bytes, device.size_bytes, "", (), 0, 0)
    tell_kernel(device.path, blank)


def _write_body(
    device: Device, plan: RestorePlan, plain: PlainEpoch, progress: Progress, verify: bool
) -> list[int]:
    """Everything behind the head, not yet flushed; the chunks that are lost."""
    start = plan.table.head_bytes
    end = max(round_up(plan.content_bytes, device.sector_bytes), start)
    progress.phase("restoring", end - start)
    lost = write_chunks(device, plain, Extent(start, end - start), progress)
    if verify:
        progress.phase("reading back", end - start)
        verify_chunks(device, plain, Extent(start, end - start), lost, progress)
    return lost


def _write_names(device: Device, plan: RestorePlan, head: bytes, verify: bool) -> None:
    """What makes the rest findable, from the inside to the outside."""
    inside = [_behind(w, len(head)) for w in (*plan.swaps, *plan.table.inside)]
    small = [w for w in inside if w.data]
    _put(device, small)
    # The data is durable before anything says that there is a table, or a filesystem at its start.
    device.flush()
    _put(device, plan.table.tail)
    device.write(FIRST_BYTES, head[FIRST_BYTES:])
    # Sector 0 is what a table is found by: it comes when all it speaks of is there.
    device.flush()
    device.write(0, head[:FIRST_BYTES])
    device.flush()
    if verify:
        verify_writes(device, (*small, *plan.table.tail, Write(0, head)))


def _behind(write: Write, at: int) -> Write:
    """The part of a write that does not lie in the head."""
    cut = min(max(at - write.offset_bytes, 0), len(write.data))
    return Write(write.offset_bytes + cut, write.data[cut:])


def _put(device: Device, writes: Iterable[Write]) -> None:
    for write in writes:
        device.write(write.offset_bytes, write.data)


def _prove_table(device: Device, plan: RestorePlan) -> None:
    """The table on the disk is read as any other, and is the planned one; the kernel is told."""
    device.drop_caches()
    try:
        table = read_table(device)
    except TableDamaged as error:
        raise ProofFailed(f"the restored partition table is not whole: {error.message}") from error
    if table.kind is not plan.table.kind or _spans(table.partitions) != _spans(plan.table.kept):
        raise ProofFailed(f"the restored partition table of {plan.target} is not the planned one")
    tell_kernel(device.path, table)


def _spans(parts: tuple[Partition, ...]) -> list[tuple[int, int, int, str]]:
    return [(p.number, p.start_bytes, p.length_bytes, p.uuid) for p in parts]


def _damaged(plan: RestorePlan, lost: list[int]) -> ReplicaDamaged:
    return ReplicaDamaged(
        f"epoch {plan.epoch_number} is damaged at {name_places(lost)}",
        hint="name another epoch or holder; --accept-damage restores zeros there",
    )
