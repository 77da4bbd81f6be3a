"""Being an owner again with nothing but its recovery key and the address of a holder.

Nothing that is sent before is believed: the escrow opens with the right key alone and names the
group, the document has that id, and who sent it is a member of it (docs/group-format.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blockrep.agent.dialling import CONNECT_S, connect, group_by_id, group_by_number
from blockrep.agent.exchange import ANSWER_S, call
from blockrep.errors import (
    BlockrepError,
    PeerNotTrusted,
    PeerRefused,
    PeerUnreachable,
    RecoveryKeyWrong,
)
from blockrep.group.calls import build_document_call, read_document_reply
from blockrep.group.document import Document
from blockrep.group.escrow import Secrets, unwrap_secrets
from blockrep.group.identity import Identity, new_identity
from blockrep.group.membership import view_group
from blockrep.group.merge import merge
from blockrep.group.recovery_key import RecoveryKeys, check_recovery_text, derive_recovery
from blockrep.group.section import Member
from blockrep.group.tls import client_context, expect_peer, peer_key
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.greeting import Self, greet, hello_of
from blockrep.transfer.messages import Hello
from blockrep.transfer.wire import Purpose

A_HOLDER = "the holder"
NO_INSTANCE = bytes(16)
MAX_GROUPS = 16


@dataclass(frozen=True, slots=True)
class Recovered:
    """An owner: what it says of itself in the document, and its secrets."""

    document: Document
    owner: Member
    secrets: Secrets
    keys: RecoveryKeys

    @property
    def me(self) -> Self:
        """How the recovery identity introduces itself."""
        return _self(self.document.group_id, self.keys.identity)

    def holders(self) -> list[Member]:
        """The members that may hold its replicas."""
        members = view_group(self.document, self.owner.key).members.values()
        return sorted((m for m in members if m.key != self.owner.key), key=lambda m: m.name)


def recover_from(address: str, recovery_text: str) -> Recovered:
    """The owner of this recovery key, as the holder at `address` and all others know it.

    `RecoveryKeyWrong` when no member of a group of that holder has this key, `PeerUnreachable`.
    """
    check_recovery_text(recovery_text)  # what is mistyped is told before anybody is asked
    for group_id in _ask_groups(address):
        keys = derive_recovery(recovery_text, group_id)
        try:
            document = _ask_document(address, keys)
        except PeerRefused:
            continue  # nobody in this group has the key
        return recover_in(_highest(document, keys), keys)
    raise RecoveryKeyWrong(f"no member that {address} knows of has this recovery key")


def _highest(document: Document, keys: RecoveryKeys) -> Document:
    """With the news of every other member that answers."""
    for section in document.sections:
        for place in section.member.addresses:
            try:
                document = merge(document, _ask_document(place, keys)).document
                break
            except BlockrepError:
                continue  # it may be gone: that is what recovery is for
    return document


def recover_in(document: Document, keys: RecoveryKeys) -> Recovered:
    """The owner of these keys in a document; `RecoveryKeyWrong` when it has none."""
    failure: BlockrepError = RecoveryKeyWrong("no member of this group has this recovery key")
    for section in document.sections:
        recovery = section.member.recovery
        if recovery is None or recovery.key != keys.identity.key:
            continue
        # Any member can say that this recovery key is its own: only the owner's escrow opens.
        try:
            secrets = unwrap_secrets(recovery.escrow, keys.wrap_key)
        except BlockrepError as error:
            failure = error
            continue
        if secrets.identity.key == section.key:
            return Recovered(document, section.member, secrets, keys)
    raise failure


def open_as_owner(recovered: Recovered, holder: Member) -> Channel:
    """A connection to a holder, with the recovery identity, on which nothing was said yet."""
    identity, group_id = recovered.keys.identity, recovered.document.group_id
    failure: BlockrepError = PeerUnreachable(f"{holder.name} has told no address")
    for address in holder.addresses:
        context = client_context(identity, holder.certificate)
        try:
            sock = connect(address, holder.name, context, group_by_id(group_id), CONNECT_S)
        except BlockrepError as error:
            failure = error
            continue
        try:
            expect_peer(sock, holder.key)
        except BlockrepError:
            sock.close()
            raise
        return Channel(sock, serving=False, name=holder.name)
    raise failure


def _ask_groups(address: str) -> Iterator[bytes]:
    """The ids of the groups of whoever listens there: each is the salt of a recovery key."""
    known: set[bytes] = set()
    for number in range(MAX_GROUPS):
        group_id = _ask_group(address, number)
        if group_id in known:
            return  # past the last one the first one answers
        known.add(group_id)
        yield group_id


def _ask_group(address: str, number: int) -> bytes:
    name = group_by_number(number)
    sock = connect(address, A_HOLDER, client_context(None), name, CONNECT_S)
    with Channel(sock, serving=False, name=A_HOLDER) as channel:
        stranger = _self(bytes(16), new_identity())
        channel.post(Kind.HELLO, hello_of(stranger, Purpose.JOIN))
        return Hello.parse(channel.receive(ANSWER_S).body).group_id


def _ask_document(address: str, keys: RecoveryKeys) -> Document:
    """The document of the member at `address`; `PeerNotTrusted` when it is not a member's."""
    context = client_context(keys.identity)
    sock = connect(address, A_HOLDER, context, group_by_id(keys.group_id), CONNECT_S)
    with Channel(sock, serving=False, name=f"{A_HOLDER} at {address}") as channel:
        key = peer_key(sock) or b""
        greet(channel, _self(keys.group_id, keys.identity), Purpose.GROUP, key)
        document = read_document_reply(call(channel, build_document_call()), keys.group_id)
        channel.end()
    if key not in view_group(document, key).members:
        raise PeerNotTrusted(f"who answers at {address} is no member of its own document")
    return document


def _self(group_id: bytes, identity: Identity) -> Self:
    return Self(group_id, NO_INSTANCE, identity.key)
