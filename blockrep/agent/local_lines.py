"""The protocol of the local socket: a JSON object on each line, UTF-8.

    client   {"verb": "backup", "arguments": {...}}        once
             {"cancel": true}                               at any time after
    agent    {"job": 7}                                     a job was started
             {"phase": "...", "done_bytes": 1, "total_bytes": 2}   any number of times
             {"result": {...}} or {"error": {...}}          once, then it closes

Both sides limit the length of a line before they keep it.
"""

from __future__ import annotations

import json
from typing import Any

from blockrep import errors
from blockrep.errors import BlockrepError, DiskState, InternalError, UsageError

Document = dict[str, Any]
MAX_REQUEST_BYTES = 1 << 20
MAX_ANSWER_BYTES = 16 << 20
MAX_VERB_LENGTH = 64


def build_line(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def parse_line(line: bytes) -> Document:
    """The object of a line; `UsageError` for anything else."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError("a line of the local socket is not JSON") from error
    if not isinstance(document, dict):
        raise UsageError("a line of the local socket is not an object")
    return document


def request_of(document: Document) -> tuple[str, Document]:
    """The verb and its arguments."""
    verb, arguments = document.get("verb"), document.get("arguments", {})
    if not isinstance(verb, str) or len(verb) > MAX_VERB_LENGTH or not isinstance(arguments, dict):
        raise UsageError("a request without a verb")
    return verb, arguments


class LineReader:
    """Lines out of pieces as they arrive; keeps at most `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now; `UsageError` when one becomes too long."""
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        if len(rest) > self._most or any(len(line) > self._most for line in lines):
            raise UsageError(f"a line of the local socket is longer than {self._most} bytes")
        self._buffer = rest
        return [bytes(line) for line in lines]


def error_document(error: BlockrepError) -> Document:
    """An error as the other side can make it again."""
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "disk_state": error.state.value,
    }


def error_of(document: object) -> BlockrepError:
    """The error that `error_document` described; an `InternalError` for one nobody knows."""
    if not isinstance(document, dict):
        return InternalError("the agent answered with an error that makes no sense")
    kind = getattr(errors, str(document.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, BlockrepError)):
        kind = InternalError
    state = document.get("disk_state")
    known = state if state in tuple(DiskState) else DiskState.UNKNOWN
    message, hint = str(document.get("message", "")), str(document.get("hint", ""))
    return kind(message, hint=hint, state=DiskState(known))
