"""Only what the kernel can show partitions of is changed: a whole disk, not a piece of one."""

from __future__ import annotations

from pathlib import Path

from blockrep.disk import sysfs
from blockrep.disk.table import Table, TableKind
from blockrep.errors import DeviceUnsupported


def refuse_partition(path: Path) -> None:
    """`DeviceUnsupported` with the name of the whole disk when `path` is a partition's node."""
    name = sysfs.block_name(path)
    if name is not None and sysfs.is_partition(name):
        disk = sysfs.node_path(sysfs.disk_of(name))
        raise DeviceUnsupported(f"{path} is a partition", hint=f"name the whole disk, {disk}")


def refuse_unpartitionable(path: Path, table: Table) -> None:
    """`DeviceUnsupported` for a table on a device of the device mapper: its partitions are other
    such devices, which the kernel does not make or change by itself."""
    name = sysfs.block_name(path)
    if name is not None and name.startswith("dm-") and table.kind is not TableKind.NONE:
        raise DeviceUnsupported(
            f"{path} has a partition table, and the kernel keeps no partitions on a device of the "
            "device mapper",
            hint="divide the disk below it",
        )
