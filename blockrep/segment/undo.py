"""Putting back what an unfinished epoch has written over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blockrep.chunks import Entry
from blockrep.disk.device import new_buffer
from blockrep.segment.chunk_map import ChunkMap
from blockrep.segment.geometry import BLOCK_BYTES, CHUNK_BYTES
from blockrep.segment.mend import CHECK_CHUNKS
from blockrep.segment.part import SegmentPart
from blockrep.segment.ring import Ring
from blockrep.segment.runs import block_runs
from blockrep.segment.version_index import OldChunk, Piece, VersionIndex

_SEARCH_CHUNKS = 1 << 16


def named_groups(index: VersionIndex, chunks: int) -> Iterator[list[int]]:
    """The chunks that an index names, ascending, in groups of at most `CHECK_CHUNKS`."""
    for start in range(0, chunks, _SEARCH_CHUNKS):
        named = index.named(start, min(_SEARCH_CHUNKS, chunks - start))
        for at in range(0, len(named), CHECK_CHUNKS):
            yield named[at : at + CHECK_CHUNKS]


class Restorer:
    """Puts chunks back to what an index says of them; doing it twice does no harm."""

    def __init__(self, part: SegmentPart, ring: Ring, chunk_map: ChunkMap) -> None:
        self._part = part
        self._ring = ring
        self._map = chunk_map
        self._buffer = new_buffer(CHUNK_BYTES)

    def put_back(self, chunks: Sequence[int], index: VersionIndex) -> None:
        """The old content and the old entries of ascending named chunks; not yet durable."""
        self._map.entries(chunks)
        for chunk, old in index.old_chunks(list(chunks)).items():
            self._write_old(chunk, old)
            self._map.set(chunk, Entry(old.mask, old.kept, old.digest))
        self._map.write_changed()

    def _write_old(self, chunk: int, old: OldChunk) -> None:
        place = self._part.chunk_offset(chunk)
        for blocks, start in read_pieces(self._ring, old.pieces, self._buffer):
            for first, count in block_runs(blocks):
                view = self._buffer[start : start + count * BLOCK_BYTES]
                self._part.write(place + first * BLOCK_BYTES, view)
                start += count * BLOCK_BYTES


def read_pieces(
    ring: Ring, pieces: Sequence[Piece], buffer: memoryview
) -> Iterator[tuple[int, int]]:
    """Read saved blocks into the buffer: which they are, and where the first of them lies.

    Of a block that was saved more than once only the first copy is given.
    """
    done = 0
    for piece in pieces:
        length = piece.blocks.bit_count() * BLOCK_BYTES
        ring.read(piece.position, buffer[:length])
        packed = 0
        for first, count in block_runs(piece.blocks):
            run = ((1 << count) - 1) << first
            for start, length_blk in block_runs(run & ~done):
                blocks = ((1 << length_blk) - 1) << start
                yield blocks, (packed + start - first) * BLOCK_BYTES
            packed += count
        done |= piece.blocks
