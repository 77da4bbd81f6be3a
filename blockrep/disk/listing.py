"""Every block device with what is on it, what holds it, and whether it can be divided."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import pyudev  # type: ignore[import-untyped]

from blockrep.disk import sysfs
from blockrep.disk.device import Device
from blockrep.disk.filesystems import Content, identify
from blockrep.disk.holds import Hold, find_holds, read_mounts
from blockrep.disk.partition import Partition, Table, TableKind
from blockrep.disk.table import read_table
from blockrep.errors import BlockrepError

SUPERBLOCK_AT = 1024
INCOMPAT_64BIT = 0x80


@dataclass(frozen=True, slots=True)
class Volume:
    """A partition, or the bare filesystem of a device without a table (number 0).

    `used_bytes` and `free_bytes` are None where nobody can tell without mounting it.
    """

    number: int
    path: str
    start_bytes: int
    length_bytes: int
    type: str
    name: str
    content: Content
    mountpoints: tuple[str, ...]
    used_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device or image file. `obstacles` say, one sentence each, why it cannot be divided now;
    `table` is a word of `TableKind`, or empty if it could not be read."""

    path: str
    size_bytes: int
    model: str
    serial: str
    logical_sector_bytes: int
    physical_sector_bytes: int
    read_only: bool
    removable: bool
    table: str
    volumes: tuple[Volume, ...]
    holds: tuple[Hold, ...]
    obstacles: tuple[str, ...]

    @property
    def can_be_divided(self) -> bool:
        return not self.obstacles


def list_devices() -> tuple[DeviceInfo, ...]:
    """All whole devices, in the order of their names.

    Left out is what has no size: loop devices without a file, unused RAM disks, empty drives.
    """
    found = pyudev.Context().list_devices(subsystem="block", DEVTYPE="disk")
    nodes = sorted((d.sys_name, d) for d in found if sysfs.read_number(d.sys_name, "size"))
    return tuple(
        _describe(sysfs.node_path(name), name, _model(name, device), _serial(name, device))
        for name, device in nodes
    )


def _model(name: str, device: pyudev.Device) -> str:
    """udev's words where its daemon runs, the kernel's otherwise."""
    vendor = sysfs.read_attribute(name, "device/vendor")
    model = sysfs.read_attribute(name, "device/model")
    told = str(device.properties.get("ID_MODEL", "")).replace("_", " ")
    if vendor.startswith("0x"):  # virtio says its PCI number
        vendor = ""
    return told or f"{vendor} {model}".strip()


def _serial(name: str, device: pyudev.Device) -> str:
    told = str(device.properties.get("ID_SERIAL_SHORT", ""))
    return (
        told
        or sysfs.read_attribute(name, "device/serial")
        or sysfs.read_attribute(name, "serial")
        or sysfs.read_attribute(name, "device/wwid")
    )


def _describe(path: Path, name: str, model: str, serial: str) -> DeviceInfo:
    size_bytes = sysfs.read_number(name, "size") * sysfs.SECTOR_BYTES if name else _size_of(path)
    sector_bytes = sysfs.read_number(name, "queue/logical_block_size") or 512
    read_only = sysfs.read_attribute(name, "ro") == "1" if name else not os.access(path, os.W_OK)
    table, volumes, fault = _look_inside(path)
    holds = find_holds(path)
    obstacles = [*_obstacles_of(name, size_bytes, read_only), *_words_of_holds(holds)]
    if fault:
        obstacles.append(fault)
    if table is not None:
        obstacles += _obstacles_inside(name, table, volumes)
    return DeviceInfo(
        path=str(path),
        size_bytes=size_bytes,
        model=model,
        serial=serial,
        logical_sector_bytes=table.sector_bytes if table else sector_bytes,
        physical_sector_bytes=sysfs.read_number(name, "queue/physical_block_size") or sector_bytes,
        read_only=read_only,
        removable=sysfs.read_attribute(name, "removable") == "1",
        table=table.kind.value if table else "",
        volumes=volumes,
        holds=holds,
        obstacles=tuple(obstacles),
    )


def _size_of(path: Path) -> int:
    return path.stat().st_size


def _look_inside(path: Path) -> tuple[Table | None, tuple[Volume, ...], str]:
    """The table and what is in it, or why that could not be read."""
    try:
        with Device(path) as device:
            # blkid reads through the cache of the whole disk, which does not know what was written
            # through a partition's.
            device.drop_caches()
            table = read_table(device)
            volumes = tuple(_volume(device, table, part) for part in _parts_of(table))
    except BlockrepError as error:
        return None, (), error.message
    return table, volumes, ""


def _parts_of(table: Table) -> tuple[Partition, ...]:
    if table.kind is TableKind.NONE:
        return (Partition(0, 0, table.disk_bytes, ""),)
    return table.partitions


def _volume(device: Device, table: Table, part: Partition) -> Volume:
    name = sysfs.block_name(device.path) or ""
    node = _node_of(device.path, name, part.number)
    mbr_container = table.kind is TableKind.MBR and part.is_extended and not part.is_logical
    content = Content()
    if not mbr_container and part.length_bytes:
        content = identify(device.path, part.start_bytes, part.length_bytes)
    mountpoints = _mountpoints_of(node)
    used, free = _usage(device, part, content, mountpoints)
    return Volume(
        number=part.number,
        path=node,
        start_bytes=part.start_bytes,
        length_bytes=part.length_bytes,
        type=part.type,
        name=part.name,
        content=content,
        mountpoints=mountpoints,
        used_bytes=used,
        free_bytes=free,
    )


def _node_of(path: Path, name: str, number: int) -> str:
    """The node of a partition; empty if the kernel does not know of it."""
    if number == 0:
        return str(path)
    known = {part.number: part for part in sysfs.partitions_of(name)} if name else {}
    return str(known[number].path) if number in known else ""


def _mountpoints_of(node: str) -> tuple[str, ...]:
    name = sysfs.block_name(Path(node)) if node else None
    if name is None:
        return ()
    number = sysfs.read_attribute(name, "dev")
    return tuple(
        mount.target for mount in read_mounts() if number == mount.number or node == mount.source
    )


def _usage(
    device: Device, part: Partition, content: Content, mountpoints: tuple[str, ...]
) -> tuple[int | None, int | None]:
    """Used and free bytes, of a mounted filesystem from the kernel, of another ext from itself."""
    for mountpoint in mountpoints:
        try:
            status = os.statvfs(mountpoint)
        except OSError:
            continue
        return (
            (status.f_blocks - status.f_bfree) * status.f_frsize,
            status.f_bfree * status.f_frsize,
        )
    if content.is_ext and part.length_bytes >= SUPERBLOCK_AT * 2:
        return _ext_usage(device.read(part.start_bytes + SUPERBLOCK_AT, 1024))
    return None, None


def _ext_usage(superblock: bytes) -> tuple[int | None, int | None]:
    """From the counts of the superblock (linux/fs/ext4/ext4.h); used includes the metadata."""
    blocks, _, free = struct.unpack_from("<III", superblock, 4)
    log_size, incompat = _u32(superblock, 0x18), _u32(superblock, 0x60)
    if incompat & INCOMPAT_64BIT:
        blocks |= _u32(superblock, 0x150) << 32
        free |= _u32(superblock, 0x158) << 32
    if log_size > 6 or free > blocks:
        return None, None
    return (blocks - free) << (10 + log_size), free << (10 + log_size)


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _obstacles_of(name: str, size_bytes: int, read_only: bool) -> list[str]:
    found = []
    if size_bytes == 0:
        found.append("it has no size")
    if read_only:
        found.append("it is read-only")
    if name and sysfs.is_partition(name):
        found.append("it is a partition: name the whole disk")
    return found


def _words_of_holds(holds: tuple[Hold, ...]) -> list[str]:
    return [f"{hold.sentence}: {hold.remedy}" for hold in holds]


def _obstacles_inside(name: str, table: Table, volumes: tuple[Volume, ...]) -> list[str]:
    if name.startswith("dm-") and table.kind is not TableKind.NONE:
        return ["the kernel keeps no partitions on a device of the device mapper"]
    if table.kind is not TableKind.NONE:
        return []
    content = volumes[0].content
    if content.ambivalent:
        return ["it looks like several things at once: " + ", ".join(content.ambivalent)]
    if content.type and not content.is_ext:
        return [f"it holds {content.type}, which cannot be divided"]
    return []
