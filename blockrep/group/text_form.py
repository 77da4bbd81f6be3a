"""The text form of codes and keys: what people copy, print and type (docs/group-format.md)."""

from __future__ import annotations

import hashlib

from blockrep.errors import UsageError

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LOOK_ALIKE = str.maketrans("OIL", "011")
_GROUP_LETTERS = 5
_CHECKSUM_BYTES = 4
MAX_TEXT = 1024


def build_text(prefix: str, data: bytes) -> str:
    """`data` with its checksum, in base32, in groups; `prefix` (three letters) says what it is."""
    whole = data + _checksum(prefix, data)
    bits = len(whole) * 8
    letters = -(-bits // 5)
    number = int.from_bytes(whole, "big") << (letters * 5 - bits)
    text = "".join(_ALPHABET[number >> 5 * at & 31] for at in reversed(range(letters)))
    groups = [text[at : at + _GROUP_LETTERS] for at in range(0, letters, _GROUP_LETTERS)]
    return "-".join([prefix, *groups])


def parse_text(prefix: str, text: str, what: str) -> bytes:
    """The opposite of `build_text`; `UsageError` that calls it `what` when it is mistyped."""
    letters = normal_letters(text)
    if not letters.startswith(normal_letters(prefix)):
        raise UsageError(f"{what} begins with {prefix}")
    values = [_VALUES.get(letter) for letter in letters[len(prefix) :]]
    for at, value in enumerate(values):
        if value is None:
            raise UsageError(f"{what} has a letter that cannot be in it, in group {at // 5 + 1}")
    number = 0
    for value in values:
        number = number << 5 | (value or 0)
    length, rest = divmod(len(values) * 5, 8)
    whole = (number >> rest).to_bytes(length, "big")
    data = whole[:-_CHECKSUM_BYTES]
    if number & ((1 << rest) - 1) or whole[len(data) :] != _checksum(prefix, data):
        raise UsageError(f"{what} is mistyped, or a part of it is missing")
    return data


def normal_letters(text: str) -> str:
    """Without white space and dashes, in capitals, each letter as it is read from paper."""
    if len(text) > MAX_TEXT:
        raise UsageError(f"a text of {len(text)} letters is no code and no key")
    return "".join(text.split()).replace("-", "").upper().translate(_LOOK_ALIKE)


def _checksum(prefix: str, data: bytes) -> bytes:
    return hashlib.sha256(b"blockrep text 1\0" + prefix.encode() + data).digest()[:_CHECKSUM_BYTES]
