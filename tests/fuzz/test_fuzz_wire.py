"""Anything from a peer: parsers and the cutter of frames fail only as `ProtocolError`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import MESSAGES, body_of

from blockrep.errors import ProtocolError
from blockrep.transfer import bulk
from blockrep.transfer.frames import CAPS, HEADER, Kind
from blockrep.transfer.wire import Conversation, FrameReader, Purpose

KINDS = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.name)


def try_parse(parse: Callable[[Any], Any], body: bytes) -> Any:
    try:
        message = parse(memoryview(body))
        if isinstance(message, bulk.Chunks | bulk.Data):
            bulk.decode_blocks(message.encoded)
        return message
    except ProtocolError as error:
        assert error.message
        return None


@KINDS
@given(body=st.binary(max_size=3000))
def test_random_bodies(kind: Kind, body: bytes) -> None:
    try_parse(MESSAGES[kind][0], body)


@KINDS
@settings(max_examples=200)
@given(data=st.data())
def test_mutated_bodies(kind: Kind, data: st.DataObject) -> None:
    parse, made = MESSAGES[kind]
    body = bytearray(body_of(data.draw(made)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(body), 400) - 1))
        body[at] = data.draw(st.integers(0, 255))
    message = try_parse(parse, bytes(body))
    if message is not None:
        assert parse(memoryview(body_of(message))) is not None


def cut(stream: bytes, pieces: list[int], reader: FrameReader) -> list[tuple[Kind, bytes]]:
    """Feed a stream in pieces of these sizes, again and again."""
    found, at, turn = [], 0, 0
    while at < len(stream):
        space = reader.space()
        count = min(len(space), pieces[turn % len(pieces)], len(stream) - at)
        space[:count] = stream[at : at + count]
        at, turn = at + count, turn + 1
        frame = reader.filled(count)
        if frame is not None:
            found.append((frame.kind, bytes(frame.body)))
            reader.give_back(frame)
    return found


@given(
    st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(0, 200_000)), max_size=8),
    st.lists(st.integers(1, 70_000), min_size=1, max_size=5),
)
def test_frames_do_not_depend_on_how_they_arrive(
    wanted: list[tuple[Kind, int]], pieces: list[int]
) -> None:
    frames = [(kind, bytes([kind]) * min(length, CAPS[kind])) for kind, length in wanted]
    stream = b"".join(HEADER.pack(len(body), kind, 0) + body for kind, body in frames)
    if len(stream) > 2_000_000:
        pieces = [70_000]
    assert (
        cut(
            stream,
            [max(p, len(stream) // 3000 + 1) for p in pieces],
            FrameReader(lambda kind: None),
        )
        == frames
    )


@given(st.binary(min_size=8, max_size=300))
def test_random_streams(stream: bytes) -> None:
    try:
        cut(stream, [7], FrameReader(Conversation(serving=True).received))
    except ProtocolError as error:
        assert error.message


@given(st.sampled_from(list(Kind)), st.integers(1, 1 << 32))
def test_a_frame_beyond_its_cap_takes_no_memory(kind: Kind, more: int) -> None:
    reader = FrameReader(lambda kind: None)
    reader.space()[:] = HEADER.pack(min(CAPS[kind] + more, (1 << 32) - 1), kind, 0)
    with pytest.raises(ProtocolError):
        reader.filled(8)


@given(
    st.sampled_from(list(Purpose)),
    st.lists(st.tuples(st.booleans(), st.sampled_from(list(Kind))), max_size=40),
)
def test_both_sides_of_a_conversation_agree(
    purpose: Purpose, said: list[tuple[bool, Kind]]
) -> None:
    """What one side may say the other may hear, in whatever order things are tried."""
    client, server = Conversation(serving=False), Conversation(serving=True)
    client.greeted(purpose), server.greeted(purpose)
    for by_client, kind in said:
        speaker, hearer = (client, server) if by_client else (server, client)
        try:
            speaker.sent(kind)
        except ProtocolError:
            with pytest.raises(ProtocolError):
                hearer.received(kind)
        else:
            hearer.received(kind)
        assert (client.phase, client.under_way) == (server.phase, server.under_way)
