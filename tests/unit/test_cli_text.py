"""What people read: maps at several widths, plans, errors, names that try tricks."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from cli_fakes import DISK, GIB, MIB, divide_summary, inspection
from hypothesis import given
from hypothesis import strategies as st

from blockrep import errors
from blockrep.cli.disk_map import Kind, Scene, build_map, scenes_of_plan
from blockrep.cli.exit_codes import _MEANINGS, exit_codes
from blockrep.cli.failure import failure_text
from blockrep.cli.progress import Position, describe
from blockrep.cli.terminal import Terminal, clean, survey_terminal
from blockrep.cli.text import inspection_lines, outcome_lines, plan_lines
from blockrep.cli.text_map import MARGIN, legend_lines, map_lines
from blockrep.divide.summary import Cell, Outcome, Region

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("width", [32, 40, 79, 80, 100, 160])
@pytest.mark.parametrize("unicode", [False, True])
@pytest.mark.parametrize("peers", [0, 1, 8, 60])
def test_map_keeps_to_its_width_and_shows_the_divider(
    width: int, unicode: bool, peers: int
) -> None:
    plan = divide_summary(peers) if peers else replace(divide_summary(1), segments=())
    terminal = Terminal(width, unicode)
    for scene in scenes_of_plan(plan):
        lines = map_lines(scene, terminal)
        assert all(len(line) <= width for line in lines)
        assert len(lines) >= 5
        divider = "║" if unicode else "|"
        assert sum(line.count(divider) for line in lines) == 1
        assert "".join(lines).isascii() or unicode
    for line in legend_lines(scenes_of_plan(plan), terminal):
        assert len(line) <= max(width, 30)


def test_every_segment_is_named_in_the_map() -> None:
    after = scenes_of_plan(divide_summary(8))[1]
    text = "".join(line[MARGIN:] for line in map_lines(after, Terminal(80))[1:])
    assert re.findall(r"\[(\d)", text) == list("12345678")
    assert text.index("|") < text.index("a") < text.index("[1")


def test_colours_change_nothing_but_the_colour() -> None:
    plan = divide_summary(8)
    plain = plan_lines(plan, Terminal(80, unicode=True))
    coloured = plan_lines(plan, Terminal(80, unicode=True, colour=True))
    assert plain != coloured
    assert [ESCAPES.sub("", line) for line in coloured] == plain


def test_plan_tells_what_matters() -> None:
    text = "\n".join(plan_lines(divide_summary(8), Terminal(80)))
    for part in (
        "Before", "After", "1 GiB (1073741824 bytes)", "523 MiB of files", "7 MiB of metadata",
        "about 4 s", "free blocks past the divider", "Note: the filesystem ends",
        "812, of which 41 are joined", "41 files -> 0", "921 MiB", "1077936128",
    ):  # fmt: skip
        assert part in text


def test_inspection_of_an_empty_disk() -> None:
    found = replace(inspection(), regions=(), host_partition=None, filesystem=None, table="none")
    assert inspection_lines(found, Terminal())


@pytest.mark.parametrize(
    "action", ["divided", "undivided", "unchanged", "finished", "backed out", "nothing to do"]
)
def test_outcome_is_a_sentence(action: str) -> None:
    line = outcome_lines(Outcome(action, "/dev/sda", (), 1.0, 0))[0]
    assert "/dev/sda" in line
    assert line.endswith(".")


def test_slices_next_to_the_divider_do_not_cross_it() -> None:
    scene = Scene("x", 1000, (Region("partition", 1, "", "ext4", 0, 333),), None, (), 333)
    drawn = build_map(scene, 7)
    assert drawn.divider_slice is not None
    assert drawn.starts_bytes[drawn.divider_slice] == 333
    assert {s.kind for s in drawn.slices[: drawn.divider_slice]} == {Kind.PARTITION}
    assert {s.kind for s in drawn.slices[drawn.divider_slice :]} == {Kind.OUTSIDE}


@given(
    st.integers(1, 1 << 44), st.integers(1, 1 << 44), st.integers(2, 400), st.integers(1, 50),
    st.integers(0, 4096),
)  # fmt: skip
def test_any_disk_gives_a_whole_map(
    disk: int, divider: int, count: int, cells: int, used: int
) -> None:
    region = Region("partition", 1, "", "ext4", disk // 10, max(1, disk // 2))
    cell = Cell(0, used, 0, 4096 - used)
    scene = Scene("x", disk, (region,), 1, (cell,) * cells, divider % disk or None)
    drawn = build_map(scene, count)
    assert len(drawn.slices) == len(drawn.starts_bytes) == count
    assert list(drawn.starts_bytes) == sorted(drawn.starts_bytes)
    assert all(len(line) <= 60 for line in map_lines(scene, Terminal(60)))


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (Cell(0, 0, 0, 10), Kind.FREE),
        (Cell(0, 1, 0, 9), Kind.PARTLY),
        (Cell(0, 9, 0, 1), Kind.CONTIGUOUS),
        (Cell(0, 3, 4, 3), Kind.FRAGMENTED),
        (Cell(9, 1, 0, 0), Kind.METADATA),
    ],
)
def test_kind_of_a_cell(cell: Cell, kind: Kind) -> None:
    region = Region("partition", 1, "", "ext4", 0, DISK)
    drawn = build_map(Scene("x", DISK, (region,), 1, (cell,) * 5, None), 9)
    assert {s.kind for s in drawn.slices} == {kind}


def test_a_name_cannot_command_the_terminal() -> None:
    assert clean("a\x1b[2J\u202eb\udcff\n") == "a\\x1b[2J\\u202eb\\xff\\x0a"
    named = replace(divide_summary(1), disk="\x1b[2Jx", notes=("\x07",), log_place="\r")
    assert not any(c in "\n".join(plan_lines(named, Terminal())) for c in "\x1b\x07\r")


class _Tty(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "unicode", "colour"),
    [
        ({"TERM": "xterm", "LANG": "en_GB.UTF-8"}, True, True),
        ({"TERM": "xterm", "LANG": "en_GB.UTF-8", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "LANG": "en_GB.UTF-8", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb", "LC_ALL": "C", "LANG": "en_GB.UTF-8"}, False, False),
        ({"TERM": "linux", "LC_CTYPE": "C.UTF-8"}, False, True),
        ({"TERM": "linux", "LC_ALL": "C.UTF-8"}, True, True),
        ({}, False, False),
    ],
)
def test_what_a_terminal_can(variables: dict[str, str], unicode: bool, colour: bool) -> None:
    found = survey_terminal(_Tty(io.BytesIO(), encoding="utf-8"), variables)
    assert (found.unicode, found.colour) == (unicode, colour)
    piped = survey_terminal(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), variables)
    assert not piped.colour
    assert not survey_terminal(_Tty(io.BytesIO(), encoding="latin-1"), variables).unicode


@pytest.mark.parametrize(("columns", "width"), [("100", 100), ("1", 32), ("9999", 160), ("x", 80)])
def test_width(columns: str, width: int) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    assert survey_terminal(stream, {"COLUMNS": columns}).width == width


def _all_errors(kind: type[errors.BlockrepError]) -> set[type[errors.BlockrepError]]:
    subs = set(kind.__subclasses__())
    return subs.union(*(_all_errors(sub) for sub in subs)) if subs else set()


def test_exit_codes_are_those_of_the_tree() -> None:
    kinds = _all_errors(errors.BlockrepError)
    assert set(_MEANINGS) == kinds
    codes = [code for code, _ in exit_codes()]
    assert len(codes) == len(set(codes)) == len(kinds) + 2
    tree = errors.__doc__ or ""
    for kind in kinds:
        assert re.search(rf"{kind.__name__} +{kind.exit_code}\b", tree)


def test_failure_is_a_sentence_a_hint_and_a_state() -> None:
    busy = errors.DeviceBusy("/dev/sda1 is mounted on /mnt")
    assert failure_text(busy, disk="/dev/sda", writes=True) == (
        "blockrep: /dev/sda1 is mounted on /mnt. Stop what uses the device, or start the rescue "
        "system, and try again. The disk is unchanged."
    )
    assert "unchanged" not in failure_text(busy, disk="/dev/sda")


def test_resumable_failure_names_the_command_that_resumes() -> None:
    error = errors.DeviceIO("cannot write", state=errors.DiskState.RESUMABLE)
    text = failure_text(error, disk="my disk.img", writes=True)
    assert "run `blockrep recover 'my disk.img'`" in text
    assert "unchanged" not in text
    unknown = errors.DeviceIO("cannot write", state=errors.DiskState.UNKNOWN)
    assert "Do not use the disk" in failure_text(unknown, disk="x", writes=True)


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (Position("checking", 0, 0, 0.5), "checking"),
        (Position("checking", 0, 0, 12.0), "checking: 12 s"),
        (
            Position("copying files", 430 * MIB, 1000 * MIB, 10.0),
            "copying files: 43 %, 43 MiB/s, about 13 s left",
        ),
        (Position("copying", GIB, GIB, 4.0), "copying: 100 %, 256 MiB/s"),
        (Position("copying", 2 * GIB, GIB, 4.0), "copying: 100 %, 512 MiB/s"),
    ],
)
def test_progress_line(position: Position, text: str) -> None:
    assert describe(position) == text
