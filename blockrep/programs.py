"""Run other people's programs: with a time limit and a clean locale for each.

`run_program` waits for the end of one, `start_program` lets it work beside us.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from blockrep.errors import ProgramFailed

PR_SET_PDEATHSIG = 1
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


def find_program(name: str) -> str:
    """The absolute path of a program; `ProgramFailed` when it is not installed."""
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        raise ProgramFailed(f"{name} is not installed", hint=f"install the package of {name}")
    return found


def run_program(
    arguments: Sequence[str],
    *,
    timeout_s: float = 3600,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """Run a program to its end and return what it said; its exit code is the caller's to judge.

    Its standard input is empty and its locale `C`. `ProgramFailed` when it cannot be started or
    takes longer than `timeout_s`; it is then ended.
    """
    path = find_program(arguments[0])
    variables = {"PATH": SEARCH_PATH, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
    variables.update(environment or {})
    try:
        done = subprocess.run(
            [path, *arguments[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            env=variables,
            text=True,
            errors="replace",
            check=False,
            # Ctrl-C is for us to act on: it must not end a program in the middle of its work.
            process_group=0,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"{arguments[0]} did not end within {timeout_s:.0f} s") from error
    except OSError as error:
        raise ProgramFailed(f"{arguments[0]} could not be started: {error.strerror}") from error
    return Result(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class User:
    """Who a program runs as; it is in no other groups."""

    uid: int
    gid: int


class Program:
    """A program that works beside us; whoever starts it waits for its end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    @property
    def output(self) -> IO[bytes] | None:
        """What it says on the one stream that is a pipe."""
        return self._process.stdout or self._process.stderr

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, negative for a signal; None when it has not ended by then."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def send(self, data: bytes) -> None:
        """All of its input, and the end of it."""
        if self._process.stdin is not None:
            self._process.stdin.write(data)
        self.close_input()

    def leave(self) -> None:
        """Let it go on without us; its pipes are closed, and nobody waits for it."""
        self.close_input()
        if self.output is not None:
            self.output.close()
        self._process.returncode = 0  # else `Popen` complains that it was forgotten

    def close_input(self) -> None:
        """Let it see the end of its input."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self, timeout_s: float) -> None:
        """Ask it to end with SIGTERM, and `end` it if it has not by then."""
        if self._process.poll() is None:
            self._process.terminate()
            self.wait(timeout_s)
        self.end()

    def end(self) -> None:
        """Kill it if it still runs, and close its pipes; safe to call twice."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.close_input()
        if self.output is not None:
            self.output.close()


def start_program(
    arguments: Sequence[str],
    *,
    user: User | None = None,
    input_pipe: bool = False,
    output_pipe: bool = False,
    error_pipe: bool = False,
    dies_with_us: bool = False,
) -> Program:
    """Start a program; its streams are empty but for the pipes that are asked for.

    One of output and error can be a pipe, as nobody could wait for two at once. `dies_with_us`: it
    gets SIGTERM when the thread that starts it ends, and only a process of one thread may ask for
    it. `ProgramFailed` when it cannot be started.
    """
    path = find_program(arguments[0])
    try:
        process = subprocess.Popen(
            [path, *arguments[1:]],
            stdin=subprocess.PIPE if input_pipe else subprocess.DEVNULL,
            stdout=subprocess.PIPE if output_pipe else subprocess.DEVNULL,
            stderr=subprocess.PIPE if error_pipe else subprocess.DEVNULL,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C", "HOME": "/"},
            cwd="/",
            process_group=0,
            preexec_fn=_die_with_parent if dies_with_us else None,
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
        )
    except OSError as error:
        raise ProgramFailed(f"{arguments[0]} could not be started: {error.strerror}") from error
    return Program(process)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
