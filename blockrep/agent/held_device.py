"""A divided disk that the agent holds: its area record, and where its segments lie."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from blockrep.disk.area import Area, area_writes, find_area
from blockrep.disk.device import Device
from blockrep.disk.table import read_table
from blockrep.divide.interrupted import refuse_interrupted
from blockrep.errors import NotDivided


class HeldDevice:
    """Open and held exclusively from the start to `close`.

    The area record is changed by `update_area` alone, one change at a time.
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

    @property
    def area(self) -> Area:
        """The record as it is on the disk."""
        with self._lock:
            return self._area

    def update_area(self, change: Callable[[Area], Area]) -> Area:
        """Put the record that `change` makes of the present one on the disk, and return it.

        It is the next generation, in the other slot, and durable before this returns: what relies
        on it (a counter that was raised, a key that was kept) comes after. A failure leaves the
        old one.
        """
        with self._lock:
            changed = replace(change(self._area), generation=self._area.generation + 1)
            for write in area_writes(changed):
                self.device.write(write.offset_bytes, write.data)
            self.device.flush()
            self._area = changed
            return changed
