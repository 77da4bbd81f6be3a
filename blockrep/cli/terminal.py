"""What the terminal at hand can show: its width, its characters, its colours.

Text from a disk (labels, paths) goes through `clean` before it is shown, so that a crafted name
cannot move the cursor or hide a line.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

DEFAULT_WIDTH = 80
MIN_WIDTH = 32
MAX_WIDTH = 160


class Colour(StrEnum):
    """Select Graphic Rendition codes of the sixteen colours that every terminal has."""

    BOLD = "1"
    DIM = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    BLUE = "34"
    MAGENTA = "35"
    CYAN = "36"
    DIVIDER = "1;31"


@dataclass(frozen=True, slots=True)
class Terminal:
    """`width` in columns; `unicode` and `colour` say what may be used."""

    width: int = DEFAULT_WIDTH
    unicode: bool = False
    colour: bool = False

    def paint(self, text: str, colour: Colour | None) -> str:
        """`text` in a colour, or as it is where there are none."""
        if colour is None or not self.colour or not text:
            return text
        return f"\x1b[{colour}m{text}\x1b[0m"


def survey_terminal(stream: TextIO, environment: Mapping[str, str] | None = None) -> Terminal:
    """What `stream` can show. Only a terminal gets colours, and none with NO_COLOR or TERM=dumb."""
    variables = os.environ if environment is None else environment
    tty = stream.isatty()
    dumb = variables.get("TERM", "dumb") == "dumb"
    return Terminal(
        width=_width(stream, tty, variables),
        unicode=_speaks_utf8(stream, variables),
        colour=tty and not dumb and not variables.get("NO_COLOR"),
    )


def clean(text: str) -> str:
    """`text` with everything unprintable written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no text, as os.fsdecode hands it on
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _width(stream: TextIO, tty: bool, variables: Mapping[str, str]) -> int:
    columns = variables.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns[:6]) > 0:
        width = int(columns[:6])
    elif tty:
        width = _terminal_columns(stream)
    else:
        width = DEFAULT_WIDTH
    return max(MIN_WIDTH, min(MAX_WIDTH, width))


def _terminal_columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH
    except OSError:
        return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns


def _speaks_utf8(stream: TextIO, variables: Mapping[str, str]) -> bool:
    """Whether both the stream and the user's locale are UTF-8.

    The interpreter sets LC_CTYPE=C.UTF-8 by itself in the C locale (PEP 538), which says nothing
    about the terminal; it is therefore believed only beside a LANG.
    """
    encoding = (stream.encoding or "").lower().replace("-", "")
    ctype = variables.get("LC_CTYPE", "")
    lang = variables.get("LANG", "")
    if ctype == "C.UTF-8" and lang in ("", "C", "POSIX"):
        ctype = ""
    locale = (variables.get("LC_ALL") or ctype or lang).lower().replace("-", "")
    return encoding == "utf8" and locale.endswith("utf8")
