"""Each command through `main`, with a small engine: output, JSON, exit codes, confirmation."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import GIB, UUID, FakeEngine
from disks import sparse_file

from blockrep import errors
from blockrep.cli.main import main
from blockrep.divide.summary import Join
from blockrep.progress import Progress

DIVIDE = ("--first", "1G", "--peers", "8")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return sparse_file(tmp_path / "disk.img", 9 * GIB)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], engine: FakeEngine) -> Run:
    def run_once(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words], engine=engine)
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return run_once


def _failing(error: Exception) -> Callable[[Progress], None]:
    def work(progress: Progress) -> None:
        raise error

    return work


def test_devices(run: Run) -> None:
    code, out, err = run("devices")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["device", "size"]
    assert "    cannot be divided: /dev/sdb1 is mounted at /mnt: unmount it" in lines
    assert '    /dev/sda1: ext4 "root", 500 GiB, 80 GiB used, 420 GiB free' in lines
    assert any(line.startswith("/dev/sda") and "yes" in line for line in lines)


def test_devices_json(run: Run) -> None:
    code, out, _ = run("devices", "--json")
    answer = json.loads(out)
    assert (code, answer["command"]) == (0, "devices")
    assert answer["devices"][0]["size_bytes"] == 1000204886016
    assert answer["devices"][1]["volumes"][0]["used_bytes"] is None
    assert [device["can_be_divided"] for device in answer["devices"]] == [True, False]


def test_inspect_writes_a_picture(run: Run, disk: Path, tmp_path: Path) -> None:
    picture = tmp_path / "map.svg"
    code, out, _ = run("inspect", disk, "--svg", picture)
    assert code == 0
    assert "smallest first area" in out
    ET.parse(picture)


def test_inspect_never_writes_a_picture_over_the_disk(run: Run, disk: Path) -> None:
    code, _, err = run("inspect", disk, "--svg", disk)
    assert code == 2
    assert "is a disk" in err
    assert disk.stat().st_size == 9 * GIB


def test_inspect_picture_that_cannot_be_written(run: Run, disk: Path) -> None:
    code, _, err = run("inspect", disk, "--svg", disk.parent / "missing" / "map.svg")
    assert code == 2
    assert "No such file" in err


def test_inspect_files(run: Run, disk: Path) -> None:
    code, out, _ = run("inspect", disk, "--files")
    assert code == 0
    assert "\x1b" not in out
    assert [line.split()[0] for line in out.splitlines()] == ["runs", "1", "2", "0"]


def test_inspect_files_json(run: Run, disk: Path) -> None:
    answer = json.loads(run("inspect", disk, "--files", "--json")[1])
    assert [file["inode"] for file in answer["files"]] == [12, 13, 14]
    assert answer["files"][0]["runs"] == [{"start": 5 << 20, "length": 4096}]
    assert "files" not in answer["inspection"]


def test_inspect_json_has_everything(run: Run, disk: Path, engine: FakeEngine) -> None:
    engine.divided = True
    answer = json.loads(run("inspect", disk, "--json")[1])
    assert answer["inspection"]["filesystem"]["minimum_first_bytes"] == 960 << 20
    assert len(answer["inspection"]["divided"]["segments"]) == 8
    assert set(answer["inspection"]["filesystem"]["cells"][0]) == {
        "metadata", "contiguous", "fragmented", "free"}  # fmt: skip


def test_show(run: Run, disk: Path) -> None:
    code, out, _ = run("show", disk)
    assert code == 0
    assert all(UUID.format(n) in out for n in range(8))
    answer = json.loads(run("show", disk, "--json")[1])
    assert [s["number"] for s in answer["divided"]["segments"]] == list(range(1, 9))
    assert answer["divided"]["divider_bytes"] == GIB


def test_divide_dry_run_only_plans(run: Run, disk: Path, engine: FakeEngine) -> None:
    code, out, err = run("divide", disk, *DIVIDE, "--dry-run")
    assert (code, err) == (0, "")
    assert "Before" in out
    assert "Nothing was changed" in out
    assert engine.calls == ["open readable", "plan_divide"]


def test_divide_asks_the_engine_for_what_was_said(run: Run, disk: Path, engine: FakeEngine) -> None:
    run("divide", disk, "--first", "11%", "--peers", "3", "--history", "20%", "--fsck", "--yes",
        "--defrag", "--shadow-dir", "/d", "--journal", "/j")  # fmt: skip
    request = engine.requests[0]
    assert request.first_bytes == 9 * GIB * 11 // 100
    assert (request.peers, request.history_share, request.fsck) == (3, 0.2, True)
    assert request.join is Join.DEFRAG
    assert (request.shadow_dir, request.journal) == (Path("/d"), Path("/j"))
    run("divide", disk, *DIVIDE, "--no-join", "--dry-run")
    assert engine.requests[1].join is Join.NO_JOIN
    assert engine.requests[1].history_share is None


def test_divide_yes(run: Run, disk: Path, engine: FakeEngine) -> None:
    code, out, _ = run("divide", disk, *DIVIDE, "--yes")
    assert code == 0
    assert f"{disk} is divided." in out
    assert engine.calls == ["open writable", "plan_divide", "commit_plan"]


def test_divide_json_is_one_document(run: Run, disk: Path) -> None:
    code, out, err = run("divide", disk, *DIVIDE, "--yes", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert set(answer) == {"command", "plan", "outcome"}
    assert answer["plan"]["divider_bytes"] == GIB
    assert answer["outcome"]["action"] == "divided"


@pytest.mark.parametrize("verb", ["divide", "undivide"])
def test_without_a_terminal_nothing_is_done(
    run: Run, disk: Path, engine: FakeEngine, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as empty:
        monkeypatch.setattr(sys, "stdin", empty)
        code, out, err = run(verb, disk, *(DIVIDE if verb == "divide" else ()))
    assert (code, out, engine.calls) == (2, "", [])
    assert "--yes" in err


def test_undivide_and_recover(run: Run, disk: Path, engine: FakeEngine) -> None:
    assert run("undivide", disk, "--yes")[0] == 0
    code, out, _ = run("recover", disk)
    assert code == 0
    assert "nothing to do" in out
    assert "backed out" in run("recover", disk, "--back")[1]
    answer = json.loads(run("recover", disk, "--json")[1])
    assert answer["outcome"]["action"] == "nothing to do"


@pytest.mark.parametrize(
    "words",
    [
        [], ["fly"], ["divide"], ["divide", "x"], ["divide", "x", "--first", "1G"],
        ["divide", "x", "--first", "-1", "--peers", "8"],
        ["divide", "x", "--first", "1Z", "--peers", "8"],
        ["divide", "x", "--first", "1G", "--peers", "-1"],
        ["divide", "x", "--first", "1G", "--peers", "100"],
        ["divide", "x", "--first", "1G", "--peers", "٣"],
        ["divide", "x", "--first", "1G", "--peers", "8", "--history", "10"],
        ["divide", "x", *DIVIDE, "--defrag", "--no-join"],
        ["divide", "x", *DIVIDE, "--dry"], ["recover"], ["show", "a", "b"],
    ],
)  # fmt: skip
def test_a_request_without_sense_is_refused(run: Run, engine: FakeEngine, words: list[str]) -> None:
    code, out, err = run(*words)
    assert (code, out, engine.calls) == (2, "", [])
    assert err.startswith("blockrep: ")
    assert err.count("\n") == 1
    assert "--help" in err
    code, out, _ = run(*words, "--json")
    assert json.loads(out)["error"]["kind"] == "UsageError"


def test_error_of_the_engine(run: Run, disk: Path, engine: FakeEngine) -> None:
    engine.during["plan_divide"] = _failing(errors.DoesNotFit("it needs 2 GiB"))
    code, out, err = run("divide", disk, *DIVIDE, "--yes")
    assert (code, out) == (40, "")
    assert err == "blockrep: It needs 2 GiB. The disk is unchanged.\n"
    code, out, _ = run("divide", disk, *DIVIDE, "--yes", "--json")
    assert json.loads(out)["error"] == {
        "kind": "DoesNotFit", "exit_code": 40, "message": "it needs 2 GiB", "hint": "",
        "disk_state": "unchanged", "retryable": False,
    }  # fmt: skip


def test_error_after_the_plan_keeps_the_plan_in_the_document(
    run: Run, disk: Path, engine: FakeEngine
) -> None:
    lost = errors.DeviceIO("cannot write", state=errors.DiskState.RESUMABLE)
    engine.during["commit_plan"] = _failing(lost)
    code, out, err = run("divide", disk, *DIVIDE, "--yes", "--json")
    assert code == 12
    assert set(json.loads(out)) == {"command", "plan", "error"}
    assert f"run `blockrep recover {disk}`" in err


def test_unexpected_error_shows_no_traceback(
    run: Run, disk: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.during["commit_plan"] = _failing(KeyError("x"))
    code, _, err = run("divide", disk, *DIVIDE, "--yes")
    assert code == 1
    assert "Traceback" not in err
    assert "report it" in err
    assert "Do not use the disk" in err
    monkeypatch.setenv("BLOCKREP_DEBUG", "1")
    assert "Traceback" in run("divide", disk, *DIVIDE, "--yes")[2]


def test_disk_that_is_not_there(run: Run) -> None:
    code, _, err = run("show", "/dev/no-such-disk")
    assert code == 10
    assert err.count("\n") == 1


def test_help_and_version(run: Run) -> None:
    assert run("--help")[0] == 0
    assert run("divide", "--help")[0] == 0
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("blockrep 0.")


# What follows needs a process of its own: a terminal, signals, closed descriptors.

CHILD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from cli_fakes import FakeEngine, slow_steps
from blockrep.cli.main import main
engine = FakeEngine()
"""


def _program(setup: str, *words: object) -> list[str]:
    code = CHILD + textwrap.dedent(setup)
    code += f"\nsys.exit(main({[str(word) for word in words]!r}, engine=engine))\n"
    return [sys.executable, "-c", code]


class Terminal:
    """A child on a pseudo-terminal of its own."""

    def __init__(self, program: list[str]) -> None:
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(program[0], program, {**os.environ, "TERM": "xterm", "LANG": "C.UTF-8"})

    def wait_for(self, text: str, timeout_s: float = 20.0) -> None:
        until = time.monotonic() + timeout_s
        while text not in self.shown:
            assert time.monotonic() < until, self.shown
            if not self._read():
                raise AssertionError(self.shown)

    def _read(self) -> bool:
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """Its exit code."""
        while self._read():
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize(("reply", "code"), [("yes\n", 0), ("y\n", 5), ("\n", 5), ("\x04", 5)])
def test_question(disk: Path, reply: str, code: int) -> None:
    terminal = Terminal(_program("", "divide", disk, *DIVIDE))
    terminal.wait_for(f"Divide {disk}? Type yes: ")
    assert "After" in terminal.shown
    terminal.type(reply)
    assert terminal.end() == code
    assert ("is divided" in terminal.shown) == (code == 0)
    assert ("unchanged" in terminal.shown) == (code != 0)


def test_ctrl_c_at_the_question(disk: Path) -> None:
    terminal = Terminal(_program("", "divide", disk, *DIVIDE))
    terminal.wait_for("Type yes: ")
    terminal.type("\x03")
    assert terminal.end() == 5
    assert "Stopped by Ctrl-C. The disk is unchanged." in terminal.shown


def test_progress_rewrites_one_line_of_a_terminal(disk: Path) -> None:
    slow = "engine.during['commit_plan'] = slow_steps(60, checked=False)"
    terminal = Terminal(_program(slow, "divide", disk, *DIVIDE, "--yes"))
    terminal.wait_for("\rcopying files: ")
    assert terminal.end() == 0
    assert " left\x1b[K" in terminal.shown
    assert terminal.shown.index("\r\x1b[K") < terminal.shown.index("is divided")


def _child(program: list[str], **options: Any) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    settings: dict[str, Any] = {"stdout": pipe, "stderr": pipe, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(program, text=True, **{**settings, **options})


STEPS = """
from pathlib import Path
def work(progress):
    Path({started!r}).touch()
    slow_steps(40, checked={checked})(progress)
engine.during[{during!r}] = work
"""


def _signalled(
    tmp_path: Path, number: signal.Signals, during: str, checked: bool, *words: object
) -> tuple[int, str, str]:
    """The child gets the signal while it works."""
    started = tmp_path / "started"
    setup = STEPS.format(started=str(started), checked=checked, during=during)
    with _child(_program(setup, *words)) as child:
        try:
            until = time.monotonic() + 20
            while not started.exists() and time.monotonic() < until:
                time.sleep(0.02)
            child.send_signal(number)
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()
    return child.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_at_a_safe_point(tmp_path: Path, disk: Path, number: signal.Signals) -> None:
    words = ("divide", disk, *DIVIDE, "--yes")
    code, out, err = _signalled(tmp_path, number, "plan_divide", True, *words)
    assert (code, out) == (5, "")
    assert "The disk is unchanged." in err


def test_signal_during_the_change_is_deferred(tmp_path: Path, disk: Path) -> None:
    words = ("divide", disk, *DIVIDE, "--yes")
    code, out, err = _signalled(tmp_path, signal.SIGTERM, "commit_plan", False, *words)
    assert code == 0
    assert "that takes a moment" in err
    assert "is divided." in out
    assert "has finished it" in out


def test_nohup_is_respected(tmp_path: Path, disk: Path) -> None:
    started = tmp_path / "started"
    setup = STEPS.format(started=str(started), checked=True, during="plan_divide")
    program = ["nohup", *_program(setup, "divide", disk, *DIVIDE, "--yes")]
    with _child(program) as child:
        until = time.monotonic() + 20
        while not started.exists() and time.monotonic() < until:
            time.sleep(0.02)
        child.send_signal(signal.SIGHUP)
        out, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "is divided" in out


def test_reader_that_goes_away(disk: Path) -> None:
    program = _program("", "divide", disk, *DIVIDE, "--yes")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with _child(program, stdout=write_end) as child:
        os.close(write_end)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 141
    assert err == ""


def test_output_that_cannot_be_written_stops_before_the_change(disk: Path) -> None:
    setup = "import atexit; atexit.register(lambda: print(engine.calls, file=sys.stderr))"
    with (
        Path("/dev/full").open("w") as full,
        _child(_program(setup, "divide", disk, *DIVIDE, "--yes"), stdout=full) as child,
    ):
        _, err = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "No space left" in err
    assert "commit_plan" not in err


def test_completed_change_is_success_even_if_nobody_is_told(disk: Path) -> None:
    program = _program("", "divide", disk, *DIVIDE, "--yes", "--json")
    with Path("/dev/full").open("w") as full, _child(program, stdout=full) as child:
        _, err = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "divided" in err


def test_closed_descriptors_are_never_the_disk(disk: Path) -> None:
    setup = """
    import os
    def look(progress):
        assert all(os.readlink(f"/proc/self/fd/{n}") == os.devnull for n in range(3))
    engine.during["commit_plan"] = look
    """
    program = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh",
               *_program(setup, "divide", disk, *DIVIDE, "--yes")]  # fmt: skip
    with _child(program) as child:
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory")])
def test_no_memory_is_no_defect(run: Run, disk: Path, engine: FakeEngine, error: Exception) -> None:
    engine.during["plan_divide"] = _failing(error)
    code, out, err = run("divide", disk, *DIVIDE, "--dry-run", "--json")
    assert code == 42
    assert "not enough memory" in err
    assert json.loads(out)["error"]["kind"] == "NoRoomForShadow"
