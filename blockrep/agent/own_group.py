"""This machine as a member of one group: its key, its disks in it, the document, whom it trusts.

Every change is durable before it is relied on: the counter on the disks, then the document in the
state folder, and only then do others hear of it.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from blockrep.agent.held_device import HeldDevice
from blockrep.agent.log import Log
from blockrep.disk.area_keys import NO_WRAP_KEY, AreaKeys
from blockrep.errors import InternalError, NotAMember, RecordDamaged, RecoveryKeyWrong
from blockrep.group.calls import Exchanged, answer_member, read_exchange
from blockrep.group.document import Document, make_document
from blockrep.group.escrow import Secrets, keep_devices, unwrap_secrets, wrap_secrets
from blockrep.group.grants import Grants
from blockrep.group.identity import Identity, device_of, identity_of
from blockrep.group.key_record import change_keys, reserve_counter
from blockrep.group.membership import View, trusted_certificates, view_group
from blockrep.group.merge import LOUD, Event, EventKind, OwnKey, merge
from blockrep.group.own_section import Change, amend, approving
from blockrep.group.recovery_key import derive_recovery
from blockrep.group.section import MAX_MEMBERS, Member, MemberDevice, Recovery, Section
from blockrep.group.state import load_document, load_grants, save_document, save_grants
from blockrep.group.tls import client_context, server_context

_NO_ROOM = b""  # in `loud`, instead of a key


class OwnGroup:
    """One membership. Safe from every thread; `on_change` is called after each change,
    and told whether this machine has said it."""

    def __init__(
        self,
        folder: Path,
        devices: Sequence[HeldDevice],
        log: Log,
        on_change: Callable[[bool], None],
    ) -> None:
        """`devices` are all those whose area record names this group and member.

        `RecordDamaged` when their keys do not belong together.
        """
        self._folder = folder
        self._log = log
        self._on_change = on_change
        self._lock = threading.RLock()
        self.devices = tuple(devices)
        self.identity: Identity = identity_of(self._keys())
        self.group_id = self._keys().group_id
        self.name = self._keys().group_name
        self.loud: dict[bytes, str] = {}
        self._document = self._load()
        self._grants = load_grants(folder, self.group_id)
        self._view: View | None = None
        self._server: ssl.SSLContext | None = None

    # ---- what is known

    @property
    def document(self) -> Document | None:
        """None while it has been lost and no member has answered."""
        return self._document

    @property
    def grants(self) -> Grants:
        return self._grants

    @property
    def view(self) -> View:
        """The group as this machine sees it; `NotAMember` while the document is lost."""
        with self._lock:
            if self._document is None:
                raise NotAMember(f"the document of the group {self.name} has not come back yet")
            if self._view is None:
                self._view = view_group(self._document, self.identity.key, self._grants.removers)
            return self._view

    @property
    def me(self) -> Member | None:
        """What this machine has said last."""
        section = self._document and self._document.section(self.identity.key)
        return section.member if section else None

    def others(self) -> list[Member]:
        """The other members, by name."""
        members = self.view.members.values()
        return sorted((m for m in members if m.key != self.identity.key), key=lambda m: m.name)

    def has_recovery(self) -> bool:
        """Whether the owner's keys outlive this machine."""
        me = self.me
        return me is not None and me.recovery is not None

    def device(self, device_id: bytes) -> HeldDevice | None:
        """The disk with this id in the group."""
        found = (d for d in self.devices if d.keys is not None and d.keys.device_id == device_id)
        return next(found, None)

    def server_context(self) -> ssl.SSLContext:
        """For who connects; made again when the members have changed."""
        with self._lock:
            if self._server is None:
                self._server = server_context(self.identity, trusted_certificates(self.view))
            return self._server

    def client_context(self, member: Member) -> ssl.SSLContext:
        """For a connection to this member alone."""
        return client_context(self.identity, member.certificate)

    def escrow(self) -> bytes:
        """What holders keep for whoever has the recovery key; empty while there is none."""
        me = self.me
        return me.recovery.escrow if me is not None and me.recovery is not None else b""

    # ---- what changes

    def adopt(self, document: Document) -> None:
        """Begin with this document: that of a group just founded or joined."""
        with self._lock:
            self._replace(document)
        self._on_change(True)

    def bring_back(self, document: Document) -> None:
        """Have a document again that was lost; what others signed with our key is noticed."""
        with self._lock:
            nothing = make_document(document.founding, [])
            merged = merge(nothing, document, self._own())
            self._take(merged.document, merged.events)
        self._on_change(True)

    def answer(self, who: bytes, call: bytes) -> bytes:
        """The REPLY to a CALL of a member or a recovery identity; its news are kept before."""
        with self._lock:
            found = answer_member(call, who, self._known(), self._own(), self._grants)
            changed = self._take(found.document, found.events)
        if found.refusal:
            self._log.warning(f"group {self.name}: {found.refusal}")
        if changed:
            self._on_change(False)
        return found.reply

    def learn(self, reply: bytes) -> Exchanged:
        """What a member has answered to `exchange`; its news are kept."""
        with self._lock:
            found = read_exchange(reply, self._known(), self._own())
            changed = self._take(found.merged.document, found.merged.events)
        if changed:
            self._on_change(False)
        return found

    def welcome(self, section: Section) -> None:
        """Approve a joiner: its section and ours that says so come into the document together."""
        with self._lock:
            own = self._own()
            amended = self._amended(approving(section.key))
            joiner = make_document(amended.founding, [section])
            merged = merge(amended, joiner, own)
            self._take(merged.document, merged.events)
        self._on_change(True)

    def say(self, change: Change) -> None:
        """Sign and keep the next section of this machine."""
        with self._lock:
            self._replace(self._amended(change))
        self._on_change(True)

    def change_grants(self, change: Callable[[Grants], Grants]) -> None:
        """Keep what somebody at this machine grants or denies. Whose removing counts decides who
        is a member."""
        with self._lock:
            changed = change(self._grants)
            if changed == self._grants:
                return
            save_grants(self._folder, self.group_id, changed)
            self._grants = changed
            self._view = None
            self._server = None
        self._on_change(False)

    def refresh(self, name: str, addresses: tuple[str, ...]) -> None:
        """Say again what has changed about this machine itself, if anything has."""
        with self._lock:
            me = self.me
            if me is None or me.left:
                return
            wanted = replace(
                me,
                name=name,
                addresses=addresses,
                devices=self._member_devices(me.devices),
                recovery=self._recovery(me.recovery),
            )
            if wanted != me:
                self.say(lambda member: wanted)

    def set_recovery(self, text: str) -> None:
        """From now on this recovery key opens what belongs to this machine."""
        keys = derive_recovery(text, self.group_id)
        with self._lock:
            secrets = self._with_lost_devices()
            for device in self.devices:
                _put_wrap_key(device, keys.wrap_key)
            escrow = wrap_secrets(secrets, keys.wrap_key)
            recovery = Recovery(keys.identity.key, keys.identity.certificate, escrow)
            self.say(lambda member: replace(member, recovery=recovery))

    # ---- below

    def _known(self) -> Document:
        if self._document is None:
            raise NotAMember(f"the document of the group {self.name} has not come back yet")
        return self._document

    def _own(self) -> OwnKey:
        return OwnKey(self.identity.key, self._counter())

    def _amended(self, change: Change) -> Document:
        """With our next section, whose counter is on the disks before it is signed."""
        document = self._known()
        section = document.section(self.identity.key)
        counter = self._reserve(section.counter + 1 if section else 1)
        return amend(document, self.identity, counter, int(time.time()), change)

    def _take(self, document: Document, events: Iterable[Event]) -> bool:
        """Keep a merged document and tell what was odd; whether it was new."""
        for event in events:
            self._note(event)
        if len(document.sections) < MAX_MEMBERS:
            self.loud.pop(_NO_ROOM, None)
        if document == self._document:
            return False
        self._replace(document)
        return True

    def _keys(self) -> AreaKeys:
        keys = self.devices[0].keys
        if keys is None:
            raise InternalError(f"{self.devices[0].path} is in no group")
        return keys

    def _load(self) -> Document | None:
        try:
            return load_document(self._folder, self.group_id)
        except RecordDamaged as error:
            # The members have it too.
            self._log.error(f"group {self.name}: {error.message}; it is asked for again")
            return None

    def _counter(self) -> int:
        return max(d.keys.counter for d in self.devices if d.keys is not None)

    def _reserve(self, least: int) -> int:
        """On every disk, so that whichever is left knows what was signed."""
        counter = max(least, self._counter() + 1)
        work = partial(reserve_counter, at_least=counter)
        return max(device.change_record(work) for device in self.devices)

    def _replace(self, document: Document) -> None:
        save_document(self._folder, document)
        self._document = document
        self._view = None
        self._server = None

    def _note(self, event: Event) -> None:
        text = f"group {self.name}: {event.text}"
        if event.kind in LOUD:
            # Whom there is no room for are as many as somebody likes to make up.
            key = _NO_ROOM if event.kind is EventKind.NO_ROOM else event.key
            self.loud[key] = event.text
            self._log.error(text)
        else:
            self.loud.pop(event.key, None)
            self._log.notice(text)

    def _member_devices(self, said: Sequence[MemberDevice]) -> tuple[MemberDevice, ...]:
        """Those that are here, and those that were said before: one may still be brought back."""
        here = tuple(_member_device(device) for device in self.devices)
        ids = {device.device_id for device in here}
        return (*(device for device in said if device.device_id not in ids), *here)

    def _recovery(self, present: Recovery | None) -> Recovery | None:
        """As it is, or with a new escrow when the disks are not those that it has."""
        before = self._opened(present)
        if present is None or before is None:
            return present
        secrets = keep_devices(self._secrets(), before)
        if before == secrets:
            return present
        return replace(present, escrow=wrap_secrets(secrets, self._keys().wrap_key))

    def _with_lost_devices(self) -> Secrets:
        """Our secrets, and what the escrow has of disks that are not here: their replicas are."""
        before = self._opened(self.me.recovery if self.me is not None else None)
        return self._secrets() if before is None else keep_devices(self._secrets(), before)

    def _opened(self, recovery: Recovery | None) -> Secrets | None:
        """What an escrow of ours has; None where the key on the disk is not its own.

        That is so in an old document, and when a change of the recovery key was cut: the disk
        has the new one, and whoever changes it again, or the members' newer document, helps.
        """
        wrap_key = self._keys().wrap_key
        if recovery is None or wrap_key == NO_WRAP_KEY:
            return None
        try:
            return unwrap_secrets(recovery.escrow, wrap_key)
        except RecoveryKeyWrong:
            return None

    def _secrets(self) -> Secrets:
        me = self.me
        return Secrets(
            group_id=self.group_id,
            identity=self.identity,
            owner_name=me.name if me else self._keys().member_name,
            group_name=self.name,
            devices=tuple(device_of(d.keys) for d in self.devices if d.keys is not None),
        )


def _member_device(device: HeldDevice) -> MemberDevice:
    area, keys = device.area, device.keys
    if keys is None:
        raise InternalError(f"{device.path} is in no group")
    return MemberDevice(
        device_id=keys.device_id,
        instance_id=area.instance_id,
        name=device.path.name[-32:],
        content_bytes=area.first_end_bytes,
        disk_bytes=area.disk_bytes,
        encrypted=keys.encrypted,
    )


def _put_wrap_key(device: HeldDevice, wrap_key: bytes) -> None:
    keys = device.keys
    if keys is None:
        raise InternalError(f"{device.path} is in no group")
    changed = replace(keys, wrap_key=wrap_key)
    device.change_record(lambda d, at: change_keys(d, at, changed))
