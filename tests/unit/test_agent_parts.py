"""The parts of the agent that know nothing of disks or groups."""

from __future__ import annotations

import io
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrep import errors
from blockrep.agent.config import (
    Address,
    AgentConfig,
    override,
    parse_address,
    parse_config,
    read_config,
)
from blockrep.agent.jobs import KEPT_JOBS, Job, JobState, JobTable
from blockrep.agent.limits import (
    MAX_CONNECTIONS,
    MAX_NEW_PER_SECOND,
    MAX_PER_MEMBER,
    MAX_STRANGERS,
    MAX_UNPROVEN,
    MAX_WITHOUT_KEY,
    ConnectionLimits,
)
from blockrep.agent.listener import Connection, Listener
from blockrep.agent.local_client import LocalClient
from blockrep.agent.local_lines import (
    MAX_REQUEST_BYTES,
    Document,
    LineReader,
    build_line,
    error_document,
    error_of,
    parse_line,
)
from blockrep.agent.local_server import Answer, LocalServer
from blockrep.agent.log import Log
from blockrep.agent.notify import Notifier
from blockrep.progress import Silent

WAIT_S = 10.0


# -- the log


def test_each_line_of_the_log_has_its_priority_and_stays_one_line() -> None:
    stream = io.StringIO()
    log = Log(stream, prefixed=True)
    log.error("a\nb\x1b[31m")
    log.info("fine")
    assert stream.getvalue() == "<3>a\\nb\\x1b[31m\n<6>fine\n"


def test_a_log_that_is_gone_stops_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    Log(stream, prefixed=False).warning("nobody hears")


# -- the service manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(WAIT_S)
        yield listening


def test_the_service_manager_is_told(manager: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(manager.getsockname())})
    notifier.ready("two devices")
    notifier.alive()
    notifier.stopping()
    heard = [manager.recv(1000) for _ in range(3)]
    assert heard == [b"READY=1\nSTATUS=two devices", b"WATCHDOG=1", b"STOPPING=1"]


def test_an_abstract_socket_of_the_service_manager() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0blockrep-test-{os.getpid()}")
        listening.settimeout(WAIT_S)
        Notifier.from_environment({"NOTIFY_SOCKET": f"@blockrep-test-{os.getpid()}"}).alive()
        assert listening.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "nonsense", "/nowhere/at/all"])
def test_without_a_service_manager_nothing_fails(address: str) -> None:
    Notifier.from_environment({"NOTIFY_SOCKET": address}).ready("x")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_it_names_us(
    variables: dict[str, str], expected: float | None
) -> None:
    assert Notifier.from_environment(variables).watchdog_s == expected


# -- settings


def test_settings_and_flags() -> None:
    config = parse_config(
        'name = "zoe"\ndevices = ["/dev/sda", "/dev/sdb"]\nlisten = "[::1]:99"\n'
        'addresses = ["zoe.example"]\nstale_hours = 3'
    )
    assert config.devices == (Path("/dev/sda"), Path("/dev/sdb"))
    assert config.listen == Address("::1", 99)
    assert config.addresses == (Address("zoe.example", 7317),)
    assert override(config, name=None, listen=Address("::", 1)).name == "zoe"
    assert override(config, listen=Address("::", 1)).listen.port == 1


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("colour = 1", "colour"),
        ('devices = "/dev/sda"', "devices"),
        ('devices = ["sda"]', "absolute"),
        ("stale_hours = true", "stale_hours"),
        ("stale_hours = 0", "stale_hours"),
        ('listen = "::1:99999"', "address"),
        ('name = "a\\u001b"', "name"),
        ("name =", "TOML"),
    ],
)
def test_a_wrong_setting_is_named(text: str, names: str) -> None:
    with pytest.raises(errors.UsageError, match=names):
        parse_config(text)


def test_no_file_is_no_settings_unless_it_was_asked_for(tmp_path: Path) -> None:
    assert read_config(tmp_path / "none", required=False) == AgentConfig()
    with pytest.raises(errors.UsageError, match="does not exist"):
        read_config(tmp_path / "none", required=True)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"#" * 70000)
    with pytest.raises(errors.UsageError, match="larger"):
        read_config(tmp_path / "long", required=True)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except errors.UsageError:
        return
    assert parse_address(str(address)) == address


@given(st.text(max_size=200))
def test_any_text_is_settings_or_refused(text: str) -> None:
    try:
        parse_config(text)
    except errors.UsageError:
        return


# -- jobs


@pytest.fixture
def jobs() -> Iterator[JobTable]:
    table = JobTable(lambda job: None)
    yield table
    assert table.close(WAIT_S)


def until_cancelled(job: Job) -> Document:
    job.phase("waiting", 10)
    job.advance(3)
    while True:
        job.check()
        time.sleep(0.005)


def test_a_job_tells_how_far_it_is_and_why_it_ended(jobs: JobTable) -> None:
    job = jobs.start("backup", "disk", until_cancelled)
    while not job.view().phase:
        time.sleep(0.005)
    view = job.view()
    assert (view.state, view.done_bytes, view.total_bytes) == (JobState.RUNNING, 3, 10)
    job.cancelled.set()
    with pytest.raises(errors.Stopped):
        job.result()
    assert (job.view().state, job.view().reason) == ("cancelled", "the backup was cancelled")


def test_a_job_that_fails_says_so(jobs: JobTable) -> None:
    def fail(job: Job) -> Document:
        raise ZeroDivisionError("surprise")

    job = jobs.start("backup", "disk", fail)
    with pytest.raises(errors.InternalError, match="ZeroDivisionError: surprise"):
        job.result()
    assert job.view().state == JobState.FAILED


def test_the_same_job_runs_once_at_a_time(jobs: JobTable) -> None:
    jobs.start("backup", "a", until_cancelled)
    with pytest.raises(errors.DeviceBusy, match="as job 1"):
        jobs.start("backup", "a", until_cancelled)
    jobs.start("backup", "b", until_cancelled)


def test_old_jobs_are_forgotten_and_none_starts_after_the_end() -> None:
    table = JobTable(lambda job: None)
    for _ in range(KEPT_JOBS + 20):
        table.start("x", "y", lambda job: {}).result()
        until = time.monotonic() + WAIT_S
        while table.running() and time.monotonic() < until:
            time.sleep(0.001)
    assert len(table.views()) <= KEPT_JOBS
    assert table.close(1)
    with pytest.raises(errors.Stopped):
        table.start("x", "y", lambda job: {})


# -- limits


def test_so_many_connections_and_no_more() -> None:
    limits = ConnectionLimits()
    admitted = sum(limits.admit(f"10.0.0.{n}", 0.0) for n in range(MAX_CONNECTIONS + 5))
    assert admitted == MAX_CONNECTIONS
    limits.leave()
    assert limits.admit("10.0.1.1", 0.0)


def test_one_address_comes_only_so_fast() -> None:
    limits = ConnectionLimits()

    def try_at(now_s: float) -> bool:
        admitted = limits.admit("a", now_s)
        if admitted:
            limits.settle("a")
        return admitted

    assert sum(try_at(0.01 * n) for n in range(50)) == MAX_NEW_PER_SECOND
    assert limits.admit("b", 0.5)
    assert try_at(1.6)


def test_who_says_nothing_does_not_keep_the_others_out() -> None:
    limits = ConnectionLimits()
    assert sum(limits.admit("a", float(n)) for n in range(50)) == MAX_UNPROVEN
    assert limits.admit("b", 0.0)
    limits.settle("a")
    assert limits.admit("a", 60.0)


def test_so_many_of_one_member_and_fewer_of_nobody() -> None:
    limits = ConnectionLimits()
    assert [limits.name(b"k", "a") for _ in range(9)].count(True) == MAX_PER_MEMBER
    limits.unname(b"k", "b")
    assert limits.name(b"k", "b")


def test_a_stranger_who_stays_leaves_room_for_another() -> None:
    limits = ConnectionLimits()
    assert [limits.name(None, "a") for _ in range(9)].count(True) == MAX_WITHOUT_KEY
    assert limits.name(None, "b")
    limits.unname(None, "a")
    assert limits.name(None, "a")
    crowd = sum(limits.name(None, str(number)) for number in range(100))
    assert crowd == MAX_STRANGERS - MAX_WITHOUT_KEY - 1
    assert limits.name(b"k", "a")


def test_many_forged_addresses_are_not_remembered_for_ever() -> None:
    limits = ConnectionLimits()
    for number in range(5000):
        if limits.admit(str(number), 0.0):
            limits.settle(str(number))
            limits.leave()
    assert len(limits._recent) <= 1024
    assert limits.admit("late", 5.0)


# -- the port


def test_the_port_serves_within_its_limits_and_ends_all() -> None:
    served: list[str] = []
    waiting = threading.Event()

    def serve(connection: Connection) -> None:
        served.append(connection.address)
        waiting.set()
        connection.socket.recv(1)

    log = Log(io.StringIO(), prefixed=False)
    listener = Listener(Address("127.0.0.1", 0), serve, ConnectionLimits(), log)
    listener.start()
    clients = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(14)]
    assert waiting.wait(WAIT_S)
    for client in clients:
        client.settimeout(WAIT_S)
    assert [client.recv(1) for client in clients[MAX_UNPROVEN:]] == [b""] * 6
    listener.close(WAIT_S)
    assert clients[0].recv(1) == b""
    assert served == ["127.0.0.1"] * MAX_UNPROVEN
    for client in clients:
        client.close()


def test_a_port_that_is_taken_is_named() -> None:
    log = Log(io.StringIO(), prefixed=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(errors.UsageError, match=f"127.0.0.1:{port}"):
            Listener(Address("127.0.0.1", port), lambda connection: None, ConnectionLimits(), log)


# -- the local socket


class Agent:
    """Answers three verbs."""

    def __init__(self, path: Path) -> None:
        self.jobs = JobTable(lambda job: None)
        self.server = LocalServer(path, self.answer, Log(io.StringIO(), prefixed=False))

    def answer(self, verb: str, arguments: Document) -> Answer:
        if verb == "wait":
            return self.jobs.start("wait", "", until_cancelled)
        if verb == "work":
            return self.jobs.start("work", "", self.work)
        if verb == "fail":
            raise errors.DoesNotFit("too small", hint="buy a disk")
        return {"verb": verb, **arguments}

    def work(self, job: Job) -> Document:
        for phase in ("one", "two"):
            job.phase(phase, 100)
            job.advance(60)
            time.sleep(0.3)
        return {"epoch": 7}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "agent.sock"
    serving = Agent(path)
    yield path
    serving.jobs.close(WAIT_S)
    serving.server.close()
    assert not path.exists()


def ask(path: Path, verb: str, arguments: Document | None = None) -> Document:
    with LocalClient(path) as client:
        return client.ask(verb, arguments or {}, Silent())


class Watching(Silent):
    """Keeps what it is told, and wants to stop when it has heard of a phase."""

    def __init__(self, *, stop: bool) -> None:
        self.stop = stop
        self.heard: list[tuple[str, int]] = []

    def phase(self, name: str, total_bytes: int = 0) -> None:
        self.heard.append((name, total_bytes))

    def check(self) -> None:
        if self.stop and self.heard:
            raise errors.Stopped("asked")


def test_only_its_user_may_open_the_socket(agent: Path) -> None:
    assert stat.S_IMODE(agent.stat().st_mode) == 0o600


def test_a_request_and_its_answer(agent: Path) -> None:
    assert ask(agent, "echo", {"text": "ß\n"}) == {"verb": "echo", "text": "ß\n"}


def test_an_error_arrives_as_it_was(agent: Path) -> None:
    with pytest.raises(errors.DoesNotFit, match="too small") as caught:
        ask(agent, "fail")
    assert caught.value.hint == "buy a disk"


def test_a_job_is_followed(agent: Path) -> None:
    watching = Watching(stop=False)
    with LocalClient(agent) as client:
        assert client.ask("work", {}, watching) == {"epoch": 7}
    assert watching.heard == [("one", 100), ("two", 100)]


def test_the_wish_to_stop_cancels_the_job(agent: Path) -> None:
    with LocalClient(agent) as client, pytest.raises(errors.Stopped, match="cancelled"):
        client.ask("wait", {}, Watching(stop=True))


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(errors.AgentUnreachable, match=r"agent\.sock"):
        ask(tmp_path / "agent.sock", "x")


def test_a_second_agent_is_refused_and_a_dead_one_replaced(agent: Path, tmp_path: Path) -> None:
    log = Log(io.StringIO(), prefixed=False)
    with pytest.raises(errors.DeviceBusy, match="another agent"):
        LocalServer(agent, lambda verb, arguments: {}, log)
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    LocalServer(left, lambda verb, arguments: {}, log).close()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(errors.UsageError, match="in the place"):
        LocalServer(tmp_path / "file", lambda verb, arguments: {}, log)


@pytest.mark.parametrize("line", [b"[]\n", b"{}\n", b"\xff\n", b'{"verb": 3}\n', b"[" * 99999])
def test_nonsense_is_answered_with_an_error(agent: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_S)
        client.connect(str(agent))
        client.sendall(line if line.endswith(b"\n") else line + b"\n")
        assert b'"UsageError"' in client.recv(65536)


def test_a_line_that_does_not_end_is_not_kept(agent: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_S)
        client.connect(str(agent))
        try:
            client.sendall(b"x" * (MAX_REQUEST_BYTES + 100000))
        except BrokenPipeError:
            return  # it closed before it had read all
        assert b"longer than" in client.recv(65536)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_lines_are_the_same_however_they_arrive(pieces: list[bytes]) -> None:
    reader = LineReader(10000)
    lines = [line for piece in pieces for line in reader.feed(piece)]
    assert lines == b"".join(pieces).split(b"\n")[:-1]


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_an_error_of_any_shape_is_an_error(value: object) -> None:
    assert isinstance(error_of(value), errors.BlockrepError)
    assert isinstance(error_of({"kind": value, "message": value}), errors.BlockrepError)


def test_every_error_survives_the_socket() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    kinds = [k for k in kinds if issubclass(k, errors.BlockrepError)]
    assert len(kinds) > 20
    for kind in kinds:
        error = kind("m", state=errors.DiskState.RESUMABLE)
        again = error_of(parse_line(build_line(error_document(error))))
        assert (type(again), again.message, again.state) == (kind, "m", error.state)
