"""Maps of a disk in the characters of a terminal, read like a page, from left to right.

    Before
        0 bytes  ████▄▄███░░··▄▄▄████░░░░···▄▄███··············║·········▄▄▄▄····
       2.25 GiB  ···█████··············································▄▄▄▄···········

The glyphs are those of code page 437, which even the console of a rescue system has.
"""

from __future__ import annotations

from blockrep.cli.disk_map import MEANINGS, DiskMap, Kind, Scene, Slice, build_map
from blockrep.cli.terminal import Colour, Terminal
from blockrep.units import format_bytes

MARGIN = 13
MIN_ROWS, MAX_ROWS = 4, 12
COLUMNS_PER_SEGMENT = 7

_GLYPHS = {
    Kind.METADATA: "▒",
    Kind.CONTIGUOUS: "█",
    Kind.FRAGMENTED: "▄",
    Kind.PARTLY: "░",
    Kind.FREE: "·",
    Kind.AREA: "■",
    Kind.OUTSIDE: " ",
}
_ASCII = {
    Kind.METADATA: "=",
    Kind.CONTIGUOUS: "#",
    Kind.FRAGMENTED: "%",
    Kind.PARTLY: "+",
    Kind.FREE: ".",
    Kind.AREA: "a",
    Kind.OUTSIDE: " ",
}
_COLOURS = {
    Kind.METADATA: Colour.CYAN,
    Kind.CONTIGUOUS: Colour.GREEN,
    Kind.FRAGMENTED: Colour.YELLOW,
    Kind.PARTLY: Colour.GREEN,
    Kind.FREE: Colour.DIM,
    Kind.PARTITION: Colour.MAGENTA,
    Kind.AREA: Colour.RED,
    Kind.SEGMENT: Colour.BLUE,
    Kind.RESERVE: Colour.BLUE,
}

_Painted = tuple[str, Colour | None]


def map_lines(scene: Scene, terminal: Terminal) -> list[str]:
    """The map under its title, `terminal.width` columns at most, without the legend."""
    width = terminal.width - MARGIN
    rows = max(MIN_ROWS, min(MAX_ROWS, -(-scene.segments * COLUMNS_PER_SEGMENT // width)))
    has_divider = scene.divider_bytes is not None
    drawn = build_map(scene, rows * width - has_divider)
    characters = _characters(drawn, terminal)
    title = terminal.paint(scene.title, Colour.BOLD)
    lines = [f"{title}  ({format_bytes(scene.disk_bytes)})"]
    for at in range(0, len(characters), width):
        offset = format_bytes(_offset_of(drawn, at))
        row = _paint_row(characters[at : at + width], terminal)
        lines.append(f"{offset:>{MARGIN - 2}}  {row}".rstrip())
    return lines


def legend_lines(scenes: tuple[Scene, ...], terminal: Terminal) -> list[str]:
    """What the signs mean, of those that appear."""
    count = MIN_ROWS * (terminal.width - MARGIN)
    kinds: set[Kind] = set()
    for scene in scenes:
        kinds |= build_map(scene, count).kinds()
    entries = [(_sign(kind, terminal), _COLOURS[kind], text) for kind, text in MEANINGS.items()
               if kind in kinds and kind is not Kind.OUTSIDE]  # fmt: skip
    dividers = [scene.divider_bytes for scene in scenes if scene.divider_bytes is not None]
    if dividers:
        where = f"the divider, at {format_bytes(dividers[0])}"
        entries.insert(0, (_divider(terminal), Colour.DIVIDER, where))
    return _wrap_entries(entries, terminal)


def _characters(drawn: DiskMap, terminal: Terminal) -> list[_Painted]:
    """A character per slice, and one for the divider between its slices."""
    result: list[_Painted] = []
    for start, length, piece in drawn.runs():
        if start == drawn.divider_slice:
            result.append((_divider(terminal), Colour.DIVIDER))
        text = _run_text(piece, length, terminal)
        if drawn.divider_slice is not None and start < drawn.divider_slice < start + length:
            cut = drawn.divider_slice - start
            result += [(c, _COLOURS.get(piece.kind)) for c in text[:cut]]
            result.append((_divider(terminal), Colour.DIVIDER))
            text = text[cut:]
        result += [(c, _COLOURS.get(piece.kind)) for c in text]
    return result


def _run_text(piece: Slice, length: int, terminal: Terminal) -> str:
    glyph = (_GLYPHS if terminal.unicode else _ASCII).get(piece.kind)
    if glyph is not None:
        return glyph * length
    left, right = "()" if piece.kind is Kind.PARTITION else "[]"
    label = "reserve" if piece.kind is Kind.RESERVE else str(piece.number or "")
    line = "─" if terminal.unicode else "-"
    if length == 1:
        return left
    inner = length - 2
    return left + (label if len(label) <= inner else "").ljust(inner, line) + right


def _divider(terminal: Terminal) -> str:
    return "║" if terminal.unicode else "|"


def _sign(kind: Kind, terminal: Terminal) -> str:
    length = {Kind.PARTITION: 4, Kind.SEGMENT: 5, Kind.RESERVE: 9}.get(kind, 1)
    number = 1 if kind is Kind.SEGMENT else None
    return _run_text(Slice(kind, number), length, terminal)


def _offset_of(drawn: DiskMap, at: int) -> int:
    """Where the slice begins whose character is the `at`th, the divider being a character too."""
    split = drawn.divider_slice
    index = at if split is None or at <= split else at - 1
    return drawn.starts_bytes[min(index, len(drawn.starts_bytes) - 1)]


def _paint_row(row: list[_Painted], terminal: Terminal) -> str:
    """Alike neighbours share one colour code."""
    parts: list[str] = []
    at = 0
    while at < len(row):
        end = at
        while end < len(row) and row[end][1] == row[at][1]:
            end += 1
        parts.append(terminal.paint("".join(c for c, _ in row[at:end]), row[at][1]))
        at = end
    return "".join(parts)


def _wrap_entries(entries: list[tuple[str, Colour, str]], terminal: Terminal) -> list[str]:
    lines: list[str] = []
    used = terminal.width
    for sign, colour, text in entries:
        length = len(sign) + 1 + len(text)
        painted = f"{terminal.paint(sign, colour)} {text}"
        if lines and used + 3 + length <= terminal.width:
            lines[-1] += "   " + painted
            used += 3 + length
        else:
            lines.append("  " + painted)
            used = 2 + length
    return lines
