"""Who is no member reaches nothing, and keeps nobody out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from net import stranger
from net.machines import Machine, Machines, machines

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Two members, and a third machine that is none."""
    with machines(tmp_path_factory.mktemp("strangers"), 3, start=False) as made:
        first, second, _ = made.all
        first.start()
        second.start()
        made.all.pop()
        made.make_group()
        yield made


def start(network: Machines, how: str, goal: Machine) -> subprocess.Popen[str]:
    place = Path(stranger.__file__)
    words = network.network.machines[2].command(sys.executable, place, how, goal.address, 7317)
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def meet(network: Machines, how: str, goal: Machine) -> dict[str, Any]:
    with start(network, how, goal) as process:
        shown, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    answer: dict[str, Any] = json.loads(shown.splitlines()[-1])
    return answer


@pytest.mark.parametrize("how", ["garbage", "silence", "drip"])
def test_who_does_not_shake_hands_is_gone_soon(trio: Machines, how: str) -> None:
    assert meet(trio, how, trio[0])["seconds"] < 14


def test_an_unknown_key_is_refused_before_a_word(trio: Machines) -> None:
    answer = meet(trio, "unknown-key", trio[0])
    assert "HELLO" not in answer["said"]
    assert "PeerRefused" in answer["said"] or "PeerUnreachable" in answer["said"]


def test_without_a_key_only_a_join_is_possible(trio: Machines) -> None:
    assert "only a join is possible" in meet(trio, "no-key", trio[0])["said"]


def test_a_crowd_keeps_no_member_out(trio: Machines) -> None:
    first, second = trio.all
    with start(trio, "crowd", first) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == "crowded\n"
        second.run("backup", "--mode", "full")
        shown, _ = crowd.communicate(timeout=60)
    assert int(json.loads(shown)["said"]) <= 8
