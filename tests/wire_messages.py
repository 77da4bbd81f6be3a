"""Messages of every kind for hypothesis, and how each is parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from blockrep.chunks import packed_bytes
from blockrep.transfer import bulk, messages
from blockrep.transfer.frames import Kind
from blockrep.transfer.receipt import Receipt
from blockrep.transfer.takeover import Takeover

U16, U32, U64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
ID, KEY, RECORD = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), None
REAL_ID = ID.filter(any)
RECORD = st.binary(min_size=8, max_size=8).map(lambda head: (head * 128)[:1024])
MASK = st.integers(1, 2**16 - 1)
DIGEST = KEY.filter(any)
NAMES = st.text("abcäö -", max_size=20)


def ascending(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=most, unique=True).map(sorted)


def filler(count: int) -> bytes:
    return bytes(range(256)) * (count // 256) + bytes(count % 256)


@st.composite
def chunks(draw: Any) -> bulk.Chunks:
    items = []
    for chunk in draw(ascending(6)):
        mask = draw(st.one_of(st.just(0), MASK))
        digest = draw(DIGEST) if mask else bulk.NO_DIGEST
        items.append(bulk.SentChunk(chunk, mask, draw(U16) & mask, digest))
    blocks = filler(packed_bytes([item.sent for item in items]))
    return bulk.Chunks(
        draw(U64), tuple(items), bulk.encode_blocks(blocks, packable=draw(st.booleans()))
    )


@st.composite
def compares(draw: Any) -> bulk.Compare:
    items = []
    for chunk in draw(ascending(16)):
        mask = draw(MASK)
        items.append(bulk.ComparedChunk(chunk, mask, draw(DIGEST), filler(8 * mask.bit_count())))
    return bulk.Compare(draw(U64), draw(ID), tuple(items))


@st.composite
def reads(draw: Any) -> bulk.Read:
    items = tuple(bulk.ReadChunk(chunk, draw(MASK)) for chunk in draw(ascending(64)))
    return bulk.Read(draw(ID), items)


@st.composite
def data(draw: Any) -> bulk.Data:
    items = tuple(bulk.ReadChunk(c, draw(MASK), draw(st.booleans())) for c in draw(ascending(6)))
    blocks = filler(packed_bytes([i.blocks for i in items]))
    return bulk.Data(items, bulk.encode_blocks(blocks, packable=draw(st.booleans())))


def begins() -> st.SearchStrategy[messages.Begin]:
    receipts = st.one_of(
        st.just(b""), st.binary(min_size=1, max_size=9).map(lambda b: (b * 1248)[:1248])
    )
    made = st.builds(
        messages.Begin, REAL_ID, st.integers(1, 2**63 - 1), ID, st.booleans(), receipts
    )
    return made.filter(lambda begin: begin.epoch_id != begin.parent)


VERSION = st.integers(1, 2**16 - 1)
SIZE = st.integers(1, 2**56)

MESSAGES: dict[Kind, tuple[Callable[[Any], Any], st.SearchStrategy[Any]]] = {
    Kind.HELLO: (
        messages.Hello.parse,
        st.builds(messages.Hello, st.just(1), VERSION, U16, ID, ID, KEY, KEY),
    ),
    Kind.OPEN: (
        messages.Open.parse,
        st.builds(
            messages.Open, ID, ID, SIZE, st.booleans(), st.booleans(), NAMES,
            st.binary(max_size=2044),
        ),
    ),
    Kind.STATE: (
        messages.State.parse,
        st.builds(
            messages.State, ID, U32, st.booleans(), st.booleans(), SIZE, U64, ID, U64, U64, U64,
            st.one_of(st.none(), RECORD.filter(any)),
        ),
    ),
    Kind.MAP_GET: (
        messages.MapGet.parse,
        st.builds(
            messages.MapGet, st.one_of(st.none(), REAL_ID), st.integers(0, 2**40),
            st.integers(1, 256),
        ),
    ),
    Kind.MAP: (
        bulk.MapPages.parse,
        st.builds(bulk.MapPages, U64, st.integers(1, 3).map(lambda n: filler(4096 * n))),
    ),
    Kind.BEGIN: (messages.Begin.parse, begins()),
    Kind.READY: (messages.Ready.parse, st.builds(messages.Ready, st.booleans())),
    Kind.CHUNKS: (bulk.Chunks.parse, chunks()),
    Kind.COMPARE: (bulk.Compare.parse, compares()),
    Kind.WANT: (
        bulk.Want.parse, st.builds(bulk.Want, U64, st.lists(U16, max_size=16).map(tuple)),
    ),
    Kind.APPLIED: (
        bulk.Applied.parse, st.builds(bulk.Applied, U64, st.lists(U64, max_size=256).map(tuple)),
    ),
    Kind.COMMIT: (messages.parse_record, RECORD),
    Kind.COMMITTED: (
        Receipt.parse,
        st.builds(Receipt, KEY, ID, U64, U64, RECORD, st.binary(min_size=64, max_size=64)),
    ),
    Kind.SELECT: (messages.Select.parse, st.builds(messages.Select, KEY, ID)),
    Kind.EPOCHS: (
        messages.Epochs.parse,
        st.builds(
            messages.Epochs,
            st.lists(
                st.builds(messages.ListedEpoch, RECORD, st.booleans(), st.booleans()), max_size=4
            ).map(tuple),
        ),
    ),
    Kind.PIN: (messages.Pin.parse, st.builds(messages.Pin, ID, st.integers(0, 86_400))),
    Kind.READ: (bulk.Read.parse, reads()),
    Kind.DATA: (bulk.Data.parse, data()),
    Kind.TAKEOVER: (
        Takeover.parse,
        st.builds(Takeover, KEY, ID, ID, U64, st.binary(min_size=64, max_size=64)),
    ),
}  # fmt: skip


def body_of(message: Any) -> bytes:
    built = message if isinstance(message, bytes) else message.build()
    return built if isinstance(built, bytes) else b"".join(built)
