"""Being an owner again with nothing but its recovery key and the address of a holder.

Nothing that is sent before is believed: the escrow opens with the right key alone and names the
group, the document has that id, and who sent it is a member of it (docs/group-format.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.agent.dialling import CONNECT_S, Line, connect
from blockrep.agent.exchange import ANSWER_S, call
from blockrep.errors import BlockrepError, PeerNotTrusted, PeerUnreachable, RecoveryKeyWrong
from blockrep.group.calls import build_document_call, read_document_reply
from blockrep.group.document import Document, make_document
from blockrep.group.escrow import Secrets, unwrap_secrets
from blockrep.group.identity import Identity, new_identity
from blockrep.group.membership import view_group
from blockrep.group.merge import merge
from blockrep.group.recovery_key import RecoveryKeys, derive_recovery
from blockrep.group.section import Member
from blockrep.group.tls import client_context, expect_peer, peer_key
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.greeting import Self, greet, hello_of
from blockrep.transfer.messages import Hello
from blockrep.transfer.wire import Purpose

A_HOLDER = "the holder"
NO_INSTANCE = bytes(16)


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

    `RecoveryKeyWrong` when no member of that group has this key, `PeerUnreachable`.
    """
    group_id = _ask_group(address)
    keys = derive_recovery(recovery_text, group_id)
    document = _ask_document(address, keys)
    for member in make_document(document.founding, document.sections).sections:
        for place in member.member.addresses:
            try:
                document = merge(document, _ask_document(place, keys)).document
                break
            except BlockrepError:
                continue  # it may be gone: that is what recovery is for
    return recover_in(document, keys)


def recover_in(document: Document, keys: RecoveryKeys) -> Recovered:
    """The owner of these keys in a document; `RecoveryKeyWrong` when it has none."""
    for section in document.sections:
        recovery = section.member.recovery
        if recovery is None or recovery.key != keys.identity.key:
            continue
        secrets = unwrap_secrets(recovery.escrow, keys.wrap_key)
        if secrets.identity.key == section.key:
            return Recovered(document, section.member, secrets, keys)
    raise RecoveryKeyWrong("no member of this group has this recovery key")


def dial_as_owner(recovered: Recovered, holder: Member, purpose: Purpose) -> Line:
    """A greeted connection to a holder, with the recovery identity."""
    channel = open_as_owner(recovered, holder)
    try:
        return Line(channel, greet(channel, recovered.me, purpose, holder.key))
    except BaseException:
        channel.close()
        raise


def open_as_owner(recovered: Recovered, holder: Member) -> Channel:
    """A connection to a holder, with the recovery identity, on which nothing was said yet."""
    identity, group_id = recovered.keys.identity, recovered.document.group_id
    failure: BlockrepError = PeerUnreachable(f"{holder.name} has told no address")
    for address in holder.addresses:
        context = client_context(identity, holder.certificate)
        try:
            sock = connect(address, holder.name, context, group_id, CONNECT_S)
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


def _ask_group(address: str) -> bytes:
    """The id of the group of whoever listens there: it is the salt of the recovery key."""
    sock = connect(address, A_HOLDER, client_context(None), None, CONNECT_S)
    with Channel(sock, serving=False, name=A_HOLDER) as channel:
        stranger = _self(bytes(16), new_identity())
        channel.post(Kind.HELLO, hello_of(stranger, Purpose.JOIN))
        return Hello.parse(channel.receive(ANSWER_S).body).group_id


def _ask_document(address: str, keys: RecoveryKeys) -> Document:
    """The document of the member at `address`; `PeerNotTrusted` when it is not a member's."""
    context = client_context(keys.identity)
    sock = connect(address, A_HOLDER, context, keys.group_id, CONNECT_S)
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
