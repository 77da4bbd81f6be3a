"""restore, mount, unmount and extract through `main`, with an engine of our own."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_fakes import FakeEngine

from blockrep.cli.main import main
from blockrep.cli.replicas import PlannedPartition, RestoreSummary
from blockrep.errors import DiskState, NotMounted, ReplicaDamaged
from blockrep.extents import Extent
from blockrep.progress import Progress
from blockrep.transfer.restore_apply import RestoreOutcome

GIB = 1 << 30
REPLICA = {
    "owner": "zoe",
    "device": "sda",
    "epoch": 41,
    "epoch_id": "0a" * 16,
    "time_s": 1_700_000_000,
    "consistent": True,
    "stored_bytes": 3 << 20,
    "holders": ["nas"],
    "failures": ["den: no connection"],
}
SUMMARY = RestoreSummary(
    target="/dev/sdb",
    target_bytes=9 * GIB,
    sector_bytes=512,
    table="gpt",
    content_bytes=GIB,
    stored_bytes=3 << 20,
    partitions=(PlannedPartition(1, 1 << 20, GIB, "ext4", "root"),),
    notes=("The disk has 9 GiB, the owner's had 8 GiB; partitions keep their sizes.",),
)


@dataclass
class Engine(FakeEngine):
    damaged: tuple[Extent, ...] = ()
    fails: Exception | None = None
    given: list[Any] = field(default_factory=list)

    @contextlib.contextmanager
    def open_replica(self, place: Path, wanted: Any, progress: Progress) -> Iterator[Any]:
        self.given.append(wanted)
        yield "replica"

    def describe_replica(self, replica: Any) -> Any:
        return REPLICA

    @contextlib.contextmanager
    def restoring(self, replica: Any, target: Path, options: Any) -> Iterator[Any]:
        self.given.append((target, options))
        yield SimpleNamespace(summary=SUMMARY, run=self._run)

    def _run(self, progress: Progress) -> RestoreOutcome:
        self.calls.append("run")
        if self.fails:
            raise self.fails
        return RestoreOutcome("/dev/sdb", 3 << 20, 2.0, self.damaged)

    def mount_replica(self, request: Any, progress: Progress) -> Any:
        self.given.append(request)
        return {"directory": request["directory"], "replica": REPLICA}

    def unmount(self, directory: Path) -> None:
        raise NotMounted(f"no epoch is mounted at {directory}")

    def extract_files(
        self, replica: Any, paths: Sequence[str], into: Path, partition: int | None, progress: Any
    ) -> Sequence[Path]:
        self.given.append((paths, into, partition))
        return [into / Path(path).name for path in paths]


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], engine: Engine) -> Run:
    def run_once(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words], engine=engine)
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return run_once


RESTORE = ("restore", "zoe", "--to", "/dev/sdb")


def test_a_dry_run_shows_the_plan(run: Run, engine: Engine) -> None:
    code, out, _ = run(*RESTORE, "--dry-run", "--epoch", "41")
    assert code == 0 and engine.calls == []
    assert "Epoch 41 of zoe, sda" in out and "held by nas" in out
    assert "! den: no connection" in out
    assert "Restore onto /dev/sdb, 9 GiB (9663676416 bytes): everything on it is lost." in out
    assert ["1", "1", "MiB", "1", "GiB", "ext4", "root"] in [
        line.split() for line in out.splitlines()
    ]
    assert "partitions keep their sizes" in out and "Nothing was changed" in out
    assert engine.given[0]["epoch"] == "41" and engine.given[0]["recovery_key"] is None


def test_without_a_terminal_and_without_yes_nothing_is_opened(run: Run, engine: Engine) -> None:
    code, _, err = run(*RESTORE)
    assert code == 2 and "no terminal to ask" in err
    assert engine.given == []


@pytest.mark.parametrize(("reply", "code"), [("yes\n", 0), ("no\n", 5), ("", 5)])
def test_what_is_overwritten_is_asked(
    run: Run, engine: Engine, monkeypatch: pytest.MonkeyPatch, reply: str, code: int
) -> None:
    terminal = io.StringIO(reply)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    found, out, err = run(*RESTORE)
    assert found == code and "Overwrite /dev/sdb?" in err
    assert engine.calls == (["run"] if code == 0 else [])
    assert ("/dev/sdb is restored: 3 MiB in 2 s." in out) == (code == 0)


def test_the_answer_as_json(run: Run, engine: Engine) -> None:
    words = ("--yes", "--json", "--verify", "--overwrite", "/dev/sdb", "--accept-damage")
    code, out, _ = run(*RESTORE, *words)
    answer = json.loads(out)
    assert code == 0 and answer["plan"]["partitions"][0]["label"] == "root"
    assert answer["replica"]["holders"] == ["nas"]
    assert answer["outcome"]["written_bytes"] == 3 << 20
    assert engine.given[1] == (
        Path("/dev/sdb"),
        {"overwrite": Path("/dev/sdb"), "verify": True, "accept_damage": True},
    )


def test_places_that_are_lost_are_named_and_the_exit_code_says_so(run: Run, engine: Engine) -> None:
    engine.damaged = tuple(Extent(n * 65536, 65536) for n in range(22))
    code, out, err = run(*RESTORE, "--yes", "--accept-damage")
    assert code == 122 and "is restored" in out
    assert "! bytes 65536 to 131072 could not be had and are zeros" in err
    assert "! and 2 more places" in err and "not all of it could be had" in err


def test_a_restore_that_was_cut_says_how_it_goes_on(run: Run, engine: Engine) -> None:
    hint = "the disk has no table now; the same restore again completes it"
    engine.fails = ReplicaDamaged("chunk 7 is damaged", hint=hint, state=DiskState.RESUMABLE)
    code, _, err = run(*RESTORE, "--yes")
    assert (code == 122 and "The same restore again completes it" in err) or hint in err.lower()
    assert "blockrep recover" not in err


def test_the_recovery_key(run: Run, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("BR1-AAAAA\n")
    assert run(*RESTORE, "--yes", "--recovery-key-file", file)[0] == 0
    assert engine.given[0]["recovery_key"] == "BR1-AAAAA"
    code, _, err = run(*RESTORE, "--yes", "--recovery-key")
    assert code == 2 and "--recovery-key-file" in err
    assert run(*RESTORE, "--recovery-key", "--recovery-key-file", file)[0] == 2


def test_mount(run: Run, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("mount", "zoe", "here", "--partition", "2", "--from", "nas")
    assert code == 0 and f"It is mounted at {tmp_path / 'here'}, read-only." in out
    request = engine.given[0]
    assert (request["partition"], request["wanted"]["holder"]) == (2, "nas")
    json.dumps(request)


def test_unmount(run: Run) -> None:
    code, _, err = run("unmount", "/mnt")
    assert code == 124 and "no epoch is mounted at /mnt" in err.lower()


def test_extract(run: Run, engine: Engine) -> None:
    code, out, _ = run("extract", "zoe", "/etc/fstab", "home", "--into", "/tmp")
    assert (code, out) == (0, "/tmp/fstab\n/tmp/home\n")
    assert engine.given[1] == (["/etc/fstab", "home"], Path("/tmp"), None)


@pytest.mark.parametrize("to", ["/dev/full", "a closed pipe"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*RESTORE, "--yes"), "/dev/sdb is restored"),
        (("mount", "zoe", "here"), "It is mounted at"),
        (("extract", "zoe", "/etc/fstab", "--into", "/tmp"), "/tmp/fstab"),
    ],
)
def test_what_is_done_is_a_success_although_nobody_takes_the_document(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: Sequence[str],
    said: str,
    to: str,
) -> None:
    if to == "/dev/full":
        out = Path(to).open("w")  # noqa: SIM115
    else:
        reader, writer = os.pipe()
        os.close(reader)
        out = os.fdopen(writer, "w")
    with out:
        monkeypatch.setattr("sys.stdout", out)
        assert main([*words, "--json"], engine=engine) == 0
    assert said in capfd.readouterr().err
