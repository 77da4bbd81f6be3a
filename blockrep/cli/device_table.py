"""The devices of this machine as a table, with why one cannot be divided on a line of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from blockrep.cli.terminal import Colour, Terminal, clean
from blockrep.cli.text import table_lines
from blockrep.units import format_bytes


class ListedContent(Protocol):
    """What was recognised in a volume; `type` is empty for nothing."""

    @property
    def type(self) -> str: ...
    @property
    def label(self) -> str: ...


class ListedVolume(Protocol):
    """A partition or a bare filesystem; what is used is None where nobody can tell."""

    @property
    def number(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def length_bytes(self) -> int: ...
    @property
    def content(self) -> ListedContent: ...
    @property
    def mountpoints(self) -> Sequence[str]: ...
    @property
    def used_bytes(self) -> int | None: ...
    @property
    def free_bytes(self) -> int | None: ...


class ListedDevice(Protocol):
    """`obstacles` say why it cannot be divided, who holds it among them: none, and it can."""

    @property
    def path(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def logical_sector_bytes(self) -> int: ...
    @property
    def physical_sector_bytes(self) -> int: ...
    @property
    def table(self) -> str: ...
    @property
    def volumes(self) -> Sequence[ListedVolume]: ...
    @property
    def obstacles(self) -> Sequence[str]: ...


_HEAD = ("device", "size", "sectors", "table", "used", "can be divided", "model")
_TABLES = {"gpt": "GPT", "dos": "MBR", "none": "-", "": "-"}


def device_lines(devices: Sequence[ListedDevice], terminal: Terminal) -> list[str]:
    """A row per device; below it what is on it, and what is in the way."""
    if not devices:
        return ["No block devices were found."]
    rows = table_lines([_HEAD, *(_row(device) for device in devices)], right=(1, 2, 4))
    lines = [terminal.paint(rows[0], Colour.BOLD)]
    for row, device in zip(rows[1:], devices, strict=True):
        lines += [row, *_details(device, terminal)]
    return lines


def _row(device: ListedDevice) -> tuple[str, ...]:
    known = [v.used_bytes for v in device.volumes if v.used_bytes is not None]
    sectors = f"{device.logical_sector_bytes}/{device.physical_sector_bytes}"
    return (
        clean(device.path),
        format_bytes(device.size_bytes),
        sectors,
        _TABLES.get(device.table, clean(device.table)),
        format_bytes(sum(known)) if known else "-",
        "no" if device.obstacles else "yes",
        clean(device.model),
    )


def _details(device: ListedDevice, terminal: Terminal) -> Iterator[str]:
    for volume in device.volumes:
        if volume.number or volume.content.type:
            yield f"    {_volume_text(volume)}"
    for obstacle in device.obstacles:
        yield terminal.paint(f"    cannot be divided: {clean(obstacle)}", Colour.YELLOW)


def _volume_text(volume: ListedVolume) -> str:
    """`/dev/sda1: ext4 "root", 500 GiB, 80 GiB used, 420 GiB free, mounted at /`."""
    label = f' "{clean(volume.content.label)}"' if volume.content.label else ""
    name = clean(volume.path) or f"partition {volume.number}"
    parts = [
        f"{name}: {clean(volume.content.type) or 'nothing known'}{label}",
        format_bytes(volume.length_bytes),
    ]
    if volume.used_bytes is not None:
        parts.append(f"{format_bytes(volume.used_bytes)} used")
    if volume.free_bytes is not None:
        parts.append(f"{format_bytes(volume.free_bytes)} free")
    parts += [f"mounted at {clean(mountpoint)}" for mountpoint in volume.mountpoints]
    return ", ".join(parts)
