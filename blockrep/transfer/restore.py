"""What it takes to bring an epoch back onto a bare disk: a plan that is shown before it is run.

Whatever cannot be is refused here, in one sentence, and nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.disk.device import Device
from blockrep.disk.identities import (
    Identity,
    filesystem_identity,
    find_identities,
    table_identities,
)
from blockrep.disk.partition import Partition, TableKind
from blockrep.disk.writes import Write
from blockrep.errors import SameIdentity
from blockrep.transfer.plain import PlainEpoch
from blockrep.transfer.restore_parts import (
    PartContent,
    check_block_sizes,
    survey_parts,
    swap_writes,
)
from blockrep.transfer.restore_place import Place
from blockrep.transfer.restore_table import TablePlan, plan_table
from blockrep.units import format_bytes


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do; `notes` are sentences for whoever decides.

    `parts` say what is in the partitions. The target's table is in `table`.
    """

    target: str
    target_bytes: int
    sector_bytes: int
    epoch_number: int
    content_bytes: int
    stored_bytes: int
    table: TablePlan
    parts: tuple[PartContent, ...]
    swaps: tuple[Write, ...]
    notes: tuple[str, ...]


def plan_restore(plain: PlainEpoch, device: Device) -> RestorePlan:
    """What it takes to restore onto `device`, which `open_target` has opened.

    `DoesNotFit`, `TableDamaged`, `TableUnsupported`, `FilesystemUnsupported` for a target on which
    the epoch cannot live, `SameIdentity` when the machine has these GUIDs or UUIDs already,
    `ReplicaDamaged` for a table that is not there. Nothing is written.
    """
    epoch = plain.epoch
    if not device.is_block:
        # An image has the sectors that it is made for.
        device.sector_bytes = epoch.sector_bytes
    place = Place(device.size_bytes, device.sector_bytes, epoch.content_bytes, epoch.sector_bytes)
    table = plan_table(plain, epoch.partitions, place)
    parts = survey_parts(plain, _data_parts(table, place))
    check_block_sizes(parts, place.sector_bytes)
    twins = _find_twins(table, parts, device)
    return RestorePlan(
        target=str(device.path),
        target_bytes=device.size_bytes,
        sector_bytes=device.sector_bytes,
        epoch_number=epoch.number,
        content_bytes=epoch.content_bytes,
        stored_bytes=epoch.stored_bytes,
        table=table,
        parts=parts,
        swaps=swap_writes(parts),
        notes=(*_notes(plain, table, place), *twins),
    )


def _data_parts(table: TablePlan, place: Place) -> tuple[Partition, ...]:
    if table.kind is TableKind.NONE:
        return (Partition(0, 0, place.content_bytes, ""),)
    mbr = table.kind is TableKind.MBR
    return tuple(p for p in table.kept if not (mbr and p.is_extended and not p.is_logical))


def _find_twins(
    table: TablePlan, parts: tuple[PartContent, ...], device: Device
) -> tuple[str, ...]:
    """`SameIdentity` for a disk; an image is nobody's twin before it is attached: a note."""
    wanted = list(table_identities(table.disk_id, table.kept))
    wanted += [filesystem_identity(p.content.uuid) for p in parts if p.content.uuid]
    here = find_identities(device.path)
    twins = [(identity, here[identity]) for identity in wanted if identity in here]
    if not twins:
        return ()
    if device.is_block:
        raise _same_identity(*twins[0])
    disks = ", ".join(sorted({disk for _, disk in twins}))
    return (f"The image gets the same IDs as {disks}: do not attach both to one machine.",)


def _same_identity(identity: Identity, disk: str) -> SameIdentity:
    return SameIdentity(
        f"{disk} is in this machine with the same {identity.kind} {identity.value}, and the two "
        "would be mistaken for each other",
        hint=f"take {disk} out first, or give it other IDs (`sgdisk -G {disk}`, `tune2fs -U "
        "random`), or restore into an image file",
    )


def _notes(plain: PlainEpoch, table: TablePlan, place: Place) -> list[str]:
    epoch, notes = plain.epoch, []
    if place.disk_bytes != epoch.disk_bytes:
        notes.append(
            f"The disk has {format_bytes(place.disk_bytes)}, the owner's had "
            f"{format_bytes(epoch.disk_bytes)}; partitions keep their sizes."
        )
    if place.sector_bytes != epoch.sector_bytes:
        notes.append(
            f"The disk has sectors of {place.sector_bytes} bytes, the owner's had "
            f"{epoch.sector_bytes}: the partition table is made for them, the boot loader may have "
            "to be installed again."
        )
    if not epoch.consistent:
        notes.append("Not every partition of this epoch is known to be consistent.")
    if table.dropped:
        numbers = ", ".join(str(part.number) for part in table.dropped)
        notes.append(f"Partitions behind the divider are not stored and left out: {numbers}.")
    return notes
