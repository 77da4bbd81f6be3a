"""What restore, mount and extract ask of the agent: who holds a replica, and a way to read it.

The command reads and checks the replica itself, with the protocol between machines, through a
tunnel of the local socket: to a segment of this machine, or with this machine's key to another
holder.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from functools import partial

from blockrep.agent.dialling import CONNECT_S, connect, group_by_id, introduce
from blockrep.agent.local_lines import Document
from blockrep.agent.local_server import Tunnel
from blockrep.agent.receipts import load_receipts
from blockrep.agent.reports import find_owner
from blockrep.agent.seat import Seat
from blockrep.agent.world import World, key_of, maybe_text, text_of
from blockrep.errors import BlockrepError, NotAMember, PeerUnreachable
from blockrep.group.document import build_document
from blockrep.group.section import Member
from blockrep.group.tls import expect_peer
from blockrep.segment.epoch import parse_epoch
from blockrep.transfer.channel import Channel
from blockrep.transfer.greeting import answer_greeting
from blockrep.transfer.hold import HolderSession
from blockrep.transfer.stores import Holder, Peer

PIECE_BYTES = 256 << 10
THIS_MACHINE = "this machine"


class ReplicaRequests:
    """Each method is a verb."""

    def __init__(self, world: World) -> None:
        self._world = world

    def verbs(self) -> dict[str, Callable[[Document], Document | Tunnel]]:
        return {"replica": self.replica, "replica-read": self.read}

    def replica(self, arguments: Document) -> Document:
        """The owner, who may hold its replicas, and of our own disks the data keys."""
        seat = self._world.seats.pick(maybe_text(arguments, "group"))
        owner = find_owner(seat, text_of(arguments, "owner"))
        group = seat.group
        document = group.document
        if document is None:
            raise NotAMember("the group document has not come back yet")
        keys = {
            device.keys.device_id.hex(): device.keys.data_key.hex()
            for device in group.devices
            if device.keys is not None and owner.key == group.identity.key
        }
        here = [store.info.device_id.hex() for store in seat.holdings.of_owner(owner.key)]
        return {
            "owner_key": owner.key.hex(),
            "me": group.identity.key.hex(),
            "instance": group.devices[0].area.instance_id.hex(),
            "held_here": here,
            "signed": self._signed(owner),
            "devices": [str(device.path) for device in self._world.devices],
            "data_keys": keys,
            "document": build_document(document).decode(),
        }

    def _signed(self, owner: Member) -> dict[str, int]:
        """The newest epoch of each device that a holder has signed for to this machine."""
        folder = self._world.config.state_dir
        return {
            device.device_id.hex(): max(
                (parse_epoch(r.record).number for r in load_receipts(folder, device.device_id)),
                default=0,
            )
            for device in owner.devices
        }

    def read(self, arguments: Document) -> Tunnel:
        """A connection to a holder, not greeted yet; this machine's own name is one as well."""
        seat = self._world.seats.pick(maybe_text(arguments, "group"))
        owner = find_owner(seat, text_of(arguments, "owner"))
        key = key_of(arguments, "holder")
        if key == seat.group.identity.key:
            return Tunnel({}, partial(self._serve_here, seat, owner))
        holder = seat.group.view.members.get(key)
        if holder is None:
            raise NotAMember("the holder is not a member of the group")
        return _relay_to(seat, holder)

    def _serve_here(self, seat: Seat, owner: Member, client: socket.socket) -> None:
        """As a peer is served that may read this owner's replica, and nothing else."""
        identity = seat.group.identity
        # The channel ends with its socket; the server closes the one that it has.
        channel = Channel(client.dup(), serving=True, name=THIS_MACHINE)
        peer = Peer(identity.key, THIS_MACHINE, False, frozenset({owner.key}))
        holder = Holder(identity.key, identity.sign, lambda key: False, self._world.clock)
        try:
            greeting = answer_greeting(channel, introduce(seat.group), identity.key)
            HolderSession(channel, greeting, peer, seat.holdings, seat.writers, holder).run()
        except BlockrepError as error:
            channel.end(error)


def _relay_to(seat: Seat, holder: Member) -> Tunnel:
    context = seat.group.client_context(holder)
    server_name = group_by_id(seat.group.group_id)
    failure: BlockrepError = PeerUnreachable(f"{holder.name} has told no address")
    for address in holder.addresses:
        try:
            far = connect(address, holder.name, context, server_name, CONNECT_S)
        except BlockrepError as error:
            failure = error
            continue
        expect_peer(far, holder.key)
        return Tunnel({}, partial(_relay, far))
    raise failure


def _relay(far: ssl.SSLSocket, near: socket.socket) -> None:
    """Carry bytes both ways until either side closes. One direction waits for the other."""
    with far:
        near.setblocking(True)
        far.setblocking(True)
        while True:
            ready = [far] if far.pending() else select.select([near, far], [], [])[0]
            for source in ready:
                goal: socket.socket = far if source is near else near
                data = source.recv(PIECE_BYTES)
                if not data:
                    with contextlib.suppress(OSError):
                        goal.shutdown(socket.SHUT_WR)
                    return
                goal.sendall(data)
