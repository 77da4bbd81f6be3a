"""The NBD protocol as bytes: fixed newstyle handshake, simple replies.

Source: doc/proto.md of the NBD project. All numbers are big-endian. Pure codecs, without a socket;
what a client says is checked against a cap by whoever reads it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 0b11)  # fixed newstyle, no zeroes
CLIENT_FLAGS = struct.Struct(">I")
KNOWN_CLIENT_FLAGS = 0b11
NO_ZEROES = 0b10
OPTION = struct.Struct(">8sII")
OPTION_MAGIC = b"IHAVEOPT"
OPTION_REPLY = struct.Struct(">QIII")
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST = struct.Struct(">IHHQQI")
REQUEST_MAGIC = 0x25609513
REPLY = struct.Struct(">IIQ")
REPLY_MAGIC = 0x67446698

MAX_OPTION_BYTES = 8192
MAX_PAYLOAD_BYTES = 32 << 20  # what the protocol says that a server takes without having said so
MIN_BLOCK_BYTES, BEST_BLOCK_BYTES = 1, 65536
PAD_BYTES = 124


class Option(IntEnum):
    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    INFO = 6
    GO = 7


class Answer(IntEnum):
    ACK = 1
    SERVER = 2
    INFO = 3
    UNSUPPORTED = 1 << 31 | 1
    INVALID = 1 << 31 | 3
    UNKNOWN = 1 << 31 | 6
    TOO_BIG = 1 << 31 | 9


class Info(IntEnum):
    EXPORT = 0
    NAME = 1
    DESCRIPTION = 2
    BLOCK_SIZE = 3


class ExportFlag(IntFlag):
    HAS_FLAGS = 1
    READ_ONLY = 2
    SEND_FLUSH = 4
    MULTI_CONN = 256


class Command(IntEnum):
    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    CACHE = 5
    WRITE_ZEROES = 6


class Fault(IntEnum):
    """Errors of a reply, in the protocol's own numbers."""

    PERMISSION = 1
    IO = 5
    INVALID = 22


# Many connections see the same: nobody writes.
FLAGS = ExportFlag.HAS_FLAGS | ExportFlag.READ_ONLY | ExportFlag.SEND_FLUSH | ExportFlag.MULTI_CONN


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks in the transmission phase."""

    flags: int
    command: int
    cookie: int
    offset_bytes: int
    length_bytes: int


def parse_request(data: bytes) -> Request | None:
    """None when it is no request."""
    magic, *fields = REQUEST.unpack(data)
    return Request(*fields) if magic == REQUEST_MAGIC else None


def build_reply(cookie: int, fault: int = 0) -> bytes:
    return REPLY.pack(REPLY_MAGIC, fault, cookie)


def build_answer(option: int, answer: Answer, data: bytes = b"") -> bytes:
    return OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, answer, len(data)) + data


def build_listing(name: bytes, description: bytes) -> bytes:
    """The data of an answer SERVER."""
    return struct.pack(">I", len(name)) + name + description


def parse_choice(data: bytes) -> tuple[bytes, tuple[int, ...]] | None:
    """The name and the infos that INFO or GO ask for; None when the data does not fit itself."""
    if len(data) < 6:
        return None
    length = struct.unpack_from(">I", data)[0]
    if length > len(data) - 6:
        return None
    count = struct.unpack_from(">H", data, 4 + length)[0]
    if len(data) != 6 + length + 2 * count:
        return None
    return data[4 : 4 + length], struct.unpack_from(f">{count}H", data, 6 + length)


def build_size(size_bytes: int) -> bytes:
    """What EXPORT_NAME is answered with, and the tail of the info EXPORT."""
    return struct.pack(">QH", size_bytes, FLAGS)


def build_info(info: Info, rest: bytes) -> bytes:
    return struct.pack(">H", info) + rest


def build_block_sizes() -> bytes:
    return struct.pack(">III", MIN_BLOCK_BYTES, BEST_BLOCK_BYTES, MAX_PAYLOAD_BYTES)
