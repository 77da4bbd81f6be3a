"""JSON of strangers: capped before it is parsed, and read field by field, each with its type.

Rules: docs/group-format.md. Everything that is wrong is `RecordDamaged`; nothing else is raised.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from blockrep.errors import RecordDamaged

MAX_DEPTH = 8
MAX_DIGITS = 16
MAX_NUMBER = (1 << 53) - 1

# A string, also one that never ends: what was looked at once is not looked at again, or a text of
# quotes that are escaped would take time with the square of its length.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def parse_object(data: bytes, max_bytes: int, what: str) -> Fields:
    """The object that `data` is; `what` names it in errors."""
    if len(data) > max_bytes:
        raise RecordDamaged(f"{what} of {len(data)} bytes, at most {max_bytes} are allowed")
    _check_depth(data, what)
    try:
        value = json.loads(
            data.decode(),
            parse_int=_whole_number,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError) as error:
        raise RecordDamaged(f"{what} is no JSON of ours: {error}") from error
    if not isinstance(value, dict):
        raise RecordDamaged(f"{what} is not an object")
    return Fields(value, what)


def build_json(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True, slots=True)
class Fields:
    """An object from a stranger. Each method gives one field, or raises `RecordDamaged`."""

    values: dict[str, object]
    what: str

    def number(self, name: str, most: int = MAX_NUMBER) -> int:
        """A whole number from 0 to `most`."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise self._wrong(name)
        return value

    def truth(self, name: str) -> bool:
        value = self.values.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name)
        return value

    def text(self, name: str, max_bytes: int) -> str:
        """Printable text, of at most that many bytes of UTF-8; may be empty."""
        return self._text_value(self.values.get(name), name, max_bytes)

    def name(self, name: str, max_bytes: int) -> str:
        """As `text`, and not empty."""
        value = self.text(name, max_bytes)
        if not value.strip():
            raise self._wrong(name)
        return value

    def hex(self, name: str, length_bytes: int) -> bytes:
        """Exactly so many bytes, in lower-case hex."""
        return self._hex_value(self.values.get(name), name, length_bytes)

    def base64(self, name: str, max_bytes: int) -> bytes:
        value = self.values.get(name)
        if not isinstance(value, str) or len(value) > (max_bytes + 2) // 3 * 4:
            raise self._wrong(name)
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._wrong(name) from error
        # One text for the same bytes: what was signed and hashed has no other form.
        if len(data) > max_bytes or to_base64(data) != value:
            raise self._wrong(name)
        return data

    def is_null(self, name: str) -> bool:
        """Whether the field is null, or not there."""
        return self.values.get(name) is None

    def child(self, name: str) -> Fields:
        value = self.values.get(name)
        if not isinstance(value, dict):
            raise self._wrong(name)
        return Fields(value, self.what)

    def children(self, name: str, most: int) -> list[Fields]:
        return [self._as_object(value, name) for value in self._list(name, most)]

    def keys(self, name: str, length_bytes: int, most: int) -> tuple[bytes, ...]:
        """A list of keys or ids, none twice."""
        found = tuple(self._hex_value(v, name, length_bytes) for v in self._list(name, most))
        if len(set(found)) != len(found):
            raise self._wrong(name)
        return found

    def texts(self, name: str, max_bytes: int, most: int) -> tuple[str, ...]:
        return tuple(self._text_value(v, name, max_bytes) for v in self._list(name, most))

    def rows(self, name: str, most: int) -> list[list[object]]:
        """A list of lists, whose content the caller reads."""
        rows = self._list(name, most)
        found = [row for row in rows if isinstance(row, list)]
        if len(found) != len(rows):
            raise self._wrong(name)
        return found

    def _list(self, name: str, most: int) -> list[object]:
        value = self.values.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise self._wrong(name)
        return value

    def _as_object(self, value: object, name: str) -> Fields:
        if not isinstance(value, dict):
            raise self._wrong(name)
        return Fields(value, self.what)

    def _text_value(self, value: object, name: str, max_bytes: int) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise self._wrong(name)
        # A lone surrogate is not printable, so this cannot fail.
        if len(value.encode()) > max_bytes:
            raise self._wrong(name)
        return value

    def _hex_value(self, value: object, name: str, length_bytes: int) -> bytes:
        if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{length_bytes * 2}}}", value):
            raise self._wrong(name)
        return bytes.fromhex(value)

    def _wrong(self, name: str) -> RecordDamaged:
        return RecordDamaged(f"{self.what}: {name!r} is missing or makes no sense")


def _check_depth(data: bytes, what: str) -> None:
    """Before any object is made: the parser of the library goes down without a limit of ours."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(data):
        depth += _STEPS.get(found[0], 0)
        if depth > MAX_DEPTH:
            raise RecordDamaged(f"{what} is nested too deeply")


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number that is too long")
    return int(text)


def _no_fraction(text: str) -> object:
    raise ValueError(f"{text[:20]} is not a whole number")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found
