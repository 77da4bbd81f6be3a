"""A replica opened to be read by a command, at all holders that have it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockrep.agent.ways import OwnerWays, Wanted, Way, find_ways
from blockrep.errors import BlockrepError, NoSuchEpoch, PeerUnreachable, UsageError
from blockrep.group.section import Member, MemberDevice
from blockrep.progress import Progress
from blockrep.segment.epoch import Epoch
from blockrep.transfer.fetch import Reader
from blockrep.transfer.source import EpochSource

PIN_S = 86_400


@dataclass(frozen=True, slots=True)
class OpenedReplica:
    """One epoch, at each holder that has it, the preferred one first.

    `data_key` is None where the epoch is not encrypted, or nobody here may have the key.
    `own_devices` are those that this machine's agent serves.
    """

    owner: str
    device: str
    epoch: Epoch
    holders: tuple[str, ...]
    sources: tuple[EpochSource, ...]
    data_key: bytes | None
    failures: tuple[str, ...]
    own_devices: tuple[Path, ...] = ()


@contextlib.contextmanager
def open_replica(
    place: Path, wanted: Wanted, folder: Path, progress: Progress
) -> Iterator[OpenedReplica]:
    """Open the epoch that is wanted at all holders that have it.

    `place` is the socket of the agent; `folder` keeps the maps meanwhile. `NoSuchEpoch`,
    `PeerUnreachable`, `RecoveryKeyWrong`, `NotAMember`.
    """
    owner = find_ways(place, wanted, progress)
    device = _choose_device(owner.member, wanted.device)
    with contextlib.ExitStack() as stack:
        readers, failures = _open_readers(owner, device, stack)
        epoch = _choose_epoch(owner.member.name, readers, wanted.epoch, failures)
        if wanted.epoch is None:
            failures += _behind(epoch, owner.signed.get(device.device_id, 0))
        sources, names = _open_views(readers, epoch, folder, stack, failures)
        if not sources:
            raise PeerUnreachable("; ".join(failures))
        key = owner.data_key(device.device_id) if epoch.encrypted else None
        yield OpenedReplica(
            owner=owner.member.name,
            device=device.name,
            epoch=epoch,
            holders=tuple(names),
            sources=tuple(sources),
            data_key=key,
            failures=tuple(failures),
            own_devices=owner.own_devices,
        )


def _choose_device(owner: Member, name: str | None) -> MemberDevice:
    found = [d for d in owner.devices if name in (None, d.name, d.device_id.hex())]
    if len(found) != 1:
        names = ", ".join(device.name for device in owner.devices)
        raise UsageError(
            f"{owner.name} has the devices {names}", hint="choose one of them with --device"
        )
    return found[0]


def _open_readers(
    owner: OwnerWays, device: MemberDevice, stack: contextlib.ExitStack
) -> tuple[list[tuple[Way, Reader]], list[str]]:
    readers, failures = [], []
    for way in owner.ways:
        try:
            channel = way.open()
            reader = Reader(channel, way.me, way.holder.key, owner.member.key, device.device_id)
        except BlockrepError as error:
            failures.append(error.message)
            continue
        readers.append((way, stack.enter_context(reader)))
    return readers, failures


def _open_views(
    readers: list[tuple[Way, Reader]],
    epoch: Epoch,
    folder: Path,
    stack: contextlib.ExitStack,
    failures: list[str],
) -> tuple[list[EpochSource], list[str]]:
    """The epoch at those that have it, pinned there, and their names."""
    sources: list[EpochSource] = []
    names: list[str] = []
    for way, reader in readers:
        if all(held.epoch.id != epoch.id for held in reader.epochs):
            continue
        try:
            reader.pin(epoch.id, PIN_S)
            sources.append(stack.enter_context(reader.view(epoch.id, folder)))
        except BlockrepError as error:
            failures.append(error.message)
            continue
        names.append(way.holder.name)
    return sources, names


def _choose_epoch(
    owner: str, readers: list[tuple[Way, Reader]], text: str | None, failures: list[str]
) -> Epoch:
    epochs = {held.epoch.id: held.epoch for _, reader in readers for held in reader.epochs}
    found = [e for e in epochs.values() if text is None or _is_meant(e, text)]
    if not found:
        what = "an epoch" if text is None else f"epoch {text}"
        reasons = f" ({'; '.join(failures)})" if failures else ""
        raise NoSuchEpoch(f"nobody who answers has {what} of {owner}{reasons}")
    if text is not None and len(found) > 1:
        ids = ", ".join(epoch.id.hex() for epoch in found)
        raise UsageError(
            f"there are several epochs {text}: {ids}", hint="give the beginning of the id"
        )
    return max(found, key=lambda epoch: (epoch.number, epoch.time_s))


def _behind(newest: Epoch, signed: int) -> list[str]:
    """What is to be said where holders have signed for a later epoch than anybody shows."""
    if newest.number >= signed:
        return []
    return [
        f"epoch {newest.number} is the newest that is shown, but a holder has signed for epoch "
        f"{signed}: it does not answer, or has lost it, or hides it"
    ]


def _is_meant(epoch: Epoch, text: str) -> bool:
    if text.isascii() and text.isdigit() and len(text) < 19 and epoch.number == int(text):
        return True
    # An id may begin with digits alone.
    return len(text) >= 8 and epoch.id.hex().startswith(text.lower())
