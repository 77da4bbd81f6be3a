"""The names by which systems find disks, partitions and filesystems, which must be unique.

Two disks with the same ones in one machine are mistaken for each other: the wrong one is mounted,
or a btrfs of both is mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockrep.disk import sysfs
from blockrep.disk.device import Device
from blockrep.disk.filesystems import identify
from blockrep.disk.table import Partition, TableKind, read_standing_table
from blockrep.errors import BlockrepError

NO_MBR_ID = "00000000"


@dataclass(frozen=True, slots=True)
class Identity:
    """`kind` is said to the user: "disk ID", "partition ID", "filesystem UUID"."""

    kind: str
    value: str


def table_identities(disk_id: str, partitions: Iterable[Partition]) -> Iterator[Identity]:
    """What a table itself gives: partitions of an MBR have no names of their own."""
    if disk_id and disk_id != NO_MBR_ID:
        yield Identity("disk ID", disk_id.upper())
    for part in partitions:
        if part.uuid:
            yield Identity("partition ID", part.uuid.upper())


def filesystem_identity(uuid: str) -> Identity:
    return Identity("filesystem UUID", uuid.upper())


def find_identities(but_not: Path) -> Mapping[Identity, str]:
    """Those of all disks of this machine but one, with the disk where each was found.

    A disk that cannot be read is passed over: nobody mistakes it for another either.
    """
    found: dict[Identity, str] = {}
    left_out = sysfs.block_name(but_not)
    for name in _whole_disks():
        if name == left_out:
            continue
        for identity in _identities_on(sysfs.node_path(name)):
            found.setdefault(identity, str(sysfs.node_path(name)))
    return found


def _whole_disks() -> list[str]:
    names = sorted(entry.name for entry in sysfs.CLASS.iterdir())
    return [n for n in names if not sysfs.is_partition(n) and sysfs.read_number(n, "size")]


def _identities_on(path: Path) -> list[Identity]:
    try:
        with Device(path) as device:
            device.drop_caches()  # blkid reads through the cache
            table = read_standing_table(device)
            places = [(p.start_bytes, p.length_bytes) for p in table.partitions]
            if table.kind is TableKind.NONE:
                places = [(0, table.disk_bytes)]
            found = list(table_identities(table.disk_id, table.partitions))
    except BlockrepError:
        return []
    for start, length in places:
        try:
            uuid = identify(path, start, length).uuid
        except BlockrepError:
            continue
        if uuid:
            found.append(filesystem_identity(uuid))
    return found
