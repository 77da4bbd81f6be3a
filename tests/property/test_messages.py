"""What is built is parsed to the same, within its cap; what is not whole is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import MESSAGES, body_of

from blockrep.errors import ProtocolError
from blockrep.transfer import bulk
from blockrep.transfer.frames import CAPS, Kind

KINDS = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.name)


def plain(message: Any) -> Any:
    """Memory views compare by identity of their kind of bytes, so they are made bytes."""
    if isinstance(message, bulk.Chunks):
        return message.sequence, message.items, bytes(bulk.decode_blocks(message.encoded))
    if isinstance(message, bulk.Data):
        return message.items, bytes(bulk.decode_blocks(message.encoded))
    if isinstance(message, bulk.MapPages):
        return message.first_page, bytes(message.pages)
    return message


@KINDS
@given(data=st.data())
def test_a_message_survives_the_wire(kind: Kind, data: st.DataObject) -> None:
    parse, made = MESSAGES[kind]
    message = data.draw(made)
    body = body_of(message)
    assert len(body) <= CAPS[kind]
    assert plain(parse(memoryview(body))) == plain(message)


@KINDS
@given(data=st.data())
def test_a_message_that_was_cut_or_grew_is_refused(kind: Kind, data: st.DataObject) -> None:
    parse, made = MESSAGES[kind]
    body = body_of(data.draw(made))
    length = data.draw(st.integers(0, len(body) - 1))
    for wrong in (body[:length], body + b"\0"):
        with pytest.raises(ProtocolError):
            parse(memoryview(wrong))


def test_the_largest_messages_are_within_their_caps() -> None:
    items = tuple(bulk.SentChunk(n, 15, 1, b"d" * 32) for n in range(256))
    blocks = bulk.encode_blocks(bytes(1 << 20), packable=False)
    assert len(body_of(bulk.Chunks(0, items, blocks))) <= CAPS[Kind.CHUNKS]
    read = tuple(bulk.ReadChunk(n, 0xFFFF) for n in range(64))
    blocks = bulk.encode_blocks(bytes(4 << 20), packable=False)
    assert len(body_of(bulk.Data(read, blocks))) <= CAPS[Kind.DATA]
    assert len(body_of(bulk.MapPages(0, bytes(256 * 4096)))) <= CAPS[Kind.MAP]


@given(st.integers(0, 255).map(lambda n: bytes([n]) * 65536), st.booleans())
def test_blocks_travel_packed_only_where_that_is_allowed(blocks: bytes, packable: bool) -> None:
    encoded = bulk.encode_blocks(blocks, packable=packable)
    assert (encoded.codec == bulk.CODEC_LZ4) == packable
    assert bytes(bulk.decode_blocks(encoded)) == blocks


def test_a_lie_about_the_unpacked_length_is_refused() -> None:
    packed = bulk.encode_blocks(bytes(65536), packable=True)
    for lie in (4096, 1 << 20):
        with pytest.raises(ProtocolError):
            bulk.decode_blocks(bulk.Encoded(packed.codec, lie, packed.data))
