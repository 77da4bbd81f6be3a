"""Sizes as people write them, and as they like to read them.

`1G` and `1GiB` are 2**30 bytes, `1GB` is 10**9, a bare number is bytes, and `11%` is a share of the
device; all may be fractions. Values are exact until they are resolved to whole bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from blockrep.errors import UsageError

MAX_BYTES = 2**63 - 1

_LETTERS = "KMGTPE"
_NUMBER = r"(?P<number>[0-9]{1,20}(?:\.[0-9]{1,20})?)"
_SIZE = re.compile(_NUMBER + r" ?(?P<letter>[KMGTPEkmgtpe])?(?P<suffix>iB|B)?")
_PERCENT = re.compile(_NUMBER + r" ?%")


@dataclass(frozen=True, slots=True)
class Size:
    """A size as it was asked for: bytes, or a share of a device that is not known yet.

    `amount` is bytes, or with `relative` the share of the device from 0 to 1. `text` is what the
    user wrote.
    """

    text: str
    amount: Fraction
    relative: bool = False

    def resolve(self, device_bytes: int) -> int:
        """Whole bytes on a device of `device_bytes`, rounded down."""
        exact = self.amount * device_bytes if self.relative else self.amount
        return int(exact)


def parse_size(text: str) -> Size:
    """The size that `text` means; `UsageError` when it means none, or less than one byte."""
    percent = _PERCENT.fullmatch(text.strip())
    if percent:
        return Size(text, _share(text, percent["number"]), relative=True)
    found = _SIZE.fullmatch(text.strip())
    if not found or (found["suffix"] == "iB" and not found["letter"]):
        raise _not_a_size(text)
    amount = Fraction(found["number"]) * _factor(found["letter"] or "", found["suffix"] or "")
    if not 1 <= amount <= MAX_BYTES:
        raise UsageError(f"the size {text!r} is out of range")
    return Size(text, amount)


def parse_share(text: str) -> float:
    """The share, from 0 to less than 1, that a percentage means; `0` needs no sign."""
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    found = _PERCENT.fullmatch(stripped)
    if not found:
        raise UsageError(
            f"{text!r} is not a share", hint="write it as a percentage, for example 10%"
        )
    share = Fraction(found["number"]) / 100
    if share >= 1:
        raise UsageError(f"the share {text!r} leaves nothing", hint="it must be below 100%")
    return float(share)


def format_bytes(count: int) -> str:
    """About three significant digits in binary units: `1.46 GiB`, `700 MiB`, `512 bytes`."""
    if abs(count) < 1024:
        return f"{count} byte" if abs(count) == 1 else f"{count} bytes"
    value = Fraction(count)
    for letter in _LETTERS:
        value /= 1024
        shown = _three_digits(value)
        if abs(float(shown)) < 1024 or letter == _LETTERS[-1]:
            return f"{shown} {letter}iB"
    raise AssertionError("the last letter always returns")


def format_exact(count: int) -> str:
    """As `format_bytes`, with the number of bytes: `1 GiB (1073741824 bytes)`."""
    short = format_bytes(count)
    return short if count < 1024 else f"{short} ({count} bytes)"


def format_share(share: float) -> str:
    """`12.5 %`, `3 %`; what is not nothing never reads as 0."""
    percent = share * 100
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f}".removesuffix(".0") + " %"


def format_duration(seconds: float) -> str:
    """`less than a second`, `12 s`, `3 min 20 s`, `1 h 5 min`."""
    if seconds < 1:
        return "less than a second"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two_units(whole, 60, "min", "s")
    return _two_units(whole // 60, 60, "h", "min")


def _share(text: str, number: str) -> Fraction:
    share = Fraction(number) / 100
    if not 0 < share <= 1:
        raise UsageError(f"{text!r} is not between 0% and 100%")
    return share


def _factor(letter: str, suffix: str) -> int:
    if not letter:
        return 1
    base = 1000 if suffix == "B" else 1024
    return int(base ** (_LETTERS.index(letter.upper()) + 1))


def _not_a_size(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a size",
        hint="write for example 1G (1 GiB), 1GB (10^9 bytes), 1.5G, 1073741824 or 11%",
    )


def _three_digits(value: Fraction) -> str:
    size = abs(value)
    places = 2 if size < 10 else 1 if size < 100 else 0
    text = f"{float(value):.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def _two_units(count: int, base: int, large: str, small: str) -> str:
    first, rest = divmod(count, base)
    return f"{first} {large} {rest} {small}" if rest else f"{first} {large}"
