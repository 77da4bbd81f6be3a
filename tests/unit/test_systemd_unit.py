"""The unit of the agent: what the service manager thinks of it, where there is one."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

from blockrep.agent.config import CONFIG_PATH, DEFAULT_SOCKET, DEFAULT_STATE_DIR

UNIT = Path(__file__).resolve().parents[2] / "systemd/blockrep-agent.service"
LARGEST_EXPOSURE = 4.0


def test_the_folders_are_those_that_the_agent_uses() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    assert unit["Service"]["Type"] == "notify"
    assert Path("/var/lib", unit["Service"]["StateDirectory"]) == DEFAULT_STATE_DIR
    assert DEFAULT_SOCKET.parent == Path("/run", unit["Service"]["RuntimeDirectory"])
    assert unit["Unit"]["ConditionPathExists"] == str(CONFIG_PATH)


def test_systemd_accepts_it_and_finds_it_closed() -> None:
    if shutil.which("systemd-analyze") is None:
        return  # its own rules are known to nobody else
    done = subprocess.run(
        ["systemd-analyze", "verify", UNIT], capture_output=True, text=True, timeout=60, check=False
    )
    known = ("is not executable", "man blockrep-agent")  # as long as it is not installed
    lines = [line for line in done.stderr.splitlines() if not any(word in line for word in known)]
    assert lines == []
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", UNIT],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    level = re.search(r"exposure level for blockrep-agent.service: ([0-9.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= LARGEST_EXPOSURE
