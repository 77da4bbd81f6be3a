"""A divided disk that the agent holds: its area record, and where its segments lie."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from blockrep.disk.area import Area, area_writes, find_area, read_area
from blockrep.disk.area_keys import AreaKeys
from blockrep.disk.device import Device
from blockrep.disk.table import read_table
from blockrep.divide.interrupted import refuse_interrupted
from blockrep.errors import NotDivided, RecordDamaged

T = TypeVar("T")


class HeldDevice:
    """Open and held exclusively from the start to `close`.

    The area record is changed by `update_area` and `change_record` alone, one change at a time.
    """

    def __init__(self, path: Path) -> None:
        """`NotDivided`, `Interrupted`, `DeviceBusy` and what reading a disk raises."""
        self.path = path
        self.device = Device(path, writable=True)
        self._lock = threading.Lock()
        try:
            refuse_interrupted(self.device)
            found = find_area(self.device, read_table(self.device))
            if found is None:
                raise NotDivided(f"{path} is not divided", hint="`blockrep divide` does it")
            self._area = found[1]
        except BaseException:
            self.device.close()
            raise

    def close(self) -> None:
        self.device.close()

    def is_at(self, path: str) -> bool:
        """Whether this is the disk at a path, which may be another name of it."""
        try:
            return self.path.samefile(path)
        except (OSError, ValueError):
            return str(self.path) == path

    @property
    def area(self) -> Area:
        """The record as it is on the disk."""
        with self._lock:
            return self._area

    @property
    def keys(self) -> AreaKeys | None:
        """What makes this disk one of a group; None while it is in none."""
        return self.area.keys

    def update_area(self, change: Callable[[Area], Area]) -> None:
        """Put the record that `change` makes of the present one on the disk.

        It is the next generation, in the other slot, and durable before this returns.
        """
        self.change_record(lambda device, start: _write_next(device, start, change))

    def change_record(self, work: Callable[[Device, int], T]) -> T:
        """Let `work` change the record, given the device and where its area starts."""
        with self._lock:
            start = self._area.area_start_bytes
            try:
                return work(self.device, start)
            finally:
                self._area = _present(self.device, start)


def _write_next(device: Device, start: int, change: Callable[[Area], Area]) -> None:
    area = _present(device, start)
    changed = replace(change(area), generation=area.generation + 1)
    for write in area_writes(changed):
        device.write(write.offset_bytes, write.data)
    device.flush()


def _present(device: Device, start: int) -> Area:
    area = read_area(device, start)
    if area is None:
        raise RecordDamaged(f"the area record of {device.path} has gone")
    return area
