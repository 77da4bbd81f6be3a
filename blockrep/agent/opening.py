"""A replica opened to be read, by a command: over the agent of this machine, or without any.

With an agent the group document is at hand. Without one a recovery key and the address of a holder
are enough.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from blockrep.agent.local_client import LocalClient
from blockrep.agent.local_lines import Document as Answer
from blockrep.agent.recovering import Recovered, open_as_owner, recover_from, recover_in
from blockrep.errors import (
    BlockrepError,
    NoSuchEpoch,
    NotAMember,
    PeerUnreachable,
    RecoveryKeyWrong,
    UsageError,
)
from blockrep.group.document import Document, parse_document
from blockrep.group.membership import view_group
from blockrep.group.recovery_key import derive_recovery
from blockrep.group.section import Member, MemberDevice
from blockrep.progress import Progress
from blockrep.segment.epoch import Epoch
from blockrep.transfer.channel import Channel
from blockrep.transfer.fetch import Reader
from blockrep.transfer.greeting import Self
from blockrep.transfer.source import EpochSource

PIN_S = 86_400


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which replica. `holder` is a member's name, or with `recovery_key` HOST:PORT as well.

    `epoch` is a number, or the beginning of an id; None: the newest.
    """

    owner: str
    device: str | None = None
    holder: str | None = None
    epoch: str | None = None
    group: str | None = None
    recovery_key: str | None = None


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


@dataclass(frozen=True, slots=True)
class _Way:
    """How to reach a holder: an open channel and what to say over it."""

    holder: Member
    me: Self
    open: Callable[[], Channel]


@dataclass(frozen=True, slots=True)
class _Owner:
    member: Member
    ways: list[_Way]
    data_key: Callable[[bytes], bytes | None]
    own_devices: tuple[Path, ...] = ()


@contextlib.contextmanager
def open_replica(
    place: Path, wanted: Wanted, folder: Path, progress: Progress
) -> Iterator[OpenedReplica]:
    """Open the epoch that is wanted at all holders that have it.

    `place` is the socket of the agent; `folder` keeps the maps meanwhile. `NoSuchEpoch`,
    `PeerUnreachable`, `RecoveryKeyWrong`, `NotAMember`.
    """
    owner = _find(place, wanted, progress)
    device = _choose_device(owner.member, wanted.device)
    with contextlib.ExitStack() as stack:
        readers, failures = _open_readers(owner, device, stack)
        epoch = _choose_epoch(owner.member.name, readers, wanted.epoch, failures)
        sources: list[EpochSource] = []
        names: list[str] = []
        for way, reader in readers:
            if all(held.epoch.id != epoch.id for held in reader.epochs):
                continue
            try:
                reader.pin(epoch.id, PIN_S)
                view = stack.enter_context(reader.view(epoch.id, folder))
            except BlockrepError as error:
                failures.append(error.message)
                continue
            sources.append(view)
            names.append(way.holder.name)
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


def _find(place: Path, wanted: Wanted, progress: Progress) -> _Owner:
    progress.phase("looking for holders")
    if wanted.recovery_key is not None and wanted.holder is not None and ":" in wanted.holder:
        recovered = recover_from(wanted.holder, wanted.recovery_key)
        owner = _by_recovery(recovered, wanted)
        at = wanted.holder
        owner.ways.sort(key=lambda way: at not in way.holder.addresses)
        return owner
    asked: dict[str, Any] = {"owner": wanted.owner}
    if wanted.group is not None:
        asked["group"] = wanted.group
    with LocalClient(place) as client:
        answer = client.ask("replica", asked, progress)
    owner = _by_agent(place, wanted, answer, asked)
    if wanted.holder is not None:
        found = [way for way in owner.ways if wanted.holder in _names(way.holder)]
        if not found:
            raise NotAMember(f"there is no member {wanted.holder!r} that could hold it")
        owner.ways[:] = found
    return owner


def _names(member: Member) -> tuple[str, ...]:
    return member.name, member.key.hex()


def _by_recovery(recovered: Recovered, wanted: Wanted) -> _Owner:
    _check_owner(recovered.owner, wanted.owner)
    ways = [
        _Way(holder, recovered.me, partial(open_as_owner, recovered, holder))
        for holder in recovered.holders()
    ]
    return _Owner(recovered.owner, ways, lambda device_id: _key_of(recovered, device_id))


def _by_agent(place: Path, wanted: Wanted, answer: Answer, asked: dict[str, Any]) -> _Owner:
    document = parse_document(str(answer["document"]).encode())
    me = bytes.fromhex(answer["me"])
    owner_key = bytes.fromhex(answer["owner_key"])
    section = document.section(owner_key)
    if section is None:
        raise NotAMember(f"the group knows no {wanted.owner!r}")
    own = Self(document.group_id, bytes.fromhex(answer["instance"]), me)
    recovered = _maybe_recovered(document, wanted)
    ways = []
    for holder in _members(document, me):
        if holder.key == me:
            if not answer["held_here"]:
                continue
        elif holder.key == owner_key:
            continue
        if recovered is not None and holder.key != me:
            ways.append(_Way(holder, recovered.me, partial(open_as_owner, recovered, holder)))
        else:
            ways.append(_Way(holder, own, partial(_tunnel, place, holder, asked)))
    # What lies on this machine needs no network.
    ways.sort(key=lambda way: way.holder.key != me)

    def data_key(device_id: bytes) -> bytes | None:
        if recovered is not None:
            return _key_of(recovered, device_id)
        text = answer["data_keys"].get(device_id.hex())
        return bytes.fromhex(text) if text is not None else None

    devices = tuple(Path(path) for path in answer["devices"])
    return _Owner(section.member, ways, data_key, devices)


def _members(document: Document, me: bytes) -> list[Member]:
    members = view_group(document, me).members.values()
    return sorted(members, key=lambda member: member.name)


def _maybe_recovered(document: Document, wanted: Wanted) -> Recovered | None:
    if wanted.recovery_key is None:
        return None
    recovered = recover_in(document, derive_recovery(wanted.recovery_key, document.group_id))
    _check_owner(recovered.owner, wanted.owner)
    return recovered


def _tunnel(place: Path, holder: Member, asked: dict[str, Any]) -> Channel:
    with LocalClient(place) as client:
        client.ask("replica-read", {**asked, "holder": holder.key.hex()}, _Nobody())
        return Channel(client.detach(), serving=False, name=holder.name)


class _Nobody:
    """Progress that nobody follows."""

    def phase(self, name: str, total_bytes: int = 0) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        pass

    def check(self) -> None:
        pass


def _check_owner(owner: Member, name: str) -> None:
    if name != owner.name and not owner.key.hex().startswith(name.lower()):
        raise RecoveryKeyWrong(f"this recovery key is that of {owner.name}, not of {name}")


def _key_of(recovered: Recovered, device_id: bytes) -> bytes | None:
    keys = recovered.secrets.device(device_id)
    return keys.data_key if keys is not None else None


def _choose_device(owner: Member, name: str | None) -> MemberDevice:
    found = [d for d in owner.devices if name in (None, d.name, d.device_id.hex())]
    if len(found) != 1:
        names = ", ".join(device.name for device in owner.devices)
        raise UsageError(
            f"{owner.name} has the devices {names}", hint="choose one of them with --device"
        )
    return found[0]


def _open_readers(
    owner: _Owner, device: MemberDevice, stack: contextlib.ExitStack
) -> tuple[list[tuple[_Way, Reader]], list[str]]:
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


def _choose_epoch(
    owner: str, readers: list[tuple[_Way, Reader]], text: str | None, failures: list[str]
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


def _is_meant(epoch: Epoch, text: str) -> bool:
    if text.isascii() and text.isdigit() and len(text) < 19 and epoch.number == int(text):
        return True
    # An id may begin with digits alone.
    return len(text) >= 8 and epoch.id.hex().startswith(text.lower())
