"""Files taken out of an epoch, with all that the user may keep of what they are."""

from __future__ import annotations

import os
import select
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from blockrep.browse.mount import Mount
from blockrep.browse.view import View
from blockrep.errors import ProgramFailed, ReplicaDamaged, UsageError
from blockrep.programs import Program, start_program
from blockrep.progress import Progress

POLL_S = 0.2
MAX_SAID_BYTES = 1 << 16
MAX_NAMED = 5


def extract_files(
    view: View,
    paths: Sequence[str],
    into: Path,
    progress: Progress,
    *,
    partition: int | None = None,
) -> tuple[Path, ...]:
    """Copy files and folders of the epoch into a directory; where each of them is now.

    Types, modes, times (to the second, as fuse2fs tells them), owners, extended attributes, holes
    and hard links among them are kept, as far as the user of this process may. `UsageError` for a
    path that is not there, or would replace something; `ProgramFailed` when something could not be
    written, `ReplicaDamaged` when a place that was read is damaged: what was copied before is there
    then.
    """
    wanted = [_parse_path(path) for path in paths]
    goals = _plan_goals(wanted, into)
    damage: list[str] = []
    with tempfile.TemporaryDirectory(prefix="blockrep-extract-") as folder:
        place = Path(folder)
        with Mount(view, place, partition=partition, report=damage.append):
            # One copy for all, so that hard links from one to the other are seen.
            progress.phase("copying")
            sources = [str(place) + _check_path(place, path) for path in wanted]
            _copy(sources, into, progress, damage)
    return goals


def _parse_path(text: str) -> PurePosixPath:
    path = PurePosixPath("/", text)
    if ".." in path.parts or "\0" in text:
        raise UsageError(f"{text!r} is not a path from the root of the filesystem")
    return path


def _plan_goals(wanted: Sequence[PurePosixPath], into: Path) -> tuple[Path, ...]:
    if not into.is_dir():
        raise UsageError(f"{into} is not a directory", hint="make it first")
    goals = tuple(into / path.name for path in wanted)
    for goal in goals:
        if goal != into and os.path.lexists(goal):
            raise UsageError(f"{goal} is there already", hint="extract into another directory")
    if len(set(goals)) != len(goals):
        raise UsageError("two of the paths have the same name", hint="extract one after the other")
    return goals


def _check_path(root: Path, path: PurePosixPath) -> str:
    """The path again. No part of it but the last may be a symbolic link: in the epoch it leads
    somewhere else than here, and to follow it would copy this machine's own files."""
    here = root
    for index, part in enumerate(path.parts[1:], 2):
        here = here / part
        try:
            mode = here.lstat().st_mode
        except FileNotFoundError:
            raise UsageError(f"the epoch has no {PurePosixPath(*path.parts[:index])}") from None
        except OSError as error:
            raise ProgramFailed(f"cannot read {path} in the epoch: {error.strerror}") from error
        if stat.S_ISLNK(mode) and index < len(path.parts):
            raise UsageError(
                f"{PurePosixPath(*path.parts[:index])} is a symbolic link to {here.readlink()}",
                hint="name the path that it leads to",
            )
    return str(path) if len(path.parts) > 1 else "/."


def _copy(sources: Sequence[str], into: Path, progress: Progress, damage: Sequence[str]) -> None:
    command = ["cp", "-a", "--sparse=auto", "-t", str(into), "--", *sources]
    copy = start_program(command, error_pipe=True)
    try:
        said = _follow(copy, progress)
    finally:
        copy.end()
    if damage:
        raise ReplicaDamaged(f"not everything could be copied: {damage[0]}")
    if said or copy.wait(0):
        raise _not_copied(said.decode(errors="replace").splitlines())


def _follow(copy: Program, progress: Progress) -> bytes:
    """Until it ends; the beginning of what it complains of."""
    said = b""
    pipe = copy.output
    while pipe is not None:
        ready, _, _ = select.select([pipe], [], [], POLL_S)
        progress.check()
        if ready:
            part = os.read(pipe.fileno(), 1 << 16)
            if not part:
                break
            said = (said + part)[:MAX_SAID_BYTES]
    while copy.wait(POLL_S) is None:
        progress.check()
    return said


def _not_copied(lines: Sequence[str]) -> ProgramFailed:
    named = "; ".join(lines[:MAX_NAMED])
    rest = len(lines) - MAX_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return ProgramFailed(f"not everything could be copied: {named}{more}")
