"""The entry point: arguments in, exit code out. Nothing else of blockrep ends the process."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from blockrep.cli.bring_back import run_extract, run_mount, run_restore, run_unmount
from blockrep.cli.changes import run_divide, run_recover, run_undivide
from blockrep.cli.daemon import run_agent
from blockrep.cli.document import error_value
from blockrep.cli.engine import Engine
from blockrep.cli.exit_codes import BROKEN_PIPE, SUCCESS
from blockrep.cli.failure import failure_text
from blockrep.cli.installed import InstalledEngine
from blockrep.cli.members import run_group
from blockrep.cli.parser import build_parser
from blockrep.cli.protection import (
    run_accept,
    run_backup,
    run_history,
    run_jobs,
    run_status,
    run_takeover,
)
from blockrep.cli.session import OutputGone, Session
from blockrep.cli.views import run_devices, run_inspect, run_show
from blockrep.errors import (
    BlockrepError,
    DiskState,
    InternalError,
    NoRoomForShadow,
    ProgramFailed,
    Stopped,
)

_VERBS: dict[str, Callable[[Session, Namespace], None]] = {
    "devices": run_devices,
    "inspect": run_inspect,
    "divide": run_divide,
    "show": run_show,
    "recover": run_recover,
    "undivide": run_undivide,
    "agent": run_agent,
    "group": run_group,
    "backup": run_backup,
    "status": run_status,
    "history": run_history,
    "takeover": run_takeover,
    "accept": run_accept,
    "jobs": run_jobs,
    "restore": run_restore,
    "mount": run_mount,
    "unmount": run_unmount,
    "extract": run_extract,
}
_MEMORY_HINT = "end other programs; `divide --shadow-dir DIR` keeps the shadow on a disk"
_WRITERS = {"divide", "undivide", "recover"}


def main(argv: Sequence[str] | None = None, *, engine: Engine | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _hold_standard_descriptors()
    session = Session(
        engine=engine or InstalledEngine(),
        stdin=sys.stdin,
        stdout=_lenient(sys.stdout),
        stderr=_lenient(sys.stderr),
        json="--json" in words,
    )
    with session.stopper.listening():
        try:
            code = _run(session, words)
        except OutputGone:
            _forget_output()
            return BROKEN_PIPE
    try:
        session.stdout.flush()
    except (OSError, ValueError):
        _forget_output()
    return code


def _run(session: Session, words: list[str]) -> int:
    arguments = Namespace()
    try:
        build_parser().parse_args(words, arguments)
        session.document["command"] = arguments.command
        _VERBS[arguments.command](session, arguments)
        _answer(session)
    except SystemExit as ended:  # --help and --version
        return ended.code if isinstance(ended.code, int) else SUCCESS
    except OutputGone:
        raise
    except Exception as error:
        return _fail(session, arguments, _as_ours(session, error))
    return SUCCESS


def _answer(session: Session) -> None:
    try:
        session.answer()
    except (OutputGone, InternalError):
        if not session.reported:
            raise
        session.complain("\n".join(session.reported).strip("\n"))
        _forget_output()


def _as_ours(session: Session, error: Exception) -> BlockrepError:
    """Every failure as one of the error tree."""
    if isinstance(error, BlockrepError):
        return _as_stopped(session, error)
    if os.environ.get("BLOCKREP_DEBUG") == "1":
        session.complain("".join(traceback.format_exception(error)).rstrip())
    state = DiskState.UNKNOWN if session.committing else DiskState.UNCHANGED
    if isinstance(error, MemoryError) or getattr(error, "errno", 0) == errno.ENOMEM:
        return NoRoomForShadow("there is not enough memory", hint=_MEMORY_HINT, state=state)
    return InternalError(f"unexpected {type(error).__name__}: {error}", state=state)


def _as_stopped(session: Session, error: BlockrepError) -> BlockrepError:
    """A terminal's Ctrl-C also ends the programs that were at work, which is not their failure."""
    unchanged = error.state is DiskState.UNCHANGED
    if isinstance(error, ProgramFailed) and session.stopper.asked and unchanged:
        try:
            session.stopper.raise_if_asked()
        except Stopped as stopped:
            return stopped
    return error


def _fail(session: Session, arguments: Namespace, error: BlockrepError) -> int:
    command = getattr(arguments, "command", None)
    disk = str(getattr(arguments, "disk", None) or "DISK")
    writes = command in _WRITERS and not getattr(arguments, "dry_run", False)
    session.complain(failure_text(error, disk=disk, writes=writes))
    session.document["error"] = error_value(error)
    try:
        session.answer()
    except (OutputGone, InternalError):
        _forget_output()
    return error.exit_code


def _hold_standard_descriptors() -> None:
    """Occupy descriptors 0 to 2 if the caller closed them.

    Otherwise the disk itself would be opened as one of them, and a message of some library to
    standard error would be written over its first sectors.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _lenient(stream: TextIO | None) -> TextIO:
    """The stream with escapes for what its encoding lacks; a closed one swallows all."""
    if stream is None:
        return Path(os.devnull).open("w")  # to the end of the process
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
        if isinstance(stream.buffer, io.FileIO):
            return _whole(stream)
    return stream


def _whole(stream: io.TextIOWrapper) -> TextIO:
    """With PYTHONUNBUFFERED nothing writes on after a short write (a signal, a full disk): the
    rest would be lost without a word."""
    raw = io.FileIO(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors)


def _forget_output() -> None:
    """Keep the interpreter from complaining at its end about output that nobody takes."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
