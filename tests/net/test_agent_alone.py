"""One machine: how its agent starts, answers and ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from net.machines import Machine, machines

pytestmark = pytest.mark.root


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machines(tmp_path, 1) as made:
        yield made[0]


def test_it_starts_answers_and_ends(machine: Machine) -> None:
    assert machine.run("jobs")["jobs"] == []
    machine.stop()
    assert not machine.socket.exists()
    assert machine.run("jobs", ok=(100,))["error"]["kind"] == "AgentUnreachable"


def test_its_disk_is_its_own(machine: Machine) -> None:
    with pytest.raises(OSError, match="busy"):
        os.open(machine.disks[0], os.O_RDWR | os.O_EXCL)


def test_after_a_kill_it_starts_again(machine: Machine) -> None:
    machine.kill()
    machine.start()
    machine.run("jobs")


def test_a_second_agent_is_refused(machine: Machine) -> None:
    done = subprocess.run(
        machine.command("agent", "--device", machine.disks[0]),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 11
    machine.run("jobs")
