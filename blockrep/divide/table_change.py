"""The change of the partition table that a log holds, carried on from wherever a cut left it.

The logged steps lead from the old table to the new one. From anywhere between, on or back, they
are computed anew, as each is only safe in the state that it was made for: the log is asked for
the two tables alone.
"""

from __future__ import annotations

from blockrep.disk.device import Device
from blockrep.disk.table import read_standing_table, table_stages
from blockrep.disk.writes import Stage
from blockrep.divide.log import Log, StageKind
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
    scratch = _scratch(device, log)
    wanted = read_standing_table(_View(device, log, old=back))
    if read_standing_table(device) == wanted:
        return table_stages(device, wanted, wanted, scratch)
    # The table left is whole only until what comes after its change is written over its records.
    left = read_standing_table(_View(device, log, old=not back))
    return table_stages(device, left, wanted, scratch)


class _View:
    """The disk as it was before the transaction, or with the new table laid over it."""

    def __init__(self, device: Device, log: Log, *, old: bool) -> None:
        self._device = device
        self._image = log.old if old else log.new
        self._records = log.records(StageKind.TABLE)
        if old:
            self._records += log.records(StageKind.METADATA)
        self.path = device.path
        self.size_bytes = device.size_bytes
        self.sector_bytes = device.sector_bytes

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that many bytes."""
        data = bytearray(self._device.read(offset_bytes, length_bytes))
        end_bytes = offset_bytes + length_bytes
        for record in self._records:
            start = max(offset_bytes, record.offset_bytes)
            end = min(end_bytes, record.offset_bytes + record.length_bytes)
            if start < end:
                image = self._image(record)
                piece = image[start - record.offset_bytes : end - record.offset_bytes]
                data[start - offset_bytes : end - offset_bytes] = piece
        return bytes(data)


def is_our_table(device: Device, log: Log) -> bool:
    """False when somebody else has written the table since."""
    try:
        plan_table(device, log, back=False)
    except TableDamaged:
        return False
    return True


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
