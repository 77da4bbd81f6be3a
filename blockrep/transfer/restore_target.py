"""The disk that an epoch is to be restored onto: held, and nothing that anybody would miss.

Only refusals and one open device; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blockrep.disk.area import AREA_TYPE, SEGMENT_TYPE, Area, find_area
from blockrep.disk.device import Device
from blockrep.disk.holds import refuse_if_held
from blockrep.disk.table import TableKind, read_standing_table
from blockrep.disk.whole import refuse_partition
from blockrep.errors import (
    DeviceBusy,
    RecordDamaged,
    RecordUnsupported,
    TableDamaged,
    TableUnsupported,
    WouldOverwrite,
)
from blockrep.units import format_bytes


def open_target(
    path: Path, *, overwrite: Path | None = None, own_devices: Sequence[Path] = ()
) -> Device:
    """The target, open for writing and held against everybody else.

    What holds segments, and `own_devices`, which this machine's agent serves, is refused with
    `WouldOverwrite` unless `overwrite` names the same disk again. `DeviceBusy` names everything
    that uses it, an agent too; `DeviceUnsupported` for a partition.
    """
    refuse_partition(path)
    named_twice = overwrite is not None and _is_same(path, overwrite)
    if overwrite is not None and not named_twice:
        raise WouldOverwrite(
            f"the disk to restore onto is {path}, the one to overwrite {overwrite}",
            hint="name the same disk in both places, or leave out --overwrite",
        )
    if not named_twice:
        if any(_is_same(path, own) for own in own_devices):
            raise _would_overwrite(path, "this machine's agent serves it")
        with Device(path) as device:
            _refuse_divided(device)
    refuse_if_held(path)
    return _open(path)


def _open(path: Path) -> Device:
    try:
        return Device(path, writable=True)
    except DeviceBusy:
        # It was free a moment ago: this says who came.
        refuse_if_held(path)
        raise


def _refuse_divided(device: Device) -> None:
    device.drop_caches()
    try:
        why = _why_divided(device)
    except (RecordDamaged, RecordUnsupported) as error:
        why = f"it is divided, and what it holds cannot be told: {error.message}"
    if why:
        raise _would_overwrite(device.path, why)


def _why_divided(device: Device) -> str:
    """What would be lost in segments, or an empty string. A blank disk has a broken table too."""
    try:
        table = read_standing_table(device)
    except (TableDamaged, TableUnsupported):
        return ""
    found = find_area(device, table)
    if found is not None:
        return _name_contents(found[1])
    ours = {AREA_TYPE, SEGMENT_TYPE} if table.kind is TableKind.GPT else set()
    if any(part.type in ours for part in table.partitions):
        return "it has segments, though its area record is gone"
    return ""


def _name_contents(area: Area) -> str:
    owners = sorted({s.owner_name for s in area.segments if s.owner_name})
    held = f" with replicas of {', '.join(owners)}" if owners else ""
    count = len(area.segments)
    room = format_bytes(sum(s.length_bytes for s in area.segments))
    return f"it is divided and has {count} segment{'s' * (count != 1)} of {room}{held}"


def _would_overwrite(path: Path, why: str) -> WouldOverwrite:
    return WouldOverwrite(
        f"{path} will not be overwritten: {why}",
        hint=f"take another disk, or name it twice: --to {path} --overwrite {path}",
    )


def _is_same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return a == b
