"""The change of the partition table that a log holds, carried on from wherever a cut left it.

The logged steps lead from the old table to the new one. From anywhere between, on or back, they
are computed anew, as each is only safe in the state that it was made for: the log is asked for
the two tables alone.
"""

from __future__ import annotations

from blockrep.disk.device import Device
from blockrep.disk.table import Table, read_standing_table, table_stages
from blockrep.disk.writes import Stage, Write
from blockrep.divide.log import Log, StageKind
from blockrep.divide.overlay import Overlay
from blockrep.errors import TableDamaged
from blockrep.extents import Extent

HEADERS_BYTES = 1 << 15


def changes_table(log: Log) -> bool:
    """Whether the transaction has anything to do with the table."""
    return bool(log.records(StageKind.TABLE))


def table_comes_first(log: Log) -> bool:
    """An undivide changes the table before it commits the filesystem, a divide afterwards."""
    kinds = [stage.kind for stage in log.stages]
    return changes_table(log) and kinds.index(StageKind.TABLE) < kinds.index(StageKind.SUPER_LOW)


def plan_table(device: Device, log: Log, *, back: bool) -> tuple[Stage, ...]:
    """The steps from what the device holds to the new table, or back to the old one.

    `TableDamaged` when the device holds neither of them, nor anything between.
    """
    records = log.records(StageKind.TABLE)
    old = _table_after(device, [Write(r.offset_bytes, log.old(r)) for r in records])
    new = _table_after(device, [Write(r.offset_bytes, log.new(r)) for r in records])
    return table_stages(device, *((new, old) if back else (old, new)), _scratch(device, log))


def is_our_table(device: Device, log: Log) -> bool:
    """False when somebody else has written the table since."""
    try:
        plan_table(device, log, back=False)
    except TableDamaged:
        return False
    return True


def _table_after(device: Device, writes: list[Write]) -> Table:
    return read_standing_table(Overlay(device, [Stage("table", tuple(writes))]))


def _scratch(device: Device, log: Log) -> Extent | None:
    """Where the logged steps had their temporary array, if that is not at an end of the disk."""
    ends = (HEADERS_BYTES, device.size_bytes - HEADERS_BYTES)
    inner = [
        r
        for r in log.records(StageKind.TABLE)
        if r.offset_bytes >= ends[0] and r.offset_bytes + r.length_bytes <= ends[1]
    ]
    if not inner:
        return None
    start = min(r.offset_bytes for r in inner)
    end = max(r.offset_bytes + r.length_bytes for r in inner)
    return Extent(start, end - start)
