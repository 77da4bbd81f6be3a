"""Values as JSON: the one helper that turns summaries into documents.

With --json a command writes exactly one document to standard output, also when it fails. Its keys
are the field names of the values in blockrep/divide/summary.py, with their units.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from enum import Enum
from pathlib import PurePath
from typing import Any

from blockrep.errors import BlockrepError

Document = dict[str, Any]


def to_plain(value: object) -> Any:
    """Dataclasses and named tuples become objects, other sequences lists, paths and enums text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: to_plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    return value


def error_value(error: BlockrepError) -> Document:
    """What a caller needs to know of an error, under the key `error`."""
    return {
        "kind": type(error).__name__,
        "exit_code": error.exit_code,
        "message": error.message,
        "hint": error.hint,
        "disk_state": error.state.value,
        "retryable": error.retryable,
    }


def document_text(document: Document) -> str:
    return json.dumps(document, indent=2) + "\n"


def document_chunks(document: Document, key: str, items: Iterable[object]) -> Iterable[str]:
    """The document with a long list under `key`, one item per line, never held as a whole."""
    head = json.dumps(document, indent=2).removesuffix("\n}")
    yield f"{head},\n  {json.dumps(key)}: ["
    separator = "\n    "
    for item in items:
        yield separator + json.dumps(to_plain(item))
        separator = ",\n    "
    yield "\n  ]\n}\n"
