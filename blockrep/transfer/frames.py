"""What every frame has: its kind, its cap, its header (docs/wire-protocol.md, "Frames")."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from blockrep.errors import ProtocolError

HEADER = struct.Struct("<IHH")


class Kind(IntEnum):
    """The types of frames, by their numbers on the wire."""

    HELLO = 1
    ERROR = 2
    BYE = 3
    ALIVE = 4
    OPEN = 16
    STATE = 17
    MAP_GET = 18
    MAP = 19
    BEGIN = 20
    READY = 21
    CHUNKS = 22
    COMPARE = 23
    WANT = 24
    APPLIED = 25
    COMMIT = 26
    COMMITTED = 27
    ABORT = 28
    SELECT = 32
    EPOCHS = 33
    PIN = 34
    PINNED = 35
    READ = 36
    DATA = 37
    ESCROW_GET = 38
    ESCROW = 39
    TAKEOVER = 48
    CALL = 64
    REPLY = 65


# The longest body of each kind, checked before anything of it is read or allocated.
CAPS: dict[Kind, int] = {
    Kind.HELLO: 128,
    Kind.ERROR: 1028,
    Kind.BYE: 0,
    Kind.ALIVE: 0,
    Kind.OPEN: 2160,
    Kind.STATE: 1104,
    Kind.MAP_GET: 32,
    Kind.MAP: 1_048_592,
    Kind.BEGIN: 1296,
    Kind.READY: 8,
    Kind.CHUNKS: 1_180_000,
    Kind.COMPARE: 65_536,
    Kind.WANT: 4096,
    Kind.APPLIED: 2064,
    Kind.COMMIT: 1024,
    Kind.COMMITTED: 1248,
    Kind.ABORT: 0,
    Kind.SELECT: 48,
    Kind.EPOCHS: 1_032_008,
    Kind.PIN: 24,
    Kind.PINNED: 24,
    Kind.READ: 664,
    Kind.DATA: 4_260_000,
    Kind.ESCROW_GET: 0,
    Kind.ESCROW: 2048,
    Kind.TAKEOVER: 136,
    Kind.CALL: 1_048_576,
    Kind.REPLY: 1_048_576,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame; the body belongs to the frame until it is given back to its reader."""

    kind: Kind
    body: memoryview


def build_header(kind: Kind, body_bytes: int) -> bytes:
    """The 8 bytes before a body. `ValueError` for a body that the kind cannot have."""
    if body_bytes > CAPS[kind]:
        raise ValueError(f"a {kind.name} of {body_bytes} bytes")
    return HEADER.pack(body_bytes, kind, 0)


def parse_header(data: bytes | bytearray | memoryview) -> tuple[Kind, int]:
    """Kind and length of the body; `ProtocolError` for an unknown kind or too long a body."""
    length, number, _ = HEADER.unpack(data)
    try:
        kind = Kind(number)
    except ValueError:
        raise ProtocolError(f"a frame of the unknown type {number}") from None
    if length > CAPS[kind]:
        raise ProtocolError(f"a {kind.name} of {length} bytes, at most {CAPS[kind]} are allowed")
    return kind, length
