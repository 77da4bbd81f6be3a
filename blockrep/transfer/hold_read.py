"""A holder gives out a replica: purpose 2 of the wire protocol, one frame after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blockrep.errors import NoSuchEpoch, PeerRefused, ProtocolError
from blockrep.segment.epoch import parse_epoch
from blockrep.segment.reader import EpochReader
from blockrep.segment.store import Store
from blockrep.transfer.bulk import Data, Read, encode_blocks
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Frame, Kind
from blockrep.transfer.greeting import Greeting
from blockrep.transfer.hold_write import QUEUED_BYTES, post_map, state_of
from blockrep.transfer.messages import Epochs, ListedEpoch, MapGet, Pin, Select
from blockrep.transfer.stores import Peer, StoreDirectory
from blockrep.transfer.takeover import Takeover


class ReadSession:
    """One member reads one replica. Errors are told to it by whoever calls `handle`."""

    def __init__(
        self, channel: Channel, greeting: Greeting, peer: Peer, stores: StoreDirectory
    ) -> None:
        self._channel = channel
        self._nonce = greeting.nonce
        self._peer = peer
        self._stores = stores
        self._store: Store
        self._selected: Select
        self._view: tuple[bytes, bool, EpochReader] | None = None
        self._handlers: dict[Kind, Callable[[Frame], None]] = {
            Kind.SELECT: self._on_select,
            Kind.PIN: self._on_pin,
            Kind.MAP_GET: self._on_map_get,
            Kind.READ: self._on_read,
            Kind.ESCROW_GET: self._on_escrow_get,
            Kind.TAKEOVER: self._on_takeover,
        }

    def handle(self, frame: Frame) -> None:
        """One frame; the conversation has let through only what may come now."""
        self._handlers[frame.kind](frame)

    def close(self) -> None:
        self._view = None

    def _on_select(self, frame: Frame) -> None:
        asked = Select.parse(frame.body)
        if asked.owner_key not in self._peer.may_read:
            raise PeerRefused(f"{self._peer.name} has no right to read this replica")
        store = self._stores.find(asked.owner_key, asked.device_id)
        if store is None:
            raise NoSuchEpoch("there is no replica of this device here")
        self._store, self._selected = store, asked
        listed = (ListedEpoch(e.record, e.present, e.locked) for e in store.epochs())
        self._channel.post(Kind.EPOCHS, Epochs(tuple(listed)).build())

    def _on_pin(self, frame: Frame) -> None:
        pin = Pin.parse(frame.body)
        granted = self._store.pin(pin.epoch_id, pin.seconds)
        self._channel.post(Kind.PINNED, replace(pin, seconds=granted).build())

    def _on_map_get(self, frame: Frame) -> None:
        post_map(self._channel, self._store, MapGet.parse(frame.body))

    def _on_read(self, frame: Frame) -> None:
        asked = Read.parse(frame.body)
        self._channel.wait_for_room(QUEUED_BYTES)
        encrypted, view = self._view_of(asked.epoch_id)
        read = view.read([(item.chunk, item.blocks) for item in asked.items])
        items = tuple(
            item._replace(damaged=damaged)
            for item, damaged in zip(asked.items, read.damaged, strict=True)
        )
        encoded = encode_blocks(read.blocks, packable=not encrypted)
        self._channel.post(Kind.DATA, *Data(items, encoded).build())

    def _view_of(self, epoch_id: bytes) -> tuple[bool, EpochReader]:
        """The epoch that was read last stays open: the next READ is most likely of it."""
        if self._view is None or self._view[0] != epoch_id:
            records = (parse_epoch(e.record) for e in self._store.epochs())
            epoch = next((e for e in records if e.id == epoch_id), None)
            if epoch is None:
                raise NoSuchEpoch(f"there is no epoch {epoch_id.hex()} here")
            self._view = (epoch_id, epoch.encrypted, self._store.view(epoch_id))
        return self._view[1], self._view[2]

    def _on_escrow_get(self, frame: Frame) -> None:
        self._channel.post(Kind.ESCROW, self._store.escrow())

    def _on_takeover(self, frame: Frame) -> None:
        """The owner key is what counts: it may be a new machine that has it from the escrow."""
        asked = Takeover.parse(frame.body)
        if (asked.owner_key, asked.device_id) != (
            self._selected.owner_key,
            self._selected.device_id,
        ):
            raise ProtocolError("a takeover of another replica than the selected one")
        if asked.owner_key not in self._peer.may_take_over:
            raise PeerRefused(f"{self._peer.name} has no right to take over this replica")
        asked.verify(self._nonce)
        self._store.set_writer(asked.writer)
        self._channel.post(Kind.STATE, state_of(self._store.info).build())
