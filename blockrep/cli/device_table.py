"""The devices of this machine as a table, with why one cannot be divided on a line of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from blockrep.cli.terminal import Colour, Terminal, clean
from blockrep.cli.text import table_lines
from blockrep.units import format_bytes


class ListedFilesystem(Protocol):
    """`used_bytes` is None where it is not known."""

    @property
    def path(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def used_bytes(self) -> int | None: ...


class ListedDevice(Protocol):
    """`holders` use the device, `obstacles` say why it cannot be divided: none, and it can."""

    @property
    def path(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def sector_bytes(self) -> int: ...
    @property
    def physical_sector_bytes(self) -> int: ...
    @property
    def table(self) -> str: ...
    @property
    def filesystems(self) -> Sequence[ListedFilesystem]: ...
    @property
    def holders(self) -> Sequence[str]: ...
    @property
    def obstacles(self) -> Sequence[str]: ...


_HEAD = ("device", "size", "sectors", "table", "used", "can be divided", "model")
_TABLES = {"gpt": "GPT", "dos": "MBR", "none": "-", "": "-"}


def device_lines(devices: Sequence[ListedDevice], terminal: Terminal) -> list[str]:
    """A row per device; below it its filesystems, what holds it, and what is in the way."""
    if not devices:
        return ["No block devices were found."]
    rows = table_lines([_HEAD, *(_row(device) for device in devices)], right=(1, 2, 4))
    lines = [terminal.paint(rows[0], Colour.BOLD)]
    for row, device in zip(rows[1:], devices, strict=True):
        lines += [row, *_details(device, terminal)]
    return lines


def _row(device: ListedDevice) -> tuple[str, ...]:
    known = [f.used_bytes for f in device.filesystems if f.used_bytes is not None]
    sectors = f"{device.sector_bytes}/{device.physical_sector_bytes}"
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
    for filesystem in device.filesystems:
        yield f"    {_filesystem_text(filesystem)}"
    if device.holders:
        yield f"    used by {', '.join(clean(holder) for holder in device.holders)}"
    for obstacle in device.obstacles:
        yield terminal.paint(f"    cannot be divided: {clean(obstacle)}", Colour.YELLOW)


def _filesystem_text(filesystem: ListedFilesystem) -> str:
    label = f' "{clean(filesystem.label)}"' if filesystem.label else ""
    text = f"{clean(filesystem.path)}: {clean(filesystem.type)}{label}"
    text += f", {format_bytes(filesystem.size_bytes)}"
    if filesystem.used_bytes is None:
        return text
    free = filesystem.size_bytes - filesystem.used_bytes
    return f"{text}, {format_bytes(filesystem.used_bytes)} used, {format_bytes(free)} free"
