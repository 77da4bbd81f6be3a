"""What keeps one epoch mounted: nbdfuse makes a file of it, fuse2fs a filesystem of that.

It is a process of its own with one thread, and its standard input is a pipe. When that ends,
because whoever started it has closed it or is dead, everything is taken down again. When it is
killed itself, its children get SIGTERM from the kernel and unmount by themselves; when one of them
is killed, it takes down the rest. So nothing stays behind, whoever dies.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from blockrep.errors import BlockrepError, ProgramFailed
from blockrep.programs import Program, run_program, start_program

START_S = 60.0
END_S = 10.0
POLL_S = 0.05
# What a stranger's filesystem may do is little: no devices, no programs. `fakeroot`: whoever may
# read the epoch may read all of it. `use_ino`: hard links are known by their numbers.
OPTIONS = "ro,norecovery,fakeroot,no_default_opts,use_ino,nosuid,nodev,noexec,subtype=blockrep"
MOUNT_SOURCE = "blockrep:"  # how our mounts are known
INPUT_FD = 0
SOCKET = "socket"  # in the private folder, with the file


def keep_mounted(uri: str, folder: Path, directory: Path, say: Callable[[str], None]) -> int:
    """Mount the NBD export at `uri`, stay, and unmount; the exit code.

    `folder` is private to this process. It says `ready PID` when the filesystem is there, with the
    process that serves it, or one sentence why it is not.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    file = folder / "file"
    mounts: list[tuple[Path, Program]] = []
    try:
        file.touch()
        mounts.append((file, _start(["nbdfuse", "-r", str(file), uri])))
        _await(mounts[-1][1], lambda: file.stat().st_size > 0, "nbdfuse")
        # -r tells the kernel that it is read-only: fuse2fs keeps `ro` for itself.
        command = ["fuse2fs", "-f", "-r", "-o", f"{OPTIONS},fsname={MOUNT_SOURCE}epoch"]
        command += [str(file), str(directory)]
        mounts.append((directory, _start(command)))
        _await(mounts[-1][1], directory.is_mount, "fuse2fs")
        say(f"ready {mounts[-1][1].pid}")
        _stay([program for _, program in mounts])
    except (BlockrepError, OSError) as error:
        say(str(error))
        return 1
    except _Leaving:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for place, program in reversed(mounts):
            _take_down(place, program)
        # Whoever made the folder removes it, unless it was killed.
        with contextlib.suppress(OSError):
            file.unlink()
            (folder / SOCKET).unlink(missing_ok=True)
            folder.rmdir()
    return 0


class _Leaving(Exception):
    """SIGTERM."""


def _leave(*_: object) -> None:
    raise _Leaving


def _start(command: list[str]) -> Program:
    return start_program(command, error_pipe=True, dies_with_us=True)


def _await(program: Program, is_there: Callable[[], bool], name: str) -> None:
    """Until it is there; `ProgramFailed` with the program's own words when it ends before."""
    limit = time.monotonic() + START_S
    while not is_there():
        if program.has_ended:
            said = program.output.read().decode(errors="replace") if program.output else ""
            words = said.strip().splitlines() or ["it says nothing"]
            raise ProgramFailed(f"{name} failed: {words[-1]}")
        if time.monotonic() > limit:
            raise ProgramFailed(f"{name} did not mount within {START_S:.0f} s")
        time.sleep(POLL_S)


def _stay(programs: list[Program]) -> None:
    """Until the input ends or a program does. What the programs say is read and dropped."""
    pipes = [program.output.fileno() for program in programs if program.output]
    while True:
        ready, _, _ = select.select([INPUT_FD, *pipes], [], [])
        if any(not os.read(descriptor, 4096) for descriptor in ready):
            return


def _take_down(place: Path, program: Program) -> None:
    """Lazily: a file that is open still is its user's loss, and must not keep the rest."""
    with contextlib.suppress(ProgramFailed):
        run_program(["fusermount3", "-u", "-z", str(place)], timeout_s=END_S)
    program.wait(END_S)
    program.end()
