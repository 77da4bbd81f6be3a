"""Running other people's programs."""

import os
import time
from pathlib import Path

import pytest

from blockrep.errors import ProgramFailed
from blockrep.programs import find_program, run_program


def test_what_it_said_and_its_exit_code() -> None:
    result = run_program(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.returncode, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_the_caller_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("E2FSPROGS_UNDO_DIR", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    said = run_program(["env"]).stdout.splitlines()
    assert "LC_ALL=C" in said
    assert not [line for line in said if line.startswith("E2FSPROGS_UNDO_DIR")]
    assert run_program(["sh", "-c", "command -v fsck"]).returncode == 0


def test_a_variable_of_the_caller_is_passed() -> None:
    assert "A=b" in run_program(["env"], environment={"A": "b"}).stdout.splitlines()


def test_standard_input_is_empty() -> None:
    assert run_program(["cat"], timeout_s=10).stdout == ""


def test_bytes_that_are_no_text() -> None:
    assert run_program(["printf", r"a\377b"]).stdout == "a�b"


def test_arguments_are_not_read_by_a_shell() -> None:
    assert run_program(["echo", "$HOME; `id`"]).stdout == "$HOME; `id`\n"


def test_a_program_that_is_not_installed() -> None:
    with pytest.raises(ProgramFailed, match=r"^no-such-program is not installed$") as caught:
        run_program(["no-such-program"])
    assert "no-such-program" in caught.value.hint


def test_a_program_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    monkeypatch.setattr("blockrep.programs.SEARCH_PATH", str(tmp_path))
    with pytest.raises(ProgramFailed, match="broken could not be started: Exec format error"):
        run_program(["broken"])


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ProgramFailed, match="did not end within 1 s"):
        run_program(["sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 60"], timeout_s=1)
    assert time.monotonic() - began < 10
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_system_programs_are_found_without_the_caller_s_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_program("e2fsck").endswith("/sbin/e2fsck")
