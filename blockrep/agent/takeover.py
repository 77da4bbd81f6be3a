"""`takeover` and `accept`: what somebody decides about who writes, and how much."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from blockrep.agent.held_device import HeldDevice
from blockrep.agent.jobs import Job
from blockrep.agent.joining import take_off_disk
from blockrep.agent.local_lines import Document
from blockrep.agent.recovering import Recovered, open_as_owner, recover_from
from blockrep.agent.reports import find_owner
from blockrep.agent.seat import Seat
from blockrep.agent.world import World, maybe_text, text_of
from blockrep.errors import (
    BlockrepError,
    NoSuchEpoch,
    NotAMember,
    PeerUnreachable,
    UsageError,
)
from blockrep.group.identity import DeviceKeys, area_keys
from blockrep.group.key_record import put_keys
from blockrep.group.section import Member, MemberDevice
from blockrep.transfer.fetch import Reader


class TakeoverRequests:
    """Each method is a verb."""

    def __init__(self, world: World) -> None:
        self._world = world

    def verbs(self) -> dict[str, Callable[[Document], Document | Job]]:
        return {"takeover": self.takeover, "accept": self.accept}

    def accept(self, arguments: Document) -> Document:
        """Let one oversize epoch of an owner in, on each of its segments here."""
        seat = self._world.seats.pick(maybe_text(arguments, "group"))
        owner = find_owner(seat, text_of(arguments, "owner"))
        wanted = maybe_text(arguments, "device")
        count = 0
        for device in owner.devices:
            store = seat.holdings.find(owner.key, device.device_id)
            if store is not None and wanted in (None, device.name, device.device_id.hex()):
                store.accept_oversize_once()
                count += 1
        if not count:
            raise UsageError(f"there is no such segment of {owner.name} here")
        self._world.log.notice(f"one oversize epoch of {owner.name} was accepted")
        return {"accept": {"owner": owner.name, "segments": count}}

    def takeover(self, arguments: Document) -> Job:
        """Make a disk of this agent that is in no group the writer of an owner's replicas."""
        text = maybe_text(arguments, "recovery_key")
        if text is None:
            raise UsageError(
                "taking over needs the owner's recovery key",
                hint="give the file that it is in with --recovery-key-file",
            )
        device = self._new_disk()
        address = self._address(arguments)
        owner = text_of(arguments, "owner")
        name = maybe_text(arguments, "device")

        def work(job: Job) -> Document:
            job.phase(f"asking {address}")
            recovered = recover_from(address, text)
            _check_owner(recovered, owner)
            taken = _choose_device(recovered, name)
            return self._take_over(recovered, taken, device, job)

        return self._world.jobs.start("takeover", owner, work)

    def _new_disk(self) -> HeldDevice:
        free = self._world.free_devices()
        if len(free) != 1:
            raise UsageError(
                f"the agent has {len(free)} disks that are in no group; one is to take over",
                hint="divide the restored disk, and give it to the agent",
            )
        return free[0]

    def _address(self, arguments: Document) -> str:
        """The holder that was named, or a member of a group that this machine is in."""
        given = maybe_text(arguments, "holder")
        if given is not None:
            return given
        for seat in self._world.seats:
            for member in seat.group.others():
                if member.addresses:
                    return member.addresses[0]
        raise UsageError("this machine is in no group", hint="name a holder with --from HOST:PORT")

    def _take_over(
        self, recovered: Recovered, taken: MemberDevice, device: HeldDevice, job: Job
    ) -> Document:
        lines = []
        for holder in recovered.holders():
            job.phase(f"telling {holder.name}")
            lines.append(_tell(recovered, holder, taken.device_id, device.area.instance_id))
        if not any(told for told, _ in lines):
            reasons = "; ".join(text for _, text in lines)
            raise PeerUnreachable(f"no holder could be told: {reasons}")
        self._sit_down(recovered, taken, device)
        return {"takeover": {"owner": recovered.owner.name, "lines": [text for _, text in lines]}}

    def _sit_down(self, recovered: Recovered, taken: MemberDevice, device: HeldDevice) -> None:
        """Become the member that the owner was, with this disk."""
        section = recovered.document.section(recovered.owner.key)
        keys = area_keys(
            recovered.secrets.identity,
            _device_keys(recovered, taken.device_id),
            group_id=recovered.document.group_id,
            group_name=recovered.document.founding.name,
            member_name=recovered.owner.name,
            joined_s=int(time.time()),
            counter=section.counter if section else 1,
            wrap_key=recovered.keys.wrap_key,
            encrypted=taken.encrypted,
        )
        device.change_record(partial(put_keys, keys=keys))
        try:
            seat = self._world.take_seat([device])
            seat.group.adopt(recovered.document)
        except BlockrepError:
            take_off_disk(device)
            raise
        self._refresh(seat)

    def _refresh(self, seat: Seat) -> None:
        self._world.refresh(seat)
        self._world.log.notice(f"this machine has taken over in the group {seat.group.name}")


def _check_owner(recovered: Recovered, name: str) -> None:
    owner = recovered.owner
    if name != owner.name and not owner.key.hex().startswith(name.lower()):
        raise NotAMember(f"this recovery key is that of {owner.name}, not of {name}")


def _choose_device(recovered: Recovered, name: str | None) -> MemberDevice:
    devices = [
        device
        for device in recovered.owner.devices
        if name in (None, device.name, device.device_id.hex())
    ]
    if len(devices) != 1:
        names = ", ".join(device.name for device in recovered.owner.devices)
        raise UsageError(f"the owner's devices are: {names}", hint="choose one with --device")
    return devices[0]


def _device_keys(recovered: Recovered, device_id: bytes) -> DeviceKeys:
    keys = recovered.secrets.device(device_id)
    if keys is None:
        raise UsageError("the recovery key is older than this device: its data key is not there")
    return keys


def _tell(
    recovered: Recovered, holder: Member, device_id: bytes, writer: bytes
) -> tuple[bool, str]:
    """Whether this holder takes the new writer, and a sentence about it."""
    owner = recovered.secrets.identity
    try:
        channel = open_as_owner(recovered, holder)
        with Reader(channel, recovered.me, holder.key, owner.key, device_id) as reader:
            reader.take_over(writer, owner.sign)
    except NoSuchEpoch:
        return False, f"{holder.name} has no replica."
    except BlockrepError as error:
        return False, f"{holder.name} could not be told: {error.message}"
    return True, f"{holder.name} takes epochs from this machine alone now."
