"""Ways to an owner's replicas: over the agent of this machine, or with the recovery key alone.

With an agent the group document is at hand, and a tunnel to each holder. Without one a recovery key
and the address of a holder are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from blockrep.agent.local_client import LocalClient
from blockrep.agent.local_lines import Document as Answer
from blockrep.agent.recovering import Recovered, open_as_owner, recover_from, recover_in
from blockrep.errors import NotAMember, RecoveryKeyWrong
from blockrep.group.document import Document, parse_document
from blockrep.group.membership import view_group
from blockrep.group.recovery_key import derive_recovery
from blockrep.group.section import Member
from blockrep.progress import Progress, Silent
from blockrep.transfer.channel import Channel
from blockrep.transfer.greeting import Self


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
class Way:
    """How to reach a holder: an open channel and what to say over it."""

    holder: Member
    me: Self
    open: Callable[[], Channel]


@dataclass(frozen=True, slots=True)
class OwnerWays:
    """An owner, how to reach those who may hold its replicas, and the keys of its devices."""

    member: Member
    ways: list[Way]
    data_key: Callable[[bytes], bytes | None]
    own_devices: tuple[Path, ...] = ()
    # By device: the newest epoch that a holder has signed for to this machine, if it is the owner.
    signed: Mapping[bytes, int] = field(default_factory=dict)


def find_ways(place: Path, wanted: Wanted, progress: Progress) -> OwnerWays:
    """Where the replica that is wanted may be, the preferred holder first. Nothing is opened yet.

    `place` is the socket of the agent. `AgentUnreachable`, `PeerUnreachable`, `RecoveryKeyWrong`,
    `NotAMember`.
    """
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


def _by_recovery(recovered: Recovered, wanted: Wanted) -> OwnerWays:
    _check_owner(recovered.owner, wanted.owner)
    ways = [
        Way(holder, recovered.me, partial(open_as_owner, recovered, holder))
        for holder in recovered.holders()
    ]
    return OwnerWays(recovered.owner, ways, lambda device_id: _key_of(recovered, device_id))


def _by_agent(place: Path, wanted: Wanted, answer: Answer, asked: dict[str, Any]) -> OwnerWays:
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
            ways.append(Way(holder, recovered.me, partial(open_as_owner, recovered, holder)))
        else:
            ways.append(Way(holder, own, partial(_tunnel, place, holder, asked)))
    # What lies on this machine needs no network.
    ways.sort(key=lambda way: way.holder.key != me)

    def data_key(device_id: bytes) -> bytes | None:
        if recovered is not None:
            return _key_of(recovered, device_id)
        text = answer["data_keys"].get(device_id.hex())
        return bytes.fromhex(text) if text is not None else None

    devices = tuple(Path(path) for path in answer["devices"])
    signed = {bytes.fromhex(device): int(number) for device, number in answer["signed"].items()}
    return OwnerWays(section.member, ways, data_key, devices, signed)


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
        client.ask("replica-read", {**asked, "holder": holder.key.hex()}, Silent())
        return Channel(client.detach(), serving=False, name=holder.name)


def _check_owner(owner: Member, name: str) -> None:
    if name != owner.name and not owner.key.hex().startswith(name.lower()):
        raise RecoveryKeyWrong(f"this recovery key is that of {owner.name}, not of {name}")


def _key_of(recovered: Recovered, device_id: bytes) -> bytes | None:
    keys = recovered.secrets.device(device_id)
    return keys.data_key if keys is not None else None
