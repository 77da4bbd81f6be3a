"""The map of a disk as a picture: rows of cells, the divider as a line, segments as boxes."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from blockrep.cli.disk_map import MEANINGS, DiskMap, Kind, Scene, Slice, build_map
from blockrep.cli.terminal import clean
from blockrep.units import format_bytes

COLUMNS, ROWS = 80, 24
CELL, PITCH = 10, 12
LEFT, TOP, RIGHT = 90, 64, 24
LEGEND_PITCH = 22

_FILLS = {
    Kind.METADATA: "#7b6fb0",
    Kind.CONTIGUOUS: "#2f7d4f",
    Kind.FRAGMENTED: "#e08a1e",
    Kind.PARTLY: "#a9d3b8",
    Kind.FREE: "#e9ecef",
    Kind.PARTITION: "#8c96a0",
    Kind.AREA: "#c0392b",
    Kind.SEGMENT: "#cfe0f5",
    Kind.RESERVE: "#dfe8f3",
    Kind.OUTSIDE: "#f8f9fa",
}
_DIVIDER_COLOUR = "#c0392b"
_BOX_COLOUR = "#2c5f9e"


def build_svg(scene: Scene, subtitle: str) -> str:
    """A standalone SVG document; `scene.title` and `subtitle` may hold any text."""
    drawn = build_map(scene, COLUMNS * ROWS)
    legend = _legend(drawn)
    width = LEFT + COLUMNS * PITCH + RIGHT
    height = TOP + ROWS * PITCH + 24 + LEGEND_PITCH * (-(-len(legend) // 4)) + 16
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="12" fill="#212529">',
        f"<title>{_text(scene.title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="28" font-size="18" font-weight="bold">{_text(scene.title)}</text>',
        f'<text x="{LEFT}" y="48" fill="#5c6670">{_text(subtitle)}</text>',
        *_offsets(drawn),
        *_cells(drawn),
        *_boxes(drawn),
        *_divider(drawn),
        *_legend_parts(legend),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(text: str) -> str:
    return escape(clean(text))


def _place(index: int) -> tuple[int, int]:
    row, column = divmod(index, COLUMNS)
    return LEFT + column * PITCH, TOP + row * PITCH


def _offsets(drawn: DiskMap) -> list[str]:
    """Where every fourth row begins."""
    return [
        f'<text x="{LEFT - 10}" y="{TOP + row * PITCH + CELL - 1}" font-size="10" '
        f'text-anchor="end" fill="#5c6670">'
        f"{format_bytes(drawn.starts_bytes[row * COLUMNS])}</text>"
        for row in range(0, ROWS, 4)
    ]


def _cells(drawn: DiskMap) -> list[str]:
    """A path per kind: thousands of cells as elements of their own would be slow to show."""
    paths: dict[Kind, list[str]] = {}
    for index, piece in enumerate(drawn.slices):
        x, y = _place(index)
        paths.setdefault(piece.kind, []).append(f"M{x} {y}h{CELL}v{CELL}h-{CELL}z")
    return [
        f'<path class={quoteattr(kind)} fill="{_FILLS[kind]}" d="{"".join(path)}"/>'
        for kind, path in paths.items()
    ]


def _boxes(drawn: DiskMap) -> list[str]:
    """An outline around each segment, the reserve and each other partition, with its name."""
    result: list[str] = []
    for start, length, piece in drawn.runs():
        label = _label(piece)
        if not label:
            continue
        colour = "#5c6670" if piece.kind is Kind.PARTITION else _BOX_COLOUR
        result.append(
            f'<path class="box" fill="none" stroke="{colour}" stroke-width="1.5" '
            f'd="{_outline(start, start + length)}"/>'
        )
        result += _box_label(start, length, label, colour)
    return result


def _label(piece: Slice) -> str:
    if piece.kind is Kind.SEGMENT:
        return f"segment {piece.number}"
    if piece.kind is Kind.PARTITION:
        return f"partition {piece.number}" if piece.number else "filesystem"
    return "reserve" if piece.kind is Kind.RESERVE else ""


def _box_label(start: int, length: int, label: str, colour: str) -> list[str]:
    """The name in the row of the box where most of it is; none where it has no room."""
    row_end = (start // COLUMNS + 1) * COLUMNS
    at, room = start, min(length, row_end - start)
    if min(start + length, row_end + COLUMNS) - row_end > room:
        at, room = row_end, min(start + length - row_end, COLUMNS)
    span = len(label) * 6 + 8
    if room * PITCH < span + 8:
        return []
    x, y = _place(at)
    return [
        f'<rect x="{x + 3}" y="{y}" width="{span}" height="{CELL}" fill="#ffffff"/>'
        f'<text x="{x + 7}" y="{y + CELL - 1}" font-size="10" fill="{colour}">{_text(label)}</text>'
    ]


def _outline(start: int, end: int) -> str:
    """The path around the slices `start` to `end`, which may run over several rows."""
    gap = (PITCH - CELL) / 2
    left, right = LEFT - gap, LEFT + COLUMNS * PITCH - gap
    (xa, ya), (xb, yb) = _place(start), _place(end - 1)
    x0, x1 = xa - gap, xb + PITCH - gap
    top, bottom = ya - gap, yb + PITCH - gap
    if ya == yb:
        return f"M{x0} {top}H{x1}V{bottom}H{x0}z"
    if yb == ya + PITCH and x1 <= x0:
        middle = ya + PITCH - gap
        return f"M{x0} {top}H{right}V{middle}H{x0}zM{left} {middle}H{x1}V{bottom}H{left}z"
    return f"M{x0} {top}H{right}V{yb - gap}H{x1}V{bottom}H{left}V{ya + PITCH - gap}H{x0}z"


def _divider(drawn: DiskMap) -> list[str]:
    """One line through the map: above and left of it the first area, the second below it."""
    if drawn.divider_slice is None or drawn.divider_bytes is None:
        return []
    gap = (PITCH - CELL) / 2
    x, y = _place(drawn.divider_slice)
    left, right = LEFT - gap - 8, LEFT + COLUMNS * PITCH - gap + 8
    x0, y0, y1 = x - gap, y - gap, y + PITCH - gap
    return [
        f'<path class="divider" fill="none" stroke="{_DIVIDER_COLOUR}" stroke-width="3" '
        f'd="M{left} {y1}H{x0}V{y0}H{right}"/>'
    ]


def _legend(drawn: DiskMap) -> list[tuple[str, str]]:
    entries = [(_FILLS[kind], text) for kind, text in MEANINGS.items() if kind in drawn.kinds()]
    if drawn.divider_slice is not None and drawn.divider_bytes is not None:
        entries.append((_DIVIDER_COLOUR, f"the divider, at {format_bytes(drawn.divider_bytes)}"))
    return entries


def _legend_parts(legend: list[tuple[str, str]]) -> list[str]:
    result: list[str] = []
    for index, (fill, text) in enumerate(legend):
        row, column = divmod(index, 4)
        x = LEFT + column * 220
        y = TOP + ROWS * PITCH + 24 + row * LEGEND_PITCH
        result.append(
            f'<rect x="{x}" y="{y}" width="12" height="12" fill="{fill}" stroke="#adb5bd"/>'
            f'<text x="{x + 18}" y="{y + 10}">{_text(text)}</text>'
        )
    return result
