"""Pieces that several messages have: texts of a fixed length, numbers with bounds, whole bodies."""

from __future__ import annotations

import struct
from typing import Any

from blockrep.errors import ProtocolError

Body = bytes | bytearray | memoryview

NAME_BYTES = 64
RECORD_BYTES = 1024
NO_ID = bytes(16)
NO_RECORD = bytes(RECORD_BYTES)
# Far beyond every disk, and far below what overflows when it is multiplied by a chunk.
LARGEST_CONTENT_BYTES = 1 << 56
LARGEST_CHUNK = LARGEST_CONTENT_BYTES // 65536


def unpack(fields: struct.Struct, body: Body, what: str) -> tuple[Any, ...]:
    """The fields of a body of exactly this length."""
    if len(body) != fields.size:
        raise ProtocolError(f"a {what} of {len(body)} bytes, not {fields.size}")
    return fields.unpack(body)


def split_head(fields: struct.Struct, body: Body, what: str) -> tuple[Any, ...]:
    """The fields that a longer body begins with."""
    if len(body) < fields.size:
        raise ProtocolError(f"a {what} of {len(body)} bytes, at least {fields.size} are needed")
    return fields.unpack_from(body)


def check_between(value: int, least: int, most: int, what: str) -> None:
    if not least <= value <= most:
        raise ProtocolError(f"{what} is {value}, not between {least} and {most}")


def build_name(name: str) -> bytes:
    """`ValueError` for what does not fit or has control characters."""
    data = name.encode()
    if len(data) > NAME_BYTES or not name.isprintable():
        raise ValueError(f"{name!r} is no name of at most {NAME_BYTES} bytes")
    return data.ljust(NAME_BYTES, b"\0")


def parse_name(data: bytes) -> str:
    try:
        name = data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise ProtocolError("a name that is not UTF-8") from None
    if not name.isprintable():
        raise ProtocolError("a name with control characters")
    return name


def record_or_none(data: bytes) -> bytes | None:
    """Zeros stand for no epoch."""
    return None if data == NO_RECORD else data
