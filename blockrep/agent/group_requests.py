"""The requests of `blockrep group`."""

from __future__ import annotations

from collections.abc import Callable

from blockrep.agent.coming_back import come_back
from blockrep.agent.exchange import exchange_with
from blockrep.agent.grant_requests import grants_document
from blockrep.agent.jobs import Job
from blockrep.agent.joining import (
    Joined,
    Newcomer,
    found,
    join,
    put_on_disks,
    take_off_disk,
)
from blockrep.agent.local_lines import Document
from blockrep.agent.seat import Seat
from blockrep.agent.world import World, key_of, maybe_text, text_of, texts_of
from blockrep.errors import BlockrepError, NotAMember, UsageError
from blockrep.group.invite import LIFE_S, build_code, parse_code
from blockrep.group.membership import left_hanging
from blockrep.group.own_section import leaving, removing
from blockrep.group.section import Member
from blockrep.group.state import forget_group

Answer = Document | Job


class GroupRequests:
    """Each method is a verb: arguments in, document or job out."""

    def __init__(self, world: World) -> None:
        self._world = world

    def verbs(self) -> dict[str, Callable[[Document], Answer]]:
        return {
            "group-create": self.create,
            "group-join": self.join,
            "group-invite": self.invite,
            "group-approve": self.approve,
            "group-refuse": self.refuse,
            "group-remove": self.remove,
            "group-leave": self.leave,
            "group-recovery": self.recovery,
            "group-show": self.show,
        }

    def create(self, arguments: Document) -> Document:
        newcomer = self._newcomer(arguments)
        joined = found(newcomer, text_of(arguments, "name"))
        return self._sit_down(newcomer, joined)

    def join(self, arguments: Document) -> Job:
        """With the code of a group that this machine is in and knows no more, ask for it again."""
        newcomer, code = self._newcomer(arguments), text_of(arguments, "code")
        lost = self._lost_seat(parse_code(code).group_id)

        def work(job: Job) -> Document:
            if lost is None:
                return self._sit_down(newcomer, join(newcomer, code, job))
            come_back(lost.group, parse_code(code))
            self._world.refresh(lost)
            return {**group_document(lost), "came_back": True}

        return self._world.jobs.start("join", "", work)

    def invite(self, arguments: Document) -> Document:
        seat = self._seat(arguments)
        addresses = self._world.addresses()
        if not addresses:
            raise UsageError(
                "this machine has no address that others could reach",
                hint="set `addresses` in its settings",
            )
        invitation = seat.invite(addresses[0])
        return {"invitation": {"code": build_code(invitation), "minutes": LIFE_S // 60}}

    def approve(self, arguments: Document) -> Document:
        seat = self._seat(arguments)
        key = key_of(arguments, "key")
        seat.approve(key, text_of(arguments, "short_code"))
        return group_document(seat)

    def refuse(self, arguments: Document) -> Document:
        seat = self._seat(arguments)
        seat.refuse(bytes.fromhex(text_of(arguments, "key")))
        return group_document(seat)

    def remove(self, arguments: Document) -> Document:
        """Whoever is a member by the removed one's word alone is one by ours from now on."""
        seat = self._seat(arguments)
        member = self._member(seat, text_of(arguments, "member"))
        hanging = left_hanging(seat.group.view, member.key, seat.group.grants.removers)
        adopted = [seat.group.view.members[key] for key in hanging]
        seat.group.say(removing(member.key, hanging))
        self._world.log.notice(f"{member.name} was removed from {seat.group.name}")
        for one in adopted:
            self._world.log.notice(f"{one.name}, whom {member.name} had approved, stays a member")
        removed = {**_short(member), "adopted": [_short(one) for one in adopted]}
        return {**group_document(seat), "removed": removed}

    def leave(self, arguments: Document) -> Document:
        """Say goodbye to whoever answers, then forget the group. Segments keep what they hold."""
        seat = self._seat(arguments)
        others = seat.group.others()
        seat.group.say(leaving)
        for member in others:
            try:
                exchange_with(seat.group, member)
            except BlockrepError as error:
                self._world.log.info(error.message)
        self._world.seats.remove(seat)
        for device in seat.group.devices:
            take_off_disk(device)
        forget_group(self._world.config.state_dir, seat.group.group_id)
        return {}

    def recovery(self, arguments: Document) -> Document:
        seat = self._seat(arguments)
        seat.group.set_recovery(text_of(arguments, "key"))
        return {}

    def show(self, arguments: Document) -> Document:
        return group_document(self._seat(arguments))

    def _lost_seat(self, group_id: bytes) -> Seat | None:
        found = (seat for seat in self._world.seats if seat.group.group_id == group_id)
        return next((seat for seat in found if seat.group.document is None), None)

    def _seat(self, arguments: Document) -> Seat:
        return self._world.seats.pick(maybe_text(arguments, "group"))

    def _newcomer(self, arguments: Document) -> Newcomer:
        paths = texts_of(arguments, "devices")
        world = self._world
        devices = world.free_devices() if paths is None else world.find_devices(paths)
        return Newcomer(world.config.name, devices, arguments.get("encrypt") is not False)

    def _sit_down(self, newcomer: Newcomer, joined: Joined) -> Document:
        put_on_disks(newcomer, joined)
        seat = self._world.take_seat(newcomer.devices)
        seat.group.adopt(joined.document)
        self._world.refresh(seat)
        return group_document(seat)

    def _member(self, seat: Seat, name: str) -> Member:
        member = seat.group.view.find(name)
        if member is None:
            raise NotAMember(f"there is no member {name!r}, or more than one")
        return member


def group_document(seat: Seat) -> Document:
    """The group as people and programs are shown it."""
    group = seat.group
    view = group.view
    shown = sorted((*view.members.values(), *view.left.values()), key=lambda m: m.name)
    waiting = [
        {"key": claim.key.hex(), "name": claim.section.member.name, "short_code": claim.code}
        for claim in seat.waiting()
    ]
    members = [_member_document(member, group.identity.key) for member in shown]
    return {
        "group": {
            "name": group.name,
            "id": group.group_id.hex(),
            "members": members,
            "waiting": waiting,
            "proposals": [
                {"by": _short(view.members[said.by]), "member": _short(view.members[said.key])}
                for said in view.proposals
            ],
            "grants": grants_document(seat),
        }
    }


def _short(member: Member) -> Document:
    return {"name": member.name, "key": member.key.hex()}


def _member_document(member: Member, me: bytes) -> Document:
    return {
        "name": member.name,
        "key": member.key.hex(),
        "addresses": list(member.addresses),
        "me": member.key == me,
        "left": member.left,
        "recovery": member.recovery is not None,
        "devices": [
            {
                "id": device.device_id.hex(),
                "name": device.name,
                "content_bytes": device.content_bytes,
                "disk_bytes": device.disk_bytes,
                "encrypted": device.encrypted,
            }
            for device in member.devices
        ],
    }
