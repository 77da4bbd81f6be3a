"""Who is a member: decided by each machine for itself, from the document and its own grants.

The rules are in docs/group-format.md: approvals lead from the founder and from oneself to everybody
else; removing by others counts only where they were granted it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from blockrep.group.document import Document
from blockrep.group.section import Member


@dataclass(frozen=True, slots=True)
class Proposal:
    """Member `by` has removed `key`, which has no effect here."""

    by: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class View:
    """The group as the member `me` sees it.

    `members` has everybody who takes part, also `me`. `recovering` says whose replicas a recovery
    identity may restore: those of members, of those who left, and of those who were removed.
    """

    document: Document
    me: bytes
    members: dict[bytes, Member]
    left: dict[bytes, Member]
    removed: dict[bytes, Member]
    proposals: tuple[Proposal, ...]
    recovering: dict[bytes, frozenset[bytes]] = field(repr=False)

    def name(self, key: bytes) -> str:
        """What to call this key in a message."""
        section = self.document.section(key)
        return f"{section.member.name if section else 'a stranger'} ({key.hex()[:16]}…)"

    def find(self, name_or_key: str) -> Member | None:
        """The member with this name, or whose key begins so (8 hex digits at least); None where
        there is none or more than one.
        """
        wanted = name_or_key.lower().rstrip("…")
        named = [m for m in self.members.values() if m.name == name_or_key]
        keyed = [m for m in self.members.values() if m.key.hex().startswith(wanted)]
        found = named or (keyed if len(wanted) >= 8 else [])
        return found[0] if len(found) == 1 else None


def view_group(document: Document, me: bytes, removers: Iterable[bytes] = ()) -> View:
    """The group as `me` sees it; `removers` are those whom it has granted `remove`."""
    known = {s.key: s.member for s in document.sections}
    banned = _banned(known, me, removers)
    reached = _reached(document, known, me, banned)
    members = {k: known[k] for k in reached if not known[k].left}
    left = {k: known[k] for k in reached if known[k].left}
    withdrawn = {k for by in reached for k in known[by].removed if k in known[by].approved}
    removed = {k: known[k] for k in known if k in banned | withdrawn and k not in reached}
    restorable = {**members, **left, **removed}
    return View(
        document=document,
        me=me,
        members=members,
        left=left,
        removed=removed,
        proposals=_proposals(members),
        recovering=_recovering(restorable),
    )


def trusted_certificates(view: View) -> list[bytes]:
    """Whom a server lets speak: the members, and the recovery identities of the owners."""
    members = [m.certificate for m in view.members.values()]
    owners = (*view.members.values(), *view.left.values(), *view.removed.values())
    return members + [m.recovery.certificate for m in owners if m.recovery is not None]


def left_hanging(view: View, key: bytes, removers: Iterable[bytes] = ()) -> tuple[bytes, ...]:
    """The members, but for `key`, that would be none any more if `me` removed it."""
    known = {s.key: s.member for s in view.document.sections}
    banned = _banned(known, view.me, removers) | {key}
    reached = _reached(view.document, known, view.me, banned)
    return tuple(k for k in view.members if k not in reached and k != key)


def _banned(known: dict[bytes, Member], me: bytes, removers: Iterable[bytes]) -> frozenset[bytes]:
    mine = frozenset(known[me].removed) if me in known else frozenset()
    granted = (r for r in removers if r in known and r not in mine)
    return mine.union(*(known[r].removed for r in granted)) - {me}


def _reached(
    document: Document, known: dict[bytes, Member], me: bytes, banned: frozenset[bytes]
) -> dict[bytes, None]:
    """Over approvals that stand: not of somebody removed, not withdrawn by who gave them."""
    roots = (me, document.founding.founder)
    reached = {key: None for key in roots if key in known and key not in banned}
    waiting = list(reached)
    while waiting:
        member = known[waiting.pop()]
        stand = (k for k in member.approved if k not in member.removed)
        for key in stand:
            if key in known and key not in banned and key not in reached:
                reached[key] = None
                waiting.append(key)
    return reached


def _proposals(members: dict[bytes, Member]) -> tuple[Proposal, ...]:
    return tuple(
        Proposal(by, key) for by, m in members.items() for key in m.removed if key in members
    )


def _recovering(owners: dict[bytes, Member]) -> dict[bytes, frozenset[bytes]]:
    found: dict[bytes, set[bytes]] = {}
    for key, member in owners.items():
        if member.recovery is not None:
            found.setdefault(member.recovery.key, set()).add(key)
    return {key: frozenset(owned) for key, owned in found.items()}
