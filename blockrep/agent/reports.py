"""What the agent tells of protection: `status` and `history`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from blockrep.agent.held_device import HeldDevice
from blockrep.agent.holdings import HeldSegment
from blockrep.agent.jobs import Job, JobState
from blockrep.agent.local_lines import Document
from blockrep.agent.receipts import load_receipts
from blockrep.agent.replicas import HeldEpoch, Replica, ask_holders
from blockrep.agent.seat import Seat
from blockrep.agent.world import World, maybe_text, text_of
from blockrep.errors import NotAMember
from blockrep.group.section import Member
from blockrep.segment.epoch import Epoch, parse_epoch
from blockrep.units import format_duration

# Beside the original (spec, S48); a group of two can have only one.
WANTED_REPLICAS = 2
_DAY_S = 86_400


class Reports:
    """Each method is a verb."""

    def __init__(self, world: World) -> None:
        self._world = world

    def verbs(self) -> dict[str, Callable[[Document], Document]]:
        return {"status": self.status, "history": self.history}

    def status(self, arguments: Document) -> Document:
        name = maybe_text(arguments, "group")
        seats = list(self._world.seats) if name is None else [self._world.seats.pick(name)]
        problems = [
            f"{device.path} is in no group: nothing of it is protected"
            for device in self._world.free_devices()
        ]
        devices: list[Document] = []
        held: list[Document] = []
        for seat in seats:
            held += [_held_document(segment) for segment in seat.holdings.segments]
            devices += self._devices(seat, problems)
            problems += _held_problems(seat)
        return {
            "status": {
                "member": self._world.config.name,
                "groups": [seat.group.name for seat in seats],
                "devices": devices,
                "held": held,
                "jobs": [asdict(view) for view in self._world.jobs.views()],
                "problems": problems,
            }
        }

    def _devices(self, seat: Seat, problems: list[str]) -> list[Document]:
        group = seat.group
        problems += group.loud.values()
        if group.document is None:
            problems.append(
                f"the document of the group {group.name} is lost: `blockrep group invite` on "
                "another member gives a code, with which `blockrep group join` here fetches it"
            )
            return []
        if not group.has_recovery():
            problems.append(
                f"there is no recovery key in the group {group.name}: nothing of this machine "
                "counts as protected (`blockrep group recovery-key`)"
            )
        found = []
        for device in group.devices:
            replicas = self._replicas(seat, device)
            receipts = self._receipts(device)
            problems += self._device_problems(device, replicas)
            found.append(
                {
                    "path": str(device.path),
                    "group": group.name,
                    "device_id": _id_of(device).hex(),
                    "content_bytes": device.area.first_end_bytes,
                    "replicas": [
                        _replica_document(replica, receipts.get(replica.holder.key))
                        for replica in replicas
                    ],
                }
            )
        return found

    def _replicas(self, seat: Seat, device: HeldDevice) -> list[Replica]:
        others = seat.group.others()
        return ask_holders(seat, seat.group.identity.key, [_id_of(device)], others)

    def _receipts(self, device: HeldDevice) -> dict[bytes, Epoch]:
        """What each holder has signed last, for the time when it does not answer."""
        folder = self._world.config.state_dir
        found = load_receipts(folder, _id_of(device))
        return {receipt.holder_key: parse_epoch(receipt.record) for receipt in found}

    def _device_problems(self, device: HeldDevice, replicas: list[Replica]) -> Iterator[str]:
        stale_s = self._world.config.stale_hours * 3600
        job = self._world.jobs.last_ended("backup", str(device.path))
        missed = _missed(job) if job is not None else {}
        good = 0
        receipts = self._receipts(device)
        for replica in replicas:
            problem = _problem(replica, stale_s, receipts.get(replica.holder.key))
            if not problem and replica.holder.key.hex() in missed:
                reason = missed[replica.holder.key.hex()]
                yield f"{device.path}: the last backup did not reach {reason}"
            if problem:
                yield f"{device.path} at {replica.holder.name}: {problem}"
            good += bool(replica.newest) and not problem
        wanted = min(WANTED_REPLICAS, len(replicas))
        if job is not None and job.view().state is JobState.FAILED:
            yield f"{device.path}: the last backup failed: {job.view().reason}"
        if not replicas:
            yield f"{device.path}: there is no other member that could hold it"
        elif good < wanted:
            yield f"{device.path}: {good} good replicas, at least {wanted} are wanted"

    def history(self, arguments: Document) -> Document:
        seat = self._world.seats.pick(maybe_text(arguments, "group"))
        owner = find_owner(seat, text_of(arguments, "owner"))
        holders = list(seat.group.view.members.values())
        ids = [device.device_id for device in owner.devices]
        replicas = ask_holders(seat, owner.key, ids, holders)
        failures = {f"{r.holder.name}: {r.failure or r.damage}"
                    for r in replicas if r.failure or r.damage}  # fmt: skip
        devices = [
            {
                "id": device.device_id.hex(),
                "name": device.name,
                "epochs": _epochs([r for r in replicas if r.device_id == device.device_id]),
            }
            for device in owner.devices
        ]
        return {
            "history": {
                "owner": owner.name,
                "key": owner.key.hex(),
                "devices": devices,
                "unreachable": sorted(failures),
            }
        }


def find_owner(seat: Seat, name: str) -> Member:
    """A member, or who was one: by name, or by the beginning of its key."""
    view = seat.group.view
    member = view.find(name)
    if member is not None:
        return member
    gone = [*view.left.values(), *view.removed.values()]
    named = [m for m in gone if m.name == name or m.key.hex().startswith(name.lower())]
    if len(named) != 1:
        raise NotAMember(f"there is no member {name!r}, or more than one")
    return named[0]


def _id_of(device: HeldDevice) -> bytes:
    return device.keys.device_id if device.keys is not None else bytes(16)


def _missed(job: Job) -> dict[str, str]:
    """The holders that a backup did not reach, by key: name and reason."""
    if job.view().state is not JobState.DONE:
        return {}
    return {
        holder["key"]: _named_reason(holder)
        for holder in job.result()["backup"]["holders"]
        if not holder["committed"]
    }


def _named_reason(holder: Document) -> str:
    """Why a holder has no receipt; what it said itself begins with its name."""
    name, reason = str(holder["name"]), str(holder["reason"])
    return reason if reason.startswith(name) else f"{name}: {reason}"


def _problem(replica: Replica, stale_s: int, signed: Epoch | None) -> str:
    """Why a replica does not count as good; empty for a good one, and for none at all.

    `signed` is the epoch of the newest receipt of this holder.
    """
    if replica.failure:
        return replica.failure
    if replica.damage:
        return f"damaged: {replica.damage}"
    newest = replica.newest
    if signed is not None and (newest is None or newest.epoch.number < signed.number):
        shown = f"epoch {newest.epoch.number} as its newest" if newest else "none"
        return f"it has signed for epoch {signed.number}, and shows {shown}"
    if newest is None:
        return ""
    age_s = int(time.time()) - newest.epoch.time_s
    if age_s > stale_s:
        return f"stale, {format_duration(age_s)} old"
    return "" if newest.epoch.consistent else "not consistent"


def _replica_document(replica: Replica, signed: Epoch | None) -> Document:
    newest = replica.newest
    note = replica.failure or replica.damage or ("" if newest else "no replica")
    document: Document = {
        "holder": replica.holder.name,
        "holder_key": replica.holder.key.hex(),
        "epoch": 0,
        "time_s": 0,
        "consistent": False,
        "encrypted": False,
        "versions": None,
        "history_days": None,
        "note": note,
    }
    if newest is not None:
        document |= {
            "epoch": newest.epoch.number,
            "time_s": newest.epoch.time_s,
            "consistent": newest.epoch.consistent,
            "encrypted": newest.epoch.encrypted,
            "versions": len(replica.epochs) - 1,
            "history_days": _history_days(replica.epochs),
        }
    elif replica.failure and signed is not None:
        # What it has signed it had; whether it still has it, it will have to say.
        document |= {
            "epoch": signed.number,
            "time_s": signed.time_s,
            "consistent": signed.consistent,
            "encrypted": signed.encrypted,
        }
    return document


def _history_days(epochs: tuple[HeldEpoch, ...]) -> float | None:
    times = [held.epoch.time_s for held in epochs]
    return (max(times) - min(times)) / _DAY_S if len(times) > 1 else None


def _held_document(segment: HeldSegment) -> Document:
    info = segment.info
    document: Document = {
        "disk": str(segment.device.path),
        "number": segment.number,
        "capacity_bytes": segment.capacity_bytes,
        "owner": "",
        "owner_key": "",
        "epoch": 0,
        "time_s": 0,
        "state": f"damaged: {segment.damage}",
    }
    if info is None:
        return document
    document |= {"state": info.state.name.lower(), "owner": info.owner_name}
    document["owner_key"] = info.owner_key.hex()
    if info.damage:
        document["state"] = f"damaged: {info.damage}"
    if info.epoch is not None:
        epoch = parse_epoch(info.epoch)
        document |= {"epoch": epoch.number, "time_s": epoch.time_s}
    return document


def _held_problems(seat: Seat) -> Iterator[str]:
    for segment in seat.holdings.segments:
        info = segment.info
        damage = segment.damage if info is None else info.damage
        place = f"segment {segment.number} of {segment.device.path}"
        if damage:
            yield f"{place} is damaged: {damage}"
        if info is not None and info.doubt:
            yield f"{place}: {info.doubt}"


def _epochs(replicas: list[Replica]) -> list[Document]:
    """Each epoch once, the newest first, with who has it."""
    holders: dict[bytes, list[str]] = {}
    known: dict[bytes, HeldEpoch] = {}
    for replica in replicas:
        for held in replica.epochs:
            known[held.epoch.id] = held
            holders.setdefault(held.epoch.id, []).append(replica.holder.name)
    ordered = sorted(known.values(), key=lambda h: (h.epoch.number, h.epoch.time_s), reverse=True)
    return [
        {
            "number": held.epoch.number,
            "id": held.epoch.id.hex(),
            "time_s": held.epoch.time_s,
            "consistent": held.epoch.consistent,
            "encrypted": held.epoch.encrypted,
            "stored_bytes": held.epoch.stored_bytes,
            "content_bytes": held.epoch.content_bytes,
            "holders": holders[held.epoch.id],
        }
        for held in ordered
    ]
