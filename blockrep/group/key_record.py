"""Putting a disk into a group: its keys, and the counter, in its area record.

Every change is the next generation of the record, in the other slot, flushed before it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blockrep.disk.area import Area, area_writes, read_area
from blockrep.disk.area_keys import COUNTER_LIMIT, AreaKeys
from blockrep.disk.device import Device
from blockrep.divide.interrupted import refuse_interrupted
from blockrep.errors import NotAMember, NotDivided, ProofFailed, UsageError

KeysChange = Callable[[AreaKeys | None], AreaKeys | None]


def put_keys(device: Device, area_start_bytes: int, keys: AreaKeys) -> Area:
    """Put a disk into a group; the record as it is now.

    `UsageError` when it is in one already. `Interrupted` when a divide of it was: finishing that
    writes the area anew, and the keys would be gone.
    """
    refuse_interrupted(device)

    def change(before: AreaKeys | None) -> AreaKeys:
        if before is not None:
            raise UsageError(
                f"{device.path} is in the group {before.group_name} already",
                hint="`blockrep group leave` takes it out",
            )
        return keys

    return _update(device, area_start_bytes, change)


def change_keys(device: Device, area_start_bytes: int, keys: AreaKeys) -> Area:
    """Replace the keys of a disk that is in a group: another wrap key, a recovered owner."""

    def change(before: AreaKeys | None) -> AreaKeys:
        if before is not None and before.key == keys.key and before.counter > keys.counter:
            return replace(keys, counter=before.counter)
        return keys

    return _update(device, area_start_bytes, change)


def take_keys(device: Device, area_start_bytes: int) -> Area:
    """Take a disk out of its group. Both slots are written, so that no secret stays behind."""
    for _ in range(2):
        area = _update(device, area_start_bytes, lambda before: None)
    return area


def reserve_counter(device: Device, area_start_bytes: int, at_least: int) -> int:
    """A counter that no section was signed with, `at_least` or higher; it is on the disk now.

    `NotAMember` when there is none left, which only somebody else with the key can have done.

    Flushed before it is given out (docs/group-format.md): whatever is cut or lost afterwards, this
    machine never signs a counter twice. One that is not used is a gap, which harms nothing.
    """
    found = 0

    def change(before: AreaKeys | None) -> AreaKeys:
        nonlocal found
        if before is None:
            raise UsageError(f"{device.path} is in no group")
        found = max(before.counter + 1, at_least)
        if found >= COUNTER_LIMIT:
            raise NotAMember(
                "another machine has used up the counter of this machine's key",
                hint="leave the group and join it again: that makes a new key",
            )
        return replace(before, counter=found)

    _update(device, area_start_bytes, change)
    return found


def _update(device: Device, area_start_bytes: int, change: KeysChange) -> Area:
    area = read_area(device, area_start_bytes)
    if area is None:
        raise NotDivided(f"{device.path} has no area at {area_start_bytes}")
    updated = replace(area, generation=area.generation + 1, keys=change(area.keys))
    for write in area_writes(updated):
        device.write(write.offset_bytes, write.data)
    device.flush()
    if read_area(device, area_start_bytes) != updated:
        raise ProofFailed(f"the area record of {device.path} does not read back as it was written")
    return updated
