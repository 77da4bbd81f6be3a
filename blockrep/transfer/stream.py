"""What one holder is sent of each window: nothing, the whole chunk, or what it says it lacks.

A chunk that the holder has as it is costs nothing; one of which it has nothing comes whole; of any
other it is asked (COMPARE) which blocks it lacks (WANT). Frames are filled from several windows:
for the holder a frame is a batch of its history.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from blockrep.chunks import BLOCK_BYTES, ENTRIES_PER_PAGE, changed_chunks, get_entry
from blockrep.errors import PeerUnreachable, ProtocolError
from blockrep.transfer.bulk import (
    MAX_CHUNKS,
    MAX_COMPARED,
    MAX_RAW_BYTES,
    NO_DIGEST,
    Applied,
    Chunks,
    Compare,
    ComparedChunk,
    SentChunk,
    Want,
    encode_blocks,
)
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Frame, Kind
from blockrep.transfer.map_file import MapFile, Trail
from blockrep.transfer.window import Window

WAITING_WINDOWS = 4
QUEUED_BYTES = 2 << 20
# Blocks that are held back until the holder has said which of them it wants.
COMPARED_BYTES = 4 << 20
# A COMPARE with room in it waits so long for more chunks.
PATIENCE_S = 0.1
STEP_S = 1.0
ANSWER_S = 600.0
MAP_STEP = 64


class Stream:
    """One holder's part of a pass over the disk.

    `needs`, `put` and `end_pass` are for the thread that reads the disk, `run_pass` for the one
    that owns the channel. `base` is the map that the holder has, None when it has nothing; `whole`
    that what it has is not believed.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        base: MapFile | None,
        new: MapFile,
        salt: bytes,
        whole: bool,
        verify: bool,
        packable: bool,
        room: threading.Condition,
    ) -> None:
        self.refused: set[int] = set()
        self._channel = channel
        self._base = base
        self._new = new
        self._chunks = new.pages * ENTRIES_PER_PAGE
        self._salt = salt
        self._whole = whole
        self._verify = verify
        self._packable = packable
        self._room = room
        self._windows: deque[Window | None] = deque()
        self._sequence = 0
        self._answered_at = time.monotonic()
        self._builder: list[tuple[SentChunk, bytes | memoryview]] = []
        self._builder_bytes = 0
        self._to_compare: list[tuple[Window, int, int]] = []
        self._to_compare_since = 0.0
        self._compared: dict[int, list[tuple[Window, int, int]]] = {}
        self._compared_bytes = 0
        self._sent: dict[int, frozenset[int]] = {}
        self._emptied_to = 0
        self._trails = [Trail(file) for file in (base, new) if file is not None]

    # ---- for the thread that reads the disk

    def needs(self, first_chunk: int, masks: Sequence[int]) -> int:
        """Bit i: this holder must be told of the content of chunk `first_chunk` + i."""
        stored = sum(1 << index for index, mask in enumerate(masks) if mask)
        if self._base is None or self._whole or self._verify:
            return stored
        views = self._base.view, self._new.view
        return stored & changed_chunks(*views, 0, first_chunk, len(masks))

    @property
    def has_room(self) -> bool:
        return len(self._windows) < WAITING_WINDOWS

    @property
    def is_hungry(self) -> bool:
        """Whether it has sent all that it was given."""
        return not self._windows and not self._channel.queued_bytes

    def put(self, window: Window) -> None:
        self._windows.append(window)
        self._channel.wake()

    def end_pass(self) -> None:
        """There is nothing more to come in this pass."""
        self._windows.append(None)
        self._channel.wake()

    # ---- for the thread of the channel

    def run_pass(self) -> None:
        """Send until `end_pass`, and until all of it was answered.

        `refused` then has the chunks that came in part and must come whole, in another pass.
        """
        while (window := self._next_window()) is not None:
            self._send(window)
            with self._room:
                self._room.notify_all()
        self._empty_to(self._chunks)
        self._flush_compare()
        while self._compared:
            self._turn(STEP_S)
        self._flush_chunks(everything=True)
        while self._channel.talk.under_way:
            self._turn(STEP_S)

    def repeat_whole(self) -> None:
        """The next pass is of chunks that did not fit when they came in part."""
        self._whole, self._emptied_to = True, self._chunks
        self.refused.clear()

    def _next_window(self) -> Window | None:
        while not self._windows:
            waited = time.monotonic() - self._to_compare_since
            if self._to_compare and waited >= PATIENCE_S:
                self._flush_compare()
            self._turn(PATIENCE_S if self._to_compare else STEP_S)
            self._flush_chunks()
        return self._windows.popleft()

    def _send(self, window: Window) -> None:
        self._empty_to(window.first_chunk)
        whole = []
        for index in _bits(self.needs(window.first_chunk, window.masks)):
            if self._comes_whole(window.first_chunk + index):
                whole.append(index)
            else:
                self._compare_later(window, index)
        if not self._builder and len(whole) == sum(map(bool, window.masks)):
            self._post_window(window, whole)
        else:
            for index in whole:
                item = self._item(window, index, window.masks[index])
                self._add(item, window.chunk_blocks(index))
        self._empty_to(window.end_chunk)
        self._flush_chunks()
        while self._compared_bytes >= COMPARED_BYTES:
            self._flush_compare()
            self._turn(STEP_S)
            self._flush_chunks()

    def _comes_whole(self, chunk: int) -> bool:
        return self._whole or self._base is None or not get_entry(self._base.view, 0, chunk).mask

    def _item(self, window: Window, index: int, sent: int) -> SentChunk:
        chunk = window.first_chunk + index
        return SentChunk(
            chunk, window.masks[index], sent, get_entry(self._new.view, 0, chunk).digest
        )

    def _post_window(self, window: Window, indices: list[int]) -> None:
        """All of a window, as it was encoded for every holder that needs all of it."""
        if indices:
            items = tuple(self._item(window, index, window.masks[index]) for index in indices)
            encoded = window.encoded(packable=self._packable)
            self._post_chunks(Chunks(self._next_sequence(), items, encoded))

    def _empty_to(self, end: int) -> None:
        """Tell of the chunks before `end` that hold nothing any more and are not yet told of."""
        if self._base is None:
            for trail in self._trails:
                trail.passed(end)
            return
        for first in range(self._emptied_to, end, MAP_STEP):
            count = min(MAP_STEP, end - first)
            views = self._base.view, self._new.view
            for index in _bits(changed_chunks(*views, 0, first, count)):
                chunk = first + index
                if not get_entry(self._new.view, 0, chunk).mask:
                    self._add(SentChunk(chunk, 0, 0, NO_DIGEST), b"")
            self._flush_chunks()
            for trail in self._trails:
                trail.passed(first)
        self._emptied_to = max(self._emptied_to, end)

    # ---- comparing

    def _compare_later(self, window: Window, index: int) -> None:
        if not self._to_compare:
            self._to_compare_since = time.monotonic()
        self._to_compare.append((window, index, window.masks[index]))
        self._compared_bytes += window.masks[index].bit_count() * BLOCK_BYTES
        if len(self._to_compare) == MAX_COMPARED:
            self._flush_compare()

    def _flush_compare(self) -> None:
        if not self._to_compare:
            return
        waiting, self._to_compare = self._to_compare, []
        items = []
        for window, index, mask in waiting:
            digest = self._item(window, index, 0).digest
            short = window.short(index, self._salt)
            items.append(ComparedChunk(window.first_chunk + index, mask, digest, short))
        sequence = self._next_sequence()
        self._compared[sequence] = waiting
        self._post(Kind.COMPARE, Compare(sequence, self._salt, tuple(items)).build())

    def _on_want(self, frame: Frame) -> None:
        want = Want.parse(frame.body)
        asked = self._compared.pop(want.sequence, None)
        if asked is None or len(asked) != len(want.masks):
            raise ProtocolError(f"a WANT for {len(want.masks)} chunks that were not compared")
        for (window, index, mask), wanted in zip(asked, want.masks, strict=True):
            if wanted & ~mask:
                raise ProtocolError(f"blocks {wanted:04x} are wanted of {mask:04x}")
            self._compared_bytes -= mask.bit_count() * BLOCK_BYTES
            item = self._item(window, index, wanted)
            self._add(item, window.pick(index, wanted))

    # ---- sending

    def _add(self, item: SentChunk, blocks: bytes | memoryview) -> None:
        self._builder.append((item, blocks))
        self._builder_bytes += len(blocks)

    def _flush_chunks(self, *, everything: bool = False) -> None:
        """Post the frames that are full, or all of them."""
        while self._builder:
            full = len(self._builder) >= MAX_CHUNKS or self._builder_bytes >= MAX_RAW_BYTES
            if not (full or everything):
                return
            part = self._take_frame()
            blocks = b"".join(blocks for _, blocks in part)
            encoded = encode_blocks(blocks, packable=self._packable)
            items = tuple(item for item, _ in part)
            self._post_chunks(Chunks(self._next_sequence(), items, encoded))

    def _take_frame(self) -> list[tuple[SentChunk, bytes | memoryview]]:
        """As much of what waits as one frame holds, in the order of the disk."""
        taken, length = 0, 0
        for _, blocks in self._builder[:MAX_CHUNKS]:
            if length + len(blocks) > MAX_RAW_BYTES:
                break
            taken, length = taken + 1, length + len(blocks)
        part, self._builder = self._builder[:taken], self._builder[taken:]
        self._builder_bytes -= length
        return sorted(part, key=lambda sent: sent[0].chunk)

    def _post_chunks(self, chunks: Chunks) -> None:
        partial = frozenset(item.chunk for item in chunks.items if item.sent != item.mask)
        self._sent[chunks.sequence] = partial
        self._post(Kind.CHUNKS, *chunks.build())

    def _post(self, kind: Kind, *parts: bytes | memoryview) -> None:
        while not self._channel.talk.has_room or self._channel.queued_bytes >= QUEUED_BYTES:
            self._turn(STEP_S)
        self._channel.post(kind, *parts)

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _on_applied(self, frame: Frame) -> None:
        applied = Applied.parse(frame.body)
        partial = self._sent.pop(applied.sequence, None)
        if partial is None or not partial.issuperset(applied.whole):
            raise ProtocolError("chunks are asked for again that came whole, or not at all")
        self.refused.update(applied.whole)

    def _turn(self, timeout_s: float) -> None:
        """Let the connection move and hear what was answered. Nothing is posted here."""
        self._channel.step(timeout_s)
        while (frame := self._channel.take()) is not None:
            self._answered_at = time.monotonic()
            if frame.kind is Kind.WANT:
                self._on_want(frame)
            elif frame.kind is Kind.APPLIED:
                self._on_applied(frame)
            else:
                raise PeerUnreachable(f"{self._channel.name} said {frame.kind.name} and went")
        if not self._channel.talk.under_way:
            self._answered_at = time.monotonic()
        elif time.monotonic() - self._answered_at > ANSWER_S:
            raise PeerUnreachable(f"{self._channel.name} did not answer for {ANSWER_S:.0f} s")


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
