"""A holder takes in an epoch: purpose 1 of the wire protocol, one frame after the other.

Everything that the owner names was capped by the parsers; here it is held against the segment. The
only way to the disk is the `Store` of this owner and device.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Sequence

from blockrep.chunks import BLOCK_BYTES, CHUNK_BLOCKS, chunk_count, map_pages
from blockrep.errors import (
    DoesNotFit,
    EpochRefused,
    OtherWriter,
    PeerRefused,
    ProtocolError,
)
from blockrep.segment.epoch import Epoch, parse_epoch, verify_epoch
from blockrep.segment.store import Store
from blockrep.segment.values import StoreInfo
from blockrep.transfer.bulk import Applied, Chunks, Compare, MapPages, Want, decode_blocks
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Frame, Kind
from blockrep.transfer.greeting import Greeting
from blockrep.transfer.messages import Begin, MapGet, Open, Ready, State, parse_record
from blockrep.transfer.receipt import Receipt, make_receipt
from blockrep.transfer.stores import Holder, Peer, Request, StoreDirectory, Writers

QUEUED_BYTES = 1 << 20


class WriteSession:
    """One owner writes one replica. Errors are told to it by whoever calls `handle`."""

    def __init__(
        self,
        channel: Channel,
        greeting: Greeting,
        peer: Peer,
        stores: StoreDirectory,
        writers: Writers,
        holder: Holder,
    ) -> None:
        self._channel = channel
        self._group_id = greeting.peer.group_id
        self._peer = peer
        self._stores = stores
        self._writers = writers
        self._holder = holder
        self._held = contextlib.ExitStack()
        self._store: Store
        self._open: Open
        self._begun: Begin
        self._handlers: dict[Kind, Callable[[Frame], None]] = {
            Kind.OPEN: self._on_open,
            Kind.MAP_GET: self._on_map_get,
            Kind.BEGIN: self._on_begin,
            Kind.CHUNKS: self._on_chunks,
            Kind.COMPARE: self._on_compare,
            Kind.COMMIT: self._on_commit,
            Kind.ABORT: self._on_abort,
        }

    def handle(self, frame: Frame) -> None:
        """One frame; the conversation has let through only what may come now."""
        self._handlers[frame.kind](frame)

    def close(self) -> None:
        self._held.close()

    def _on_open(self, frame: Frame) -> None:
        asked = Open.parse(frame.body)
        if not self._peer.may_write:
            raise PeerRefused(f"{self._peer.name} has no right to write a replica here")
        self._held.enter_context(self._writers.only(self._peer.key, asked.device_id))
        store = self._stores.find(self._peer.key, asked.device_id)
        fresh = store is None
        if store is None:
            store = self._assign(asked)
        check_writer(store.info, asked.writer)
        capacity = store.info.capacity_bytes
        if asked.content_bytes > capacity:
            raise DoesNotFit(
                f"the first area has {asked.content_bytes} bytes, the segment holds {capacity}"
            )
        if asked.escrow and asked.escrow != store.escrow():
            store.set_escrow(asked.escrow)
        self._store, self._open = store, asked
        self._post_state(fresh=fresh)

    def _assign(self, asked: Open) -> Store:
        if not asked.assign:
            raise DoesNotFit("no segment is assigned to this device here")
        return self._stores.assign(
            Request(
                group_id=self._group_id,
                owner_key=self._peer.key,
                device_id=asked.device_id,
                owner_name=asked.owner_name,
                writer=asked.writer,
                content_bytes=asked.content_bytes,
                escrow=asked.escrow,
            )
        )

    def _post_state(self, *, fresh: bool = False) -> None:
        self._channel.post(Kind.STATE, state_of(self._store.info, fresh=fresh).build())

    def _on_map_get(self, frame: Frame) -> None:
        post_map(self._channel, self._store, MapGet.parse(frame.body))

    def _on_begin(self, frame: Frame) -> None:
        begin = Begin.parse(frame.body)
        proven = bool(begin.receipt) and self._is_proven(begin.receipt)
        resumed = self._store.begin(
            begin.epoch_id, begin.number, begin.parent, accept_oversize=proven
        )
        self._begun = begin
        self._channel.post(Kind.READY, Ready(resumed).build())

    def _is_proven(self, data: bytes) -> bool:
        """Whether another holder has signed that it has a whole epoch of this very device.

        It must not be older than ours: losing ours must not leave the owner with less.
        """
        receipt = Receipt.parse(data)
        if receipt.holder_key == self._holder.key or not self._holder.is_holder(receipt.holder_key):
            raise EpochRefused("the receipt is not from another holder of the group")
        receipt.verify()
        epoch = verify_epoch(receipt.record, self._peer.key)
        ours = self._store.info.epoch
        if epoch.device != self._open.device_id:
            raise EpochRefused("the receipt is of another device")
        return not ours or epoch.number >= parse_epoch(ours).number

    def _on_chunks(self, frame: Frame) -> None:
        chunks = Chunks.parse(frame.body)
        self._check_masks([(item.chunk, item.mask) for item in chunks.items])
        whole = self._store.apply(chunks.items, decode_blocks(chunks.encoded))
        self._channel.post(Kind.APPLIED, Applied(chunks.sequence, tuple(whole)).build())

    def _on_compare(self, frame: Frame) -> None:
        compare = Compare.parse(frame.body)
        self._check_masks([(item.chunk, item.mask) for item in compare.items])
        wanted = self._store.compare(compare.salt, compare.items, verify=self._open.verify)
        self._channel.post(Kind.WANT, Want(compare.sequence, tuple(wanted)).build())

    def _check_masks(self, chunks: Sequence[tuple[int, int]]) -> None:
        """No block past the content; what holds nothing may lie anywhere in the segment.

        So an owner whose first area became smaller can empty what was behind.
        """
        last = chunk_count(self._open.content_bytes) - 1
        blocks = -(-self._open.content_bytes // BLOCK_BYTES) - last * CHUNK_BLOCKS
        most = chunk_count(self._store.info.capacity_bytes)
        for chunk, mask in chunks:
            past = chunk > last or (chunk == last and mask >> blocks)
            if chunk >= most or (mask and past):
                raise ProtocolError(f"chunk {chunk} with mask {mask:04x} is past the content")

    def _on_commit(self, frame: Frame) -> None:
        record = parse_record(frame.body)
        self._check_epoch(parse_epoch(record))
        self._store.commit(record)
        receipt = make_receipt(
            self._holder.key,
            segment_id(self._store.info),
            self._holder.clock.wall_s(),
            self._holder.clock.uptime_s(),
            record,
            self._holder.sign,
        )
        self._channel.post(Kind.COMMITTED, receipt.build())

    def _check_epoch(self, epoch: Epoch) -> None:
        """The record is of what was opened and begun; signature and root are the store's part."""
        check_writer(self._store.info, self._open.writer)
        said = (epoch.id, epoch.number, epoch.content_bytes, epoch.writer, epoch.group)
        begun = (self._begun.epoch_id, self._begun.number, self._open.content_bytes)
        if said != (*begun, self._open.writer, self._group_id):
            raise EpochRefused(f"the record of epoch {epoch.number} is not of what was begun")
        if (epoch.owner_key, epoch.device) != (self._peer.key, self._open.device_id):
            raise EpochRefused(f"the record of epoch {epoch.number} is of another device")

    def _on_abort(self, frame: Frame) -> None:
        self._store.undo()
        self._post_state()


def check_writer(info: StoreInfo, writer: bytes) -> None:
    """`OtherWriter` unless this instance is the one that the segment belongs to."""
    if info.writer != writer:
        raise OtherWriter(
            f"the segment is written by instance {info.writer.hex()}, this one is {writer.hex()}"
        )


def segment_id(info: StoreInfo) -> bytes:
    """The segment's uuid as it goes over the wire."""
    return uuid.UUID(info.uuid).bytes


def state_of(info: StoreInfo, *, fresh: bool = False) -> State:
    """What a store says of itself, as a message."""
    return State(
        segment=segment_id(info),
        state=info.state,
        base_lost=info.base_lost,
        fresh=fresh,
        capacity_bytes=info.capacity_bytes,
        map_generation=info.map_generation,
        applying=info.applying_id or bytes(16),
        lock_s=info.lock_s,
        ring_bytes=info.ring_bytes,
        ring_free_bytes=info.ring_free_bytes,
        record=info.epoch,
    )


def post_map(channel: Channel, store: Store, asked: MapGet) -> None:
    """Answer MAP_GET, when what was posted before is on its way."""
    if asked.first_page + asked.count > map_pages(store.info.capacity_bytes):
        raise ProtocolError(f"the map has no {asked.count} pages from {asked.first_page} on")
    channel.wait_for_room(QUEUED_BYTES)
    pages = store.map_pages(asked.first_page, asked.count, asked.epoch_id)
    channel.post(Kind.MAP, *MapPages(asked.first_page, pages).build())
