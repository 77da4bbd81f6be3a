"""What every test run needs: the installed package, no leftovers, no silent skips.

The tests run against the installed package, because the source tree has no compiled core. `python
-m pytest` puts the source root first on the path, so it is taken out again before anything is
imported. What tests share lies in `tests`, which pyproject.toml puts on the path.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent

# Every skip must be one of these, word for word at its start; any other fails the run.
EXPECTED_SKIPS = (
    "this kernel has no device-mapper",
    "this kernel cannot mount",
)


def _is_root(entry: str) -> bool:
    return Path(entry or ".").resolve() == ROOT


sys.path[:] = [entry for entry in sys.path if not _is_root(entry)]


def _check_installed() -> None:
    spec = importlib.util.find_spec("blockrep")
    if spec is None or spec.origin is None:
        raise pytest.UsageError("blockrep is not installed: run scripts/setup")
    package = Path(spec.origin).parent
    if package == ROOT / "blockrep":
        raise pytest.UsageError(f"the tests would import the source tree {package}")
    if not list(package.glob("_core.*.so")):
        raise pytest.UsageError(f"{package} has no compiled core: run scripts/setup")


# CI tries the same examples each time; --all looks for new ones, and prints how to repeat them.
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.register_profile("all", deadline=None, max_examples=2000, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked slow, too")


def pytest_configure(config: pytest.Config) -> None:
    _check_installed()
    # A run that is ended cleans up like one that is interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Who was started in the background ignores SIGINT, and what it starts would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile("all" if config.getoption("--all") else "ci")
    config.pluginmanager.register(Skips(), "blockrep-skips")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


class Skips:
    """Collects why tests were skipped, and fails the run for a reason that was not expected."""

    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(EXPECTED_SKIPS):
            self.unexpected.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unexpected:
            terminalreporter.section("skips that were not expected", red=True)
            for line in self.unexpected:
                terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All temporary files of the tests and of their children lie in one folder of this run.

    What is left of loop devices and mounts at the end can so be told from other people's.
    """
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(base))
        patch.setattr(tempfile, "tempdir", None)
        yield base


@pytest.fixture(scope="session", autouse=True)
def nothing_left(scratch: Path) -> Iterator[None]:
    """Fails the run when the tests leave a loop device, a mount, a network namespace or a child."""
    _adopt_orphans()
    namespaces = _namespaces()
    children = _children()
    yield
    _reap_children()
    left = [
        *_loops_on(scratch),
        *_mounts_under(scratch),
        *sorted(_namespaces() - namespaces),
        *sorted(_children() - children),
    ]
    assert not left, "left behind by the tests:\n" + "\n".join(left)


def _loops_on(folder: Path) -> list[str]:
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            file = backing.read_text().strip()
        except OSError:  # detached while we looked
            continue
        if file.startswith(f"{folder}/"):
            found.append(f"/dev/{backing.parts[3]} on {file}")
    return found


def _mounts_under(folder: Path) -> list[str]:
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [f"mount on {words[4]}" for words in mounts if words[4].startswith(f"{folder}/")]


def _namespaces() -> set[str]:
    folder = Path("/run/netns")
    return {f"network namespace {path.name}" for path in folder.glob("*")}


def _adopt_orphans() -> None:
    """A child of a child that was killed becomes ours, so that `_children` finds it."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _reap_children() -> None:
    """Forget the children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _children() -> set[str]:
    """Processes whose parent is this one."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            match = re.match(r"(\d+) \((.*)\) \S (\d+)", stat.read_text(), re.DOTALL)
        except OSError:  # ended while we looked
            continue
        if match and int(match[3]) == os.getpid():
            found.add(f"process {match[1]} ({match[2]})")
    return found
