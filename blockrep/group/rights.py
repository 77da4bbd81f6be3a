"""Who may do what to whose replica here. Pure: the view of the group, the grants, the question.

The table is in docs/group-format.md. A refusal has a reason that says who asked for what; the
caller logs it and sends it.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.group.grants import Act, Grants
from blockrep.group.membership import View

# Codes of docs/wire-protocol.md.
ALLOWED = 0
NOT_A_MEMBER = 3
NO_RIGHT = 4
ANOTHER_WRITER = 6


@dataclass(frozen=True, slots=True)
class Question:
    """May the holder of the key `who` do `act` to the replica of `device_id` of `owner`?

    `instance_id` is what HELLO said; it counts for writing only.
    """

    who: bytes
    act: Act
    owner: bytes
    device_id: bytes
    instance_id: bytes = bytes(16)


@dataclass(frozen=True, slots=True)
class Decision:
    """`code` is 0, or the error of the wire protocol; `reason` is a sentence for log and peer."""

    code: int
    reason: str

    @property
    def allowed(self) -> bool:
        return self.code == ALLOWED


def decide(view: View, grants: Grants, question: Question) -> Decision:
    """Whether this is allowed."""
    asked = f"{view.name(question.who)} asked to {question.act} {view.name(question.owner)}"
    if question.who not in view.members and question.who not in view.recovering:
        return Decision(NOT_A_MEMBER, f"{asked}, but is not a member of the group")
    if (question.owner, question.act) in grants.denied:
        return Decision(NO_RIGHT, f"{asked}, which is denied at this machine")
    if question.act in (Act.WRITE, Act.ASSIGN):
        return _may_write(view, question, asked)
    return _may_read(view, grants, question, asked)


def may_write(view: View, grants: Grants, key: bytes) -> bool:
    """Whether a connection with this key can be for writing at all; each segment is asked again."""
    return key in view.members and (key, Act.WRITE) not in grants.denied


def readable_owners(view: View, grants: Grants, key: bytes) -> frozenset[bytes]:
    """Whose replicas a connection with this key may read."""
    granted = {owner for who, owner in grants.restore if who == key and key in view.members}
    denied = {owner for owner, act in grants.denied if act is Act.RESTORE}
    return (owners_of(view, key) | granted) - denied


def takeable_owners(view: View, grants: Grants, key: bytes) -> frozenset[bytes]:
    """For whose replicas a connection with this key may name another writer."""
    denied = {owner for owner, act in grants.denied if act is Act.TAKEOVER}
    return owners_of(view, key) - denied


def owners_of(view: View, key: bytes) -> frozenset[bytes]:
    """Whose owner this key can be: a member its own, a recovery identity that of its owner."""
    own = frozenset({key}) if key in view.members else frozenset()
    return own | view.recovering.get(key, frozenset())


def _may_write(view: View, question: Question, asked: str) -> Decision:
    member = view.members.get(question.who)
    if member is None or question.who != question.owner:
        return Decision(NO_RIGHT, f"{asked}: only the owner itself writes its replica")
    device = member.device(question.device_id)
    if device is None:
        return Decision(NO_RIGHT, f"{asked}, but its section does not list this device")
    if device.instance_id != question.instance_id:
        return Decision(
            ANOTHER_WRITER,
            f"{asked}, but from another instance of the disk than its section names: a copy, or "
            "one that was brought back; `blockrep takeover` makes it the writer",
        )
    return Decision(ALLOWED, asked)


def _may_read(view: View, grants: Grants, question: Question, asked: str) -> Decision:
    """Restoring and taking over: the owner, its recovery key, or who was granted it here."""
    if question.owner in owners_of(view, question.who):
        return Decision(ALLOWED, asked)
    granted = question.who in view.members and (question.who, question.owner) in grants.restore
    if question.act is Act.RESTORE and granted:
        return Decision(ALLOWED, f"{asked}, as was granted at this machine")
    return Decision(NO_RIGHT, f"{asked}: that takes the owner's key or recovery key")
