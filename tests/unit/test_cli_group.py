"""The verbs that ask the agent: what they ask, what they show, how they end."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import GIB, FakeEngine

from blockrep import errors
from blockrep.cli.main import main

Run = Callable[..., tuple[int, str, str]]
KEY = "ab" * 32
WAITING = {"key": KEY, "name": "nas", "short_code": "123456"}
DEVICE = {
    "id": "0" * 32, "name": "sda", "content_bytes": GIB, "disk_bytes": 9 * GIB, "encrypted": True,
}  # fmt: skip
MEMBER = {
    "name": "zoe", "key": "cd" * 32, "addresses": ["10.0.0.1:7317"], "me": True, "left": False,
    "recovery": False, "devices": [DEVICE],
}  # fmt: skip
NO_GRANTS: dict[str, Any] = {"remove": [], "restore": [], "denied": []}
GRANTS = {
    "remove": [{"member": "nas", "member_key": KEY}],
    "restore": [{"member": "nas", "member_key": KEY, "owner": "", "owner_key": "ef" * 32}],
    "denied": [
        {"owner": "zoe", "owner_key": "cd" * 32, "act": "assign"},
        {"owner": "zoe", "owner_key": "cd" * 32, "act": "write"},
    ],
}  # fmt: skip
GROUP = {
    "name": "family", "id": "1" * 32, "members": [MEMBER], "waiting": [WAITING], "proposals": [],
    "grants": NO_GRANTS,
}  # fmt: skip


def replica(**changes: Any) -> dict[str, Any]:
    value = {
        "holder": "nas", "epoch": 7, "time_s": int(time.time()) - 90, "consistent": True,
        "versions": 3, "history_days": 2.5, "note": "",
    }  # fmt: skip
    return {**value, **changes}


def status(*problems: str) -> dict[str, Any]:
    held = {
        "disk": "/dev/sda", "number": 1, "owner": "nas\x1b[31m", "capacity_bytes": GIB, "epoch": 0,
        "time_s": 0, "state": "unassigned",
    }  # fmt: skip
    job = {
        "id": 3, "kind": "backup", "subject": "sda", "state": "running", "phase": "sending",
        "done_bytes": 5, "total_bytes": 10, "reason": "",
    }  # fmt: skip
    device = {"path": "/dev/sda", "content_bytes": GIB, "replicas": [replica()]}
    shown = {"devices": [device], "held": [held], "jobs": [job], "problems": list(problems)}
    return {"status": shown}


@pytest.fixture
def engine() -> FakeEngine:
    fake = FakeEngine()
    fake.answers["group-show"] = {"group": GROUP}
    fake.answers["group-create"] = {"group": GROUP}
    fake.answers["group-join"] = {"group": GROUP}
    fake.answers["group-approve"] = {"group": GROUP}
    return fake


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], engine: FakeEngine) -> Run:
    def run_once(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words], engine=engine)
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return run_once


def test_create_shows_the_recovery_key_before_the_agent_uses_it(
    run: Run, engine: FakeEngine
) -> None:
    code, out, _ = run("group", "create", "family")
    assert code == 0
    assert "BR1-AAAAA-BBBBB" in out
    assert engine.asked == [
        ("group-create", {"name": "family", "encrypt": True}),
        ("group-recovery", {"key": "BR1-AAAAA-BBBBB", "group": "family"}),
        ("group-show", {"group": "family"}),
    ]


def test_a_recovery_key_in_a_file_is_for_root_alone(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "key"
    code, out, _ = run("group", "create", "family", "--json", "--recovery-key-file", file)
    assert code == 0
    assert "BR1" not in out
    assert json.loads(out)["recovery_key_file"] == str(file)
    assert file.read_text() == "BR1-AAAAA-BBBBB\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_that_cannot_be_kept_is_not_used(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("an older key")
    code, _, err = run("group", "recovery-key", "--recovery-key-file", tmp_path / "key")
    assert (code, engine.asked) == (2, [])
    assert "exists already" in err
    assert (tmp_path / "key").read_text() == "an older key"
    assert run("group", "create", "x", "--recovery-key-file", tmp_path / "key")[0] == 2
    assert run("group", "join", "x", "--recovery-key-file", tmp_path / "no/where")[0] == 2
    assert engine.asked == []


def test_join_tells_the_digits_at_once(run: Run, engine: FakeEngine) -> None:
    engine.during["group-join"] = lambda p: p.phase("compare 123456")
    code, _, err = run("group", "join", "BJ1-X", "--no-encrypt", "--device", "/dev/sdb")
    assert code == 0
    assert err == "blockrep: compare 123456\n"
    assert engine.asked[0] == (
        "group-join", {"code": "BJ1-X", "devices": ["/dev/sdb"], "encrypt": False},
    )  # fmt: skip


def test_approve_takes_the_only_one_that_waits(run: Run, engine: FakeEngine) -> None:
    assert run("group", "approve", "--yes")[0] == 0
    assert engine.asked[-1] == ("group-approve", {"key": KEY, "short_code": "123456"})


def test_nobody_is_approved_without_a_question(run: Run, engine: FakeEngine) -> None:
    code, _, err = run("group", "approve")
    assert code == 2
    assert "--yes" in err
    assert [verb for verb, _ in engine.asked] == ["group-show"]


def test_several_that_wait_are_told_apart(run: Run, engine: FakeEngine) -> None:
    other = {**WAITING, "key": "ef" * 32, "name": "box"}
    engine.answers["group-show"] = {"group": {**GROUP, "waiting": [WAITING, other]}}
    code, _, err = run("group", "approve", "--yes")
    assert code == 2
    assert "nas (abababab), box (efefefef)" in err
    assert run("group", "approve", "ef", "--yes")[0] == 0
    assert run("group", "approve", "00", "--yes")[0] == 2


def test_refuse_takes_the_only_one_that_waits(run: Run, engine: FakeEngine) -> None:
    engine.answers["group-refuse"] = {"group": {**GROUP, "waiting": []}}
    code, out, _ = run("group", "refuse", "--group", "family")
    assert (code, out) == (0, "nas was refused. To ask again it needs a new code.\n")
    assert engine.asked[-1] == ("group-refuse", {"key": KEY, "group": "family"})
    assert run("group", "refuse", "00")[0] == 2


def test_remove_names_whom_this_machine_takes_over(run: Run, engine: FakeEngine) -> None:
    removed = {"name": "nas", "key": KEY, "adopted": [{"name": "box\x1b", "key": "ef" * 32}]}
    engine.answers["group-remove"] = {"group": GROUP, "removed": removed}
    code, out, _ = run("group", "remove", "nas")
    assert code == 0
    assert "nas is no member any more." in out
    assert "box\\x1b (key efefefef)" in out
    assert json.loads(run("group", "remove", "nas", "--json")[1])["removed"] == removed
    engine.answers["group-remove"] = {"group": GROUP, "removed": {**removed, "adopted": []}}
    assert "alone had approved" not in run("group", "remove", "nas")[1]


@pytest.mark.parametrize("action", ["grant", "withdraw"])
def test_grant_and_withdraw(run: Run, engine: FakeEngine, action: str) -> None:
    engine.answers[f"group-{action}"] = {"grants": GRANTS}
    code, out, _ = run("group", action, "nas", "restore", "zoe", "--group", "family")
    assert code == 0
    assert out.splitlines() == [
        "Granted at this machine:",
        "  nas (abababab) may restore ? (efefefef)",
        "  whom nas (abababab) removes is removed here",
        "",
        "Denied at this machine, by owner:",
        "  zoe (cdcdcdcd): assign, write",
    ]
    wanted = {"member": "nas", "right": "restore", "owner": "zoe", "group": "family"}
    assert engine.asked[-1] == (f"group-{action}", wanted)
    assert json.loads(run("group", action, "nas", "remove", "--json")[1])["grants"] == GRANTS
    assert engine.asked[-1] == (f"group-{action}", {"member": "nas", "right": "remove"})


@pytest.mark.parametrize(
    "words",
    [("nas", "restore"), ("nas", "remove", "zoe"), ("nas", "takeover", "zoe"), ("nas", "backup")],
)
def test_a_grant_that_makes_no_sense_is_not_asked_for(
    run: Run, engine: FakeEngine, words: tuple[str, ...]
) -> None:
    assert run("group", "grant", *words)[0] == 2
    assert engine.asked == []


@pytest.mark.parametrize("action", ["deny", "allow"])
def test_deny_and_allow(run: Run, engine: FakeEngine, action: str) -> None:
    engine.answers[f"group-{action}"] = {"grants": NO_GRANTS}
    code, out, _ = run("group", action, "zoe", "write", "takeover")
    assert (code, out) == (0, "Nothing is granted or denied at this machine.\n")
    wanted = {"owner": "zoe", "acts": ["write", "takeover"]}
    assert engine.asked == [(f"group-{action}", wanted)]
    assert run("group", action, "zoe", "delete")[0] == 2
    assert run("group", action, "zoe")[0] == 2


def test_what_was_decided_is_shown(run: Run, engine: FakeEngine) -> None:
    box, nas = {"name": "box", "key": "ef" * 32}, {"name": "nas", "key": KEY}
    shown = {**GROUP, "grants": GRANTS, "proposals": [{"by": nas, "member": box}]}
    engine.answers["group-show"] = {"group": shown}
    _, out, _ = run("group", "show")
    assert "  box (key efefefef), by nas (key abababab)" in out
    assert "  zoe (cdcdcdcd): assign, write" in out
    assert json.loads(run("group", "show", "--json")[1])["group"]["grants"] == GRANTS


def test_the_members_are_shown(run: Run) -> None:
    _, out, _ = run("group", "show")
    assert "Granted" not in out
    assert "Denied" not in out
    assert 'Group "family"' in out
    assert "zoe (this machine)" in out
    assert "NO" in out  # no recovery key
    assert "its screen must show 123456" in out


def test_a_backup_that_reached_all(run: Run, engine: FakeEngine) -> None:
    holder = {"name": "nas", "committed": True, "reason": "", "sent_bytes": 5 << 20}
    backup = {
        "device": "/dev/sda", "epoch": 7, "stored_bytes": GIB, "holders": [holder],
        "recovery_key": True,
    }  # fmt: skip
    engine.answers["backup"] = {"backup": backup}
    code, out, _ = run("backup", "/dev/sda", "--mode", "full", "--to", "nas", "--group", "family")
    assert code == 0
    assert "received and signed" in out
    given = {"device": "/dev/sda", "mode": "full", "to": ["nas"], "group": "family"}
    assert engine.asked == [("backup", given)]
    assert engine.calls == ["ask /run/blockrep/agent.sock"]


def test_a_backup_without_every_receipt_fails_and_says_whose(run: Run, engine: FakeEngine) -> None:
    good = {"name": "nas", "committed": True, "reason": "", "sent_bytes": 1}
    bad = {"name": "zoe", "committed": False, "reason": "no route", "sent_bytes": 0}
    backup = {
        "device": "sda", "epoch": 7, "stored_bytes": 1, "holders": [good, bad],
        "recovery_key": False,
    }  # fmt: skip
    engine.answers["backup"] = {"backup": backup}
    code, out, err = run("backup")
    assert code == 102
    assert "zoe: no route" in err
    assert "no recovery key" in out
    code, out, _ = run("backup", "--json")
    answer = json.loads(out)
    assert (answer["backup"], answer["error"]["kind"]) == (backup, "BackupIncomplete")
    assert answer["error"]["hint"].startswith("run it again")


def test_a_backup_that_a_holder_refused_says_what_helps_there(run: Run, engine: FakeEngine) -> None:
    full = errors.HistoryFull("zoe: the epoch writes over more than the history has room for")
    bad = {
        "name": "zoe", "committed": False, "reason": full.message, "hint": full.hint,
        "sent_bytes": 0,
    }  # fmt: skip
    backup = {
        "device": "sda", "epoch": 0, "stored_bytes": 0, "holders": [bad], "recovery_key": True,
    }  # fmt: skip
    engine.answers["backup"] = {"backup": backup}
    code, _, err = run("backup")
    assert code == 102
    assert "zoe: zoe" not in err
    assert "`blockrep accept` at the holder; then run it again" in err


def test_status_without_a_problem(run: Run, engine: FakeEngine) -> None:
    engine.answers["status"] = status()
    code, out, _ = run("status")
    assert code == 0
    assert "Everything is protected." in out
    assert "1 min 3" in out
    assert "3 versions, 2.5 days" in out
    assert "sending, 50 %" in out
    assert "\x1b" not in out


def test_status_with_a_problem_is_no_success(run: Run, engine: FakeEngine) -> None:
    engine.answers["status"] = status("nas does not answer")
    code, out, err = run("status")
    assert code == 101
    assert "! nas does not answer" in out
    assert "nas does not answer" in err
    engine.answers["status"] = status("a", "b")
    assert "2 problems" in run("status")[2]


def test_history(run: Run, engine: FakeEngine) -> None:
    epoch = {
        "number": 7, "id": "a" * 32, "time_s": 1700000000, "consistent": False,
        "stored_bytes": GIB, "content_bytes": GIB, "encrypted": True, "holders": ["nas", "box"],
    }  # fmt: skip
    device = {"id": "0" * 32, "name": "sda", "epochs": [epoch, {**epoch, "time_s": 1 << 62}]}
    empty = {"id": "1" * 32, "name": "sdb", "epochs": []}
    history = {"owner": "zoe", "devices": [device, empty], "unreachable": ["far: no route"]}
    engine.answers["history"] = {"history": history}
    code, out, _ = run("history", "zoe")
    assert code == 0
    assert "2023-11-14 22:13:20" in out
    assert "nas, box" in out
    assert "! far: no route" in out


def test_takeover_reads_the_key_from_its_file(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" BR1-X \n")
    engine.answers["takeover"] = {"takeover": {"lines": ["nas knows it."]}}
    code, out, _ = run("takeover", "zoe", "--recovery-key-file", tmp_path / "key")
    assert (code, out) == (0, "nas knows it.\n")
    assert engine.asked == [("takeover", {"owner": "zoe", "recovery_key": "BR1-X"})]
    assert run("takeover", "zoe", "--recovery-key-file", tmp_path / "none")[0] == 2
    (tmp_path / "key").write_text("")
    assert run("takeover", "zoe", "--recovery-key-file", tmp_path / "key")[0] == 2


def test_accept_and_jobs(run: Run, engine: FakeEngine) -> None:
    engine.answers["accept"] = {"accept": {}}
    assert run("accept", "zoe", "--socket", "/tmp/s")[0] == 0
    assert engine.calls == ["ask /tmp/s"]
    engine.answers["jobs"] = {"jobs": []}
    assert run("jobs", "--cancel", 7)[1] == "No jobs.\n"
    assert engine.asked[-1] == ("jobs", {"cancel": 7})


def test_no_agent(run: Run, engine: FakeEngine) -> None:
    engine.answers["status"] = errors.AgentUnreachable("no agent answers at /x")
    code, _, err = run("status")
    assert code == 100
    assert "systemctl start blockrep-agent" in err


def test_the_agents_flags(run: Run, engine: FakeEngine) -> None:
    code, _, _ = run("agent", "--device", "/dev/sda", "--device", "b", "--listen", "[::1]:5")
    assert code == 0
    ((_, flags),) = engine.asked
    assert flags["devices"] == (Path("/dev/sda"), Path("b"))
    assert (flags["listen"], flags["config"]) == ("[::1]:5", None)
