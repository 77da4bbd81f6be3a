"""The grammar of the command line, and the help that teaches it.

Man pages and shell completion are checked against this parser by tests.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from blockrep.cli.exit_codes import exit_codes
from blockrep.cli.parser_group import Add, add_group_verbs
from blockrep.cli.parser_restore import add_restore_verbs
from blockrep.errors import UsageError
from blockrep.units import parse_share, parse_size

_T = TypeVar("_T")

MAX_PEERS = 64  # as many segments as an area record has room for

_SIZES = """\
sizes: 1G or 1GiB is 2^30 bytes, 1GB is 10^9 bytes, a bare number is bytes,
1.5G is allowed, and 11% is a share of the disk.
"""

_DESCRIPTION = """\
Divide a disk into a first area, which stays this machine's, and a second area of
segments that other machines of a group will keep their copies in.

  blockrep devices                                what disks there are
  blockrep inspect /dev/sda                       what lies where, and how small it can get
  blockrep divide /dev/sda --first 1G --peers 8   show the plan, ask, divide
  blockrep undivide /dev/sda                      give the second area back
  blockrep group create family                    make a group; invite and join bring others in
  blockrep backup                                 send the first area to the other members
  blockrep status                                 what is protected, and what is not
"""

_DEVICES = """\
List every block device: its size, model, sectors, partition table and filesystems, what
holds it, and whether it can be divided - and if not, why.

examples:
  blockrep devices
  blockrep devices --json | jq -r '.devices[].path'
"""

_INSPECT = """\
Show where the files of a disk lie, how many are in pieces, and how small its first area
could be; of a divided disk also its divider and segments. Nothing is changed.

examples:
  blockrep inspect /dev/sda
  blockrep inspect disk.img --svg before.svg      the map as a picture
  blockrep inspect /dev/sda --files | sort -rn    the files in most pieces first
"""

_DIVIDE = f"""\
Move all files below the divider, each in one piece where there is room, shrink the
filesystem to end there, and make segments behind it. The plan is shown first.

The change is atomic: pull the plug at any moment, and the disk is the old one, or one that
`blockrep recover` completes. Inode numbers may change (NFS handles, overlay mounts).

{_SIZES}
examples:
  blockrep divide /dev/sda --first 1G --peers 8 --dry-run     only show the plan
  blockrep divide /dev/sda --first 1G --peers 8               show it, ask, divide
  blockrep divide disk.img --first 11% --peers 8 --yes        a disk image, without asking
  blockrep divide /dev/sdb --first 40G --peers 3 --history 20%
  blockrep divide /dev/sdb --first 40G --peers 0              one reserve, split later
"""

_SHOW = """\
Show the divider of a divided disk, its first area and its segments. The addresses are
those of the partition table (compare `sfdisk -J DISK`). Nothing is changed.

examples:
  blockrep show /dev/sda
  blockrep show /dev/sda --json | jq '.divided.segments[].uuid'
"""

_RECOVER = """\
Complete a divide or undivide that was interrupted, or with --back return to the disk as it
was before. Says which it did; where there is nothing to do, it says so and exits with 0.

examples:
  blockrep recover /dev/sda
  blockrep recover /dev/sda --back
"""

_UNDIVIDE = """\
Remove the segments and give the second area back to the filesystem. What peers keep in the
segments is gone then. The plan is shown first; the change is as atomic as a divide.

examples:
  blockrep undivide /dev/sda --dry-run
  blockrep undivide /dev/sda
"""


class Parser(argparse.ArgumentParser):
    """Errors become `UsageError`; only cli/main.py exits."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` shows how it is used")


def build_parser() -> Parser:
    """The parser of `blockrep`; `command` is the verb that was given."""
    parser = Parser(
        prog="blockrep",
        description=_DESCRIPTION,
        epilog=_exit_code_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version_text())
    verbs = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add(verbs, "devices", "list the devices and whether they can be divided", _DEVICES)
    _add_inspect(verbs)
    _add_divide(verbs)
    _add_disk(_add(verbs, "show", "show the divider and the segments of a disk", _SHOW))
    _add_recover(verbs)
    undivide = _add(verbs, "undivide", "give the second area back", _UNDIVIDE)
    _add_disk(undivide)
    _add_confirmation(undivide)
    _add_work_places(undivide)
    add_group_verbs(lambda name, summary, text: _add(verbs, name, summary, text), _nested)
    add_restore_verbs(lambda name, summary, text: _add(verbs, name, summary, text))
    return parser


def _nested(verb: argparse.ArgumentParser) -> Add:
    """The `add` for the verbs below a verb; `action` is the one that was given."""
    actions = verb.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=Parser, help="what to do"
    )
    return lambda name, summary, text: _add(actions, name, summary, text)


_Verbs = argparse._SubParsersAction


def _add(verbs: _Verbs[Parser], name: str, summary: str, text: str) -> Parser:
    description, _, examples = text.partition("\nexamples:\n")
    verb = verbs.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_argument(
        "--json", action="store_true", help="write one JSON document to standard output"
    )
    return verb


def _add_inspect(verbs: _Verbs[Parser]) -> None:
    verb = _add(verbs, "inspect", "show what lies where on a disk", _INSPECT)
    _add_disk(verb)
    verb.add_argument("--svg", type=Path, metavar="FILE", help="write the map as a picture to FILE")
    verb.add_argument(
        "--files", action="store_true", help="list every file, its runs and its first address"
    )


def _add_divide(verbs: _Verbs[Parser]) -> None:
    verb = _add(verbs, "divide", "divide a disk into a first area and segments", _DIVIDE)
    _add_disk(verb)
    verb.add_argument(
        "--first",
        type=_checked(parse_size),
        required=True,
        metavar="SIZE|PERCENT",
        help="the size of the first area: where the divider will be",
    )
    verb.add_argument(
        "--peers",
        type=_checked(_parse_peers),
        required=True,
        metavar="N",
        help=f"how many segments to make, at most {MAX_PEERS}; "
        "0 reserves the second area in one piece",
    )
    verb.add_argument(
        "--history",
        type=_checked(parse_share),
        metavar="SHARE",
        help="the share of each segment for older versions (default: 10%% where there is room)",
    )
    _add_confirmation(verb)
    verb.add_argument(
        "--fsck", action="store_true", help="let e2fsck replay the journal or repair first"
    )
    joining = verb.add_mutually_exclusive_group()
    joining.add_argument(
        "--defrag", action="store_true", help="join files in further rounds until none improves"
    )
    joining.add_argument("--no-join", action="store_true", help="move only what must move; fastest")
    _add_work_places(verb)


def _add_work_places(verb: Parser) -> None:
    verb.add_argument(
        "--shadow-dir",
        type=Path,
        metavar="DIR",
        help="keep the shadow of the metadata in DIR instead of in memory",
    )
    verb.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="keep the log in FILE, on a persistent disk other than DISK",
    )


def _add_recover(verbs: _Verbs[Parser]) -> None:
    verb = _add(verbs, "recover", "complete or back out of an interrupted change", _RECOVER)
    _add_disk(verb)
    verb.add_argument(
        "--back", action="store_true", help="return to the disk as it was before the change"
    )
    verb.add_argument(
        "--journal", type=Path, metavar="FILE", help="the file that `--journal` named before"
    )


def _add_disk(verb: Parser) -> None:
    verb.add_argument(
        "disk",
        type=Path,
        metavar="DISK",
        help="a whole disk (/dev/sda), a disk image, or a filesystem image",
    )


def _add_confirmation(verb: Parser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    verb.add_argument("--yes", action="store_true", help="do not ask")


def _parse_peers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:4]) <= MAX_PEERS and len(text) <= 4):
        raise UsageError(f"{text!r} is not a number of peers from 0 to {MAX_PEERS}")
    return int(text)


def _checked(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """A type for argparse that lets the words of our own errors through."""

    def convert(text: str) -> _T:
        try:
            return parse(text)
        except UsageError as error:
            advice = f" ({error.hint})" if error.hint else ""
            raise argparse.ArgumentTypeError(f"{error.message}{advice}") from error

    return convert


def _version_text() -> str:
    return f"blockrep {importlib.metadata.version('blockrep')}"


def _exit_code_text() -> str:
    rows = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in exit_codes())
    return f"exit codes:\n{rows}"
