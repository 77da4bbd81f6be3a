"""Run other people's programs: one helper, with a time limit and a clean locale for each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blockrep.errors import ProgramFailed

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
