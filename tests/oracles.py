"""Other people's programs, asked what they think."""

from __future__ import annotations

import os
import subprocess


def run(
    *command: object, ok: tuple[int, ...] = (0,), stdin: str = "", timeout_s: float = 120
) -> str:
    """The output of a program that must end with one of the exit codes `ok`."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode in ok, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def fsck(filesystem: object) -> None:
    """e2fsck finds nothing; `filesystem` may have `?offset=` behind it."""
    run("e2fsck", "-fn", filesystem)


def dumpe2fs(filesystem: object) -> dict[str, str]:
    """The superblock's fields by their names."""
    lines = run("dumpe2fs", "-h", filesystem).splitlines()
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
