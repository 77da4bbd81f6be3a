"""Read a replica from a holder that is not trusted: everything is checked before it is given on.

The epoch by its owner's signature, the map by the epoch's root, each chunk by its digest in the
map. A chunk that does not agree is given as damaged, whatever the holder says of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from blockrep.chunks import (
    BLOCK_BYTES,
    ENTRIES_PER_PAGE,
    PAGE_BYTES,
    Entry,
    chunk_count,
    chunk_digest,
    get_entry,
    map_pages,
    pick_blocks,
)
from blockrep.closing import Closing
from blockrep.errors import BlockrepError, EpochRefused, NoSuchEpoch, ProtocolError
from blockrep.segment.content import ChunkBlocks
from blockrep.segment.epoch import Epoch, verify_epoch
from blockrep.transfer.ahead import Ahead
from blockrep.transfer.base_map import ANSWER_S, fetch_map
from blockrep.transfer.bulk import Data, Read, ReadChunk, decode_blocks
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Frame, Kind
from blockrep.transfer.greeting import Greeting, Self, greet
from blockrep.transfer.map_file import MapFile, Trail
from blockrep.transfer.messages import Epochs, Pin, Select, State
from blockrep.transfer.receipt import Sign
from blockrep.transfer.takeover import make_takeover
from blockrep.transfer.wire import Purpose

CHUNKS_PER_READ = 16
READS_UNDER_WAY = 4
BURST_CHUNKS = CHUNKS_PER_READ * READS_UNDER_WAY
LOOK_S = 5.0
PAGE_HEAD_BYTES = 16
NO_ENTRIES = bytes(PAGE_BYTES - PAGE_HEAD_BYTES)


@dataclass(frozen=True, slots=True)
class RemoteEpoch:
    """A version that the holder has, with its owner's signature verified."""

    epoch: Epoch
    record: bytes
    present: bool
    locked: bool


class Reader(Closing):
    """The replica of one device at one holder; a context manager.

    Any thread may call, one at a time gets through; a thread of its own keeps the connection alive
    in between. After an error other than `NoSuchEpoch` of `view` the reader is of no more use.
    """

    def __init__(
        self, channel: Channel, me: Self, holder_key: bytes, owner_key: bytes, device_id: bytes
    ) -> None:
        """Greet and select. `PeerRefused`, `NoSuchEpoch` when there is no such replica here."""
        self._channel = channel
        self._owner_key = owner_key
        self._device_id = device_id
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep_alive, name=f"reading {channel.name}")
        try:
            self._greeting: Greeting = greet(channel, me, Purpose.READ, holder_key)
            select = Select(owner_key, device_id).build()
            listed = Epochs.parse(self._ask(Kind.SELECT, select).body).epochs
            self.epochs = [
                RemoteEpoch(self._verified(e.record), e.record, e.present, e.locked) for e in listed
            ]
        except BaseException:
            channel.close()
            raise
        self._keeper.start()

    def close(self) -> None:
        """Say good-bye; safe to call twice."""
        if not self._over.is_set():
            self._over.set()
            self._channel.wake()
            self._keeper.join()
            self._channel.end()

    def view(self, epoch_id: bytes, folder: Path) -> RemoteView:
        """An epoch to read from, its map fetched to a file in `folder` and checked.

        `NoSuchEpoch`, `EpochRefused` when the map has not the root that the owner signed.
        """
        found = next((e for e in self.epochs if e.epoch.id == epoch_id), None)
        if found is None:
            raise NoSuchEpoch(f"{self._channel.name} has no epoch {epoch_id.hex()}")
        pages = MapFile(folder, found.epoch.content_bytes)
        try:
            with self._lock:
                count = map_pages(found.epoch.content_bytes)
                fetch_map(self._channel, epoch_id, count, pages, mend=False)
            if pages.root(found.epoch.content_bytes) != found.epoch.root:
                raise EpochRefused(
                    f"the map of epoch {found.epoch.number} at {self._channel.name} is not what "
                    "its owner signed",
                    hint="try another holder",
                )
        except BaseException:
            pages.close()
            raise
        return RemoteView(self, found, pages)

    def pin(self, epoch_id: bytes, seconds: int) -> int:
        """Keep an epoch from falling out; the seconds that the holder grants."""
        with self._lock:
            answer = Pin.parse(self._ask(Kind.PIN, Pin(epoch_id, seconds).build()).body)
        if answer.epoch_id != epoch_id:
            raise ProtocolError("another epoch was pinned than was asked")
        return min(seconds, answer.seconds)

    def escrow(self) -> bytes:
        """The owner's wrapped keys, as the holder has them."""
        with self._lock:
            return bytes(self._ask(Kind.ESCROW_GET, b"").body)

    def take_over(self, writer: bytes, sign: Sign) -> State:
        """Make `writer` the instance that may write; `sign` is by the owner key."""
        asked = make_takeover(
            self._owner_key,
            self._device_id,
            writer,
            int(time.time()),
            self._greeting.nonce,
            sign,
        )
        with self._lock:
            return State.parse(self._ask(Kind.TAKEOVER, asked.build()).body)

    def _verified(self, record: bytes) -> Epoch:
        epoch = verify_epoch(record, self._owner_key)
        if epoch.device != self._device_id:
            raise EpochRefused(f"epoch {epoch.number} is of another device")
        return epoch

    def _ask(self, kind: Kind, body: bytes) -> Frame:
        self._channel.post(kind, body)
        return self._channel.receive(ANSWER_S)

    def read_raw(
        self, epoch_id: bytes, items: Sequence[tuple[int, int]]
    ) -> list[tuple[ReadChunk, memoryview]]:
        """Blocks as the holder gives them, several READs under way; only lengths are checked."""
        groups = [
            tuple(ReadChunk(*item) for item in items[at : at + CHUNKS_PER_READ])
            for at in range(0, len(items), CHUNKS_PER_READ)
        ]
        found: list[tuple[ReadChunk, memoryview]] = []
        with self._lock:
            for index in range(len(groups) + READS_UNDER_WAY):
                if index < len(groups):
                    self._channel.post(Kind.READ, Read(epoch_id, groups[index]).build())
                answered = index - READS_UNDER_WAY + 1
                if 0 <= answered < len(groups):
                    found += self._take_data(groups[answered])
        return found

    def _take_data(self, asked: Sequence[ReadChunk]) -> Iterator[tuple[ReadChunk, memoryview]]:
        frame = self._channel.receive(ANSWER_S)
        data = Data.parse(frame.body)
        if [(i.chunk, i.blocks) for i in data.items] != [(i.chunk, i.blocks) for i in asked]:
            raise ProtocolError("other blocks came than were asked for")
        blocks = memoryview(bytes(decode_blocks(data.encoded)))
        self._channel.give_back(frame)
        at = 0
        for item in data.items:
            length = item.blocks.bit_count() * BLOCK_BYTES
            yield item, blocks[at : at + length]
            at += length

    def _keep_alive(self) -> None:
        """Move the connection while nobody reads; what goes wrong, the next reader meets."""
        while not self._over.wait(LOOK_S):
            with self._lock:
                try:
                    self._channel.step(0)
                except BlockrepError:
                    return


@dataclass(frozen=True, slots=True)
class CheckedChunk:
    """A chunk of an epoch: its stored blocks, packed; None where they are damaged."""

    chunk: int
    mask: int
    blocks: memoryview | None


class RemoteView(Closing):
    """One epoch at one holder, read like a view of a store. Its map is checked already."""

    def __init__(self, reader: Reader, found: RemoteEpoch, pages: MapFile) -> None:
        self.epoch = found.epoch
        self.record = found.record
        self._reader = reader
        self._pages = pages

    def close(self) -> None:
        """Let go of the map."""
        self._pages.close()

    def map_pages(self, first: int, count: int) -> bytes:
        """Pages of the map; `ValueError` for pages that are not there."""
        if not 0 <= first < first + count <= self._pages.pages:
            raise ValueError(f"the map has no {count} pages from {first} on")
        return bytes(self._pages.view[first * PAGE_BYTES : (first + count) * PAGE_BYTES])

    def entry(self, chunk: int) -> Entry:
        """What the map says of a chunk."""
        return get_entry(self._pages.view, 0, chunk)

    def read(self, items: Sequence[tuple[int, int]]) -> ChunkBlocks:
        """Blocks of ascending chunks, each a part of its mask, as `EpochReader.read` gives them.

        Whole chunks are fetched, as only they can be checked; a chunk that is wrong is damaged, and
        the blocks given for it are worth nothing.
        """
        whole = [(chunk, self.entry(chunk).mask) for chunk, _ in items]
        if any(wanted & ~mask for (_, wanted), (_, mask) in zip(items, whole, strict=True)):
            raise ValueError("blocks that the epoch does not have")
        picked, damaged = [], []
        for (_, wanted), found in zip(items, self._checked(whole), strict=True):
            damaged.append(found.blocks is None)
            if found.blocks is None:
                picked.append(bytes(wanted.bit_count() * BLOCK_BYTES))
            else:
                picked.append(pick_blocks((found.mask,), (wanted,), found.blocks))
        return ChunkBlocks(b"".join(picked), damaged)

    def chunks(self) -> Iterator[CheckedChunk]:
        """Every chunk that holds something, in the order of the disk, fetched ahead."""
        with Ahead(self._bursts()) as ahead:
            for burst in ahead:
                yield from burst

    def _bursts(self) -> Iterator[list[CheckedChunk]]:
        stored = self._stored()
        while burst := list(islice(stored, BURST_CHUNKS)):
            yield self._checked(burst)

    def _checked(self, items: Sequence[tuple[int, int]]) -> list[CheckedChunk]:
        """Whole chunks, with their masks."""
        return [
            CheckedChunk(item.chunk, item.blocks, blocks if self._is_good(item, blocks) else None)
            for item, blocks in self._reader.read_raw(self.epoch.id, items)
        ]

    def _is_good(self, item: ReadChunk, blocks: memoryview) -> bool:
        digest = self.entry(item.chunk).digest
        return not item.damaged and chunk_digest(item.blocks, blocks) == digest

    def _stored(self) -> Iterator[tuple[int, int]]:
        last, trail = chunk_count(self.epoch.content_bytes), Trail(self._pages)
        for page in range(map_pages(self.epoch.content_bytes)):
            entries = self._pages.view[
                page * PAGE_BYTES + PAGE_HEAD_BYTES : (page + 1) * PAGE_BYTES
            ]
            if entries == NO_ENTRIES:
                continue
            first = page * ENTRIES_PER_PAGE
            for chunk in range(first, min(first + ENTRIES_PER_PAGE, last)):
                if mask := self.entry(chunk).mask:
                    yield chunk, mask
            trail.passed(first)
