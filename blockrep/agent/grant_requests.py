"""What somebody at this machine grants, denies, and takes back; none of it leaves the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from blockrep.agent.local_lines import Document
from blockrep.agent.reports import find_owner
from blockrep.agent.seat import Seat
from blockrep.agent.world import World, maybe_text, text_of, texts_of
from blockrep.errors import NotAMember, UsageError
from blockrep.group.grants import Act, Grants
from blockrep.group.membership import View, view_group
from blockrep.group.own_section import approving
from blockrep.group.rights import may_write, readable_owners, takeable_owners

SHORTEST_KEY = 8


class GrantRequests:
    """Each method is a verb."""

    def __init__(self, world: World) -> None:
        self._world = world

    def verbs(self) -> dict[str, Callable[[Document], Document]]:
        return {
            "group-grant": self.grant,
            "group-withdraw": self.withdraw,
            "group-deny": self.deny,
            "group-allow": self.allow,
        }

    def grant(self, arguments: Document) -> Document:
        """To a member of now: whoever is none gains nothing by it."""
        seat = self._seat(arguments)
        member = _find(seat, text_of(arguments, "member"))
        view = seat.group.view
        if member not in view.members:
            raise NotAMember(f"{view.name(member)} is not a member of the group")
        _check_other(seat, member)
        if _is_remove(arguments):
            return self._grant_remove(seat, member)
        owner = _find(seat, text_of(arguments, "owner"))
        _check_other(seat, owner)
        if member == owner:
            raise UsageError(f"{view.name(owner)} may restore its own replicas anyway")
        pair = frozenset({(member, owner)})
        self._change(seat, lambda grants: replace(grants, restore=grants.restore | pair))
        return self._done(seat, f"{view.name(member)} may restore {view.name(owner)} from here")

    def _grant_remove(self, seat: Seat, member: bytes) -> Document:
        """Whom it has removed is out at once; who is a member by their word alone stays by ours,
        the granted one itself above all.
        """
        key, view = frozenset({member}), seat.group.view
        after = view_group(view.document, view.me, seat.group.grants.removers | key)
        hanging = [k for k in view.members if k not in after.members and k not in after.removed]
        if hanging:
            seat.group.say(approving(*hanging))
        self._change(seat, lambda grants: replace(grants, removers=grants.removers | key))
        return self._done(seat, f"whom {seat.group.view.name(member)} removes is removed here too")

    def withdraw(self, arguments: Document) -> Document:
        """From anybody, also from who is no member any more; `UsageError` where it has no grant."""
        seat = self._seat(arguments)
        member, before = _find(seat, text_of(arguments, "member")), seat.group.grants
        if _is_remove(arguments):
            key = frozenset({member})
            self._change(seat, lambda grants: replace(grants, removers=grants.removers - key))
        else:
            pair = frozenset({(member, _find(seat, text_of(arguments, "owner")))})
            self._change(seat, lambda grants: replace(grants, restore=grants.restore - pair))
        name = seat.group.view.name(member)
        if seat.group.grants == before:
            raise UsageError(f"{name} has no such grant here", hint="`blockrep group show`")
        return self._done(seat, f"a grant of {name} was withdrawn")

    def deny(self, arguments: Document) -> Document:
        seat, owner, acts = self._denial(arguments)
        _check_other(seat, owner)
        pairs = frozenset((owner, act) for act in acts)
        self._change(seat, lambda grants: replace(grants, denied=grants.denied | pairs))
        return self._done(seat, f"denied for {seat.group.view.name(owner)}: {', '.join(acts)}")

    def allow(self, arguments: Document) -> Document:
        """Take a denial back; `UsageError` where there is none."""
        seat, owner, acts = self._denial(arguments)
        pairs, name = frozenset((owner, act) for act in acts), seat.group.view.name(owner)
        missing = sorted(act for _, act in pairs - seat.group.grants.denied)
        if missing:
            raise UsageError(f"not denied for {name} here: {', '.join(missing)}")
        self._change(seat, lambda grants: replace(grants, denied=grants.denied - pairs))
        return self._done(seat, f"allowed again for {name}: {', '.join(acts)}")

    def _denial(self, arguments: Document) -> tuple[Seat, bytes, list[Act]]:
        seat = self._seat(arguments)
        owner = _find(seat, text_of(arguments, "owner"))
        texts = texts_of(arguments, "acts") or []
        known = tuple(Act)
        if not texts or not all(text in known for text in texts):
            raise UsageError(f"what can be denied is: {', '.join(known)}")
        return seat, owner, [Act(text) for text in dict.fromkeys(texts)]

    def _seat(self, arguments: Document) -> Seat:
        return self._world.seats.pick(maybe_text(arguments, "group"))

    def _change(self, seat: Seat, change: Callable[[Grants], Grants]) -> None:
        before = seat.group.grants
        seat.group.change_grants(change)
        self._cut(seat, before)

    def _cut(self, seat: Seat, before: Grants) -> None:
        """A connection has the rights that it began with: who has fewer now begins again."""
        view, grants = seat.group.view, seat.group.grants
        for connection in self._world.listener.connections():
            if connection.key is None or connection.group_id != seat.group.group_id:
                continue
            if _rights(view, before, connection.key) - _rights(view, grants, connection.key):
                connection.cut()

    def _done(self, seat: Seat, text: str) -> Document:
        self._world.log.notice(f"group {seat.group.name}: {text}")
        return {"grants": grants_document(seat)}


def grants_document(seat: Seat) -> Document:
    """What was granted and denied here, as people and programs are shown it."""
    view, grants = seat.group.view, seat.group.grants
    return {
        "remove": _sorted(
            {"member": _name(view, k), "member_key": k.hex()} for k in grants.removers
        ),
        "restore": _sorted(
            {
                "member": _name(view, member),
                "member_key": member.hex(),
                "owner": _name(view, owner),
                "owner_key": owner.hex(),
            }
            for member, owner in grants.restore
        ),
        "denied": _sorted(
            {"owner": _name(view, owner), "owner_key": owner.hex(), "act": act.value}
            for owner, act in grants.denied
        ),
    }


def _sorted(rows: Iterable[Document]) -> list[Document]:
    return sorted(rows, key=lambda row: tuple(row.values()))


def _name(view: View, key: bytes) -> str:
    """Empty for a key that the document does not have."""
    section = view.document.section(key)
    return section.member.name if section else ""


def _find(seat: Seat, name: str) -> bytes:
    """The key of a member, of one who was, or of one that only the grants still know."""
    grants = seat.group.grants
    try:
        return find_owner(seat, name).key
    except NotAMember:
        keys = {*grants.removers, *(k for pair in grants.restore for k in pair)}
        keys |= {owner for owner, _ in grants.denied}
        found = [key for key in keys if _is_called(seat.group.view, key, name)]
        if len(found) != 1:
            raise
        return found[0]


def _is_called(view: View, key: bytes, name: str) -> bool:
    begins = len(name) >= SHORTEST_KEY and key.hex().startswith(name.lower())
    return begins or _name(view, key) == name


def _is_remove(arguments: Document) -> bool:
    """Whether it is about removing, else about restoring."""
    right = text_of(arguments, "right")
    if right not in ("remove", "restore"):
        raise UsageError("what can be granted is: remove, restore")
    return right == "remove"


def _check_other(seat: Seat, key: bytes) -> None:
    if key == seat.group.identity.key:
        raise UsageError("grants and denials are for the other members, not for this machine")


def _rights(view: View, grants: Grants, key: bytes) -> frozenset[tuple[Act, bytes]]:
    """What a connection was let in for; a segment is assigned by the grants of then."""
    rights = {(Act.RESTORE, owner) for owner in readable_owners(view, grants, key)}
    rights |= {(Act.TAKEOVER, owner) for owner in takeable_owners(view, grants, key)}
    return frozenset(rights | {(Act.WRITE, key)} if may_write(view, grants, key) else rights)
