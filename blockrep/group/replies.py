"""CALL and REPLY: how a question and its answer stand in JSON (docs/group-format.md)."""

from __future__ import annotations

from typing import NoReturn

from blockrep.errors import (
    BlockrepError,
    InvitationRefused,
    NotAllowed,
    NotAMember,
    RecordDamaged,
)
from blockrep.group.strict_json import Fields, build_json, parse_object

MAX_CALL_BYTES = 1 << 20
MAX_JOIN_CALL_BYTES = 16 << 10
MAX_REPLY_BYTES = 1 << 20
MAX_TEXT_BYTES = 1024

PROTOCOL = 1
NOT_A_MEMBER = 3
NO_RIGHT = 4
TOO_MANY = 10


def build_call(verb: str, **fields: object) -> bytes:
    return build_json({"verb": verb, **fields})


def build_reply(**fields: object) -> bytes:
    return build_json({"ok": True, **fields})


def build_refusal(code: int, text: str) -> bytes:
    return build_json({"ok": False, "error": code, "text": text})


def parse_call(data: bytes, max_bytes: int) -> tuple[str, Fields]:
    """The verb, and all fields; `RecordDamaged`."""
    fields = parse_object(data, max_bytes, "a call")
    return fields.text("verb", 64), fields


def parse_reply(data: bytes) -> Fields:
    """The fields of a good answer.

    A refusal raises what its code means: `NotAMember`, `NotAllowed`, `InvitationRefused`,
    `RecordDamaged`. `RecordDamaged` as well for what is no answer.
    """
    fields = parse_object(data, MAX_REPLY_BYTES, "a reply")
    if not fields.truth("ok"):
        _raise_refusal(fields.number("error"), fields.text("text", MAX_TEXT_BYTES))
    return fields


def _raise_refusal(code: int, text: str) -> NoReturn:
    kinds: dict[int, type[BlockrepError]] = {
        NOT_A_MEMBER: NotAMember,
        NO_RIGHT: NotAllowed,
        TOO_MANY: InvitationRefused,
    }
    raise kinds.get(code, RecordDamaged)(f"the other machine refused: {text}")
