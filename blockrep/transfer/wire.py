"""The protocol without sockets: bytes become frames, and each frame is allowed or it is not.

`FrameReader` cuts a stream into frames: what is announced passes its cap and the state before
memory is taken for it. `Conversation` is the diagram "States" of docs/wire-protocol.md, for both
sides: a client may only ask what the phase allows, a server only answers what was asked, in order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum

from blockrep.errors import ProtocolError
from blockrep.transfer.frames import HEADER, Frame, Kind, parse_header

MAX_UNDER_WAY = 32
SMALL_BODY_BYTES = 64 << 10
MAX_SPARE = 4


class Phase(Enum):
    """Where a conversation is; the names of the diagram in the document."""

    GREETING = "HELLO"
    OPENING = "OPEN"
    OPENED = "STATE"
    APPLYING = "READY"
    COMMITTED = "COMMITTED"
    SELECTING = "SELECT"
    READING = "EPOCHS"
    CALLING = "CALL"
    ENDED = "BYE"


class Purpose(Enum):
    """What a connection is for, by its number in HELLO."""

    REPLICATE = 1
    READ = 2
    GROUP = 3
    JOIN = 4


_FIRST = {
    Purpose.REPLICATE: Phase.OPENING,
    Purpose.READ: Phase.SELECTING,
    Purpose.GROUP: Phase.CALLING,
    Purpose.JOIN: Phase.CALLING,
}
_ASKS: dict[Phase, frozenset[Kind]] = {
    Phase.GREETING: frozenset({Kind.HELLO}),
    Phase.OPENING: frozenset({Kind.OPEN}),
    Phase.OPENED: frozenset({Kind.MAP_GET, Kind.BEGIN}),
    Phase.APPLYING: frozenset({Kind.CHUNKS, Kind.COMPARE, Kind.COMMIT, Kind.ABORT}),
    Phase.COMMITTED: frozenset(),
    Phase.SELECTING: frozenset({Kind.SELECT}),
    Phase.READING: frozenset({Kind.PIN, Kind.MAP_GET, Kind.READ, Kind.ESCROW_GET, Kind.TAKEOVER}),
    Phase.CALLING: frozenset({Kind.CALL}),
    Phase.ENDED: frozenset(),
}
_ANSWER = {
    Kind.HELLO: Kind.HELLO,
    Kind.OPEN: Kind.STATE,
    Kind.MAP_GET: Kind.MAP,
    Kind.BEGIN: Kind.READY,
    Kind.CHUNKS: Kind.APPLIED,
    Kind.COMPARE: Kind.WANT,
    Kind.COMMIT: Kind.COMMITTED,
    Kind.ABORT: Kind.STATE,
    Kind.SELECT: Kind.EPOCHS,
    Kind.PIN: Kind.PINNED,
    Kind.READ: Kind.DATA,
    Kind.ESCROW_GET: Kind.ESCROW,
    Kind.TAKEOVER: Kind.STATE,
    Kind.CALL: Kind.REPLY,
}
# These are asked alone, and their answer leads to another phase.
_LEADS_TO = {
    Kind.OPEN: Phase.OPENED,
    Kind.BEGIN: Phase.APPLYING,
    Kind.COMMIT: Phase.COMMITTED,
    Kind.ABORT: Phase.OPENED,
    Kind.SELECT: Phase.READING,
}
_ALONE = frozenset({Kind.HELLO, *_LEADS_TO})
# Either side may say these whenever the connection is not over.
_ALWAYS = frozenset({Kind.ERROR, Kind.BYE, Kind.ALIVE})


class Conversation:
    """What may be said next. Both sides have one; any thread may ask it."""

    def __init__(self, *, serving: bool) -> None:
        self._serving = serving
        self._phase = Phase.GREETING
        self._asked: deque[Kind] = deque()
        self._lock = threading.Lock()

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def under_way(self) -> int:
        """How many requests wait for their answer."""
        return len(self._asked)

    @property
    def has_room(self) -> bool:
        """Whether the client may ask once more without waiting."""
        return len(self._asked) < MAX_UNDER_WAY

    def greeted(self, purpose: Purpose) -> None:
        """Both sides have said HELLO, and this is what the client came for."""
        with self._lock:
            self._phase = _FIRST[purpose]

    def sent(self, kind: Kind) -> None:
        """We say this. `ProtocolError` when we must not: a defect of ours."""
        with self._lock:
            self._apply(kind, is_request=not self._serving)

    def received(self, kind: Kind) -> None:
        """The peer says this; `ProtocolError` when it must not."""
        with self._lock:
            self._apply(kind, is_request=self._serving)

    def _apply(self, kind: Kind, *, is_request: bool) -> None:
        if self._phase is Phase.ENDED:
            raise ProtocolError(f"{kind.name} after the end")
        if kind in _ALWAYS:
            if kind is not Kind.ALIVE:
                self._phase = Phase.ENDED
            return
        if is_request:
            self._ask(kind)
        else:
            self._answer(kind)

    def _ask(self, kind: Kind) -> None:
        if kind not in _ASKS[self._phase]:
            raise ProtocolError(f"{kind.name} is not allowed after {self._phase.value}")
        if self._asked and (kind in _ALONE or self._asked[-1] in _ALONE):
            raise ProtocolError(f"{kind.name} before {self._asked[-1].name} was answered")
        if len(self._asked) >= MAX_UNDER_WAY:
            raise ProtocolError(f"more than {MAX_UNDER_WAY} requests under way")
        self._asked.append(kind)

    def _answer(self, kind: Kind) -> None:
        if not self._asked or _ANSWER[self._asked[0]] is not kind:
            asked = self._asked[0].name if self._asked else "nothing"
            raise ProtocolError(f"{kind.name} is no answer to {asked}")
        self._phase = _LEADS_TO.get(self._asked.popleft(), self._phase)


class FrameReader:
    """Cuts a stream into frames. `admit` is asked of each kind before its body is read."""

    def __init__(self, admit: Callable[[Kind], None]) -> None:
        self._admit = admit
        self._header = bytearray(HEADER.size)
        self._spare: deque[bytearray] = deque(maxlen=MAX_SPARE)
        self._begin()

    def _begin(self) -> None:
        self._kind: Kind | None = None
        self._whole = memoryview(self._header)
        self._rest = self._whole

    def space(self) -> memoryview:
        """Where the next bytes of the stream belong; never empty."""
        return self._rest

    def filled(self, count: int) -> Frame | None:
        """`count` bytes were put into `space`. The frame that they complete, if they do.

        `ProtocolError` for a header that is not allowed: then the stream is not to be read on.
        """
        self._rest = self._rest[count:]
        if len(self._rest):
            return None
        if self._kind is None:
            kind, length = parse_header(self._header)
            self._admit(kind)
            self._kind = kind
            self._whole = self._rest = self._take(length)
            if length:
                return None
        frame = Frame(self._kind, self._whole)
        self._begin()
        return frame

    def give_back(self, frame: Frame) -> None:
        """The body is not needed any more; nobody may look at it after this."""
        if len(frame.body) > SMALL_BODY_BYTES and isinstance(frame.body.obj, bytearray):
            self._spare.append(frame.body.obj)

    def _take(self, length: int) -> memoryview:
        """Memory for a body; large pieces are used again, as clearing them costs time."""
        if length <= SMALL_BODY_BYTES:
            return memoryview(bytearray(length))
        for _ in range(len(self._spare)):
            spare = self._spare.popleft()
            if len(spare) >= length:
                return memoryview(spare)[:length]
        return memoryview(bytearray(length))
