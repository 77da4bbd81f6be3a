"""A network of machines: one network namespace per machine, on a bridge in a namespace of its own.

A namespace lives as long as the process that holds it, and that process dies with this one, also by
SIGKILL: so namespaces, cables and bridge never outlive the tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oracles import run

LIMIT_S = 60.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """For a child before it becomes a program: end when the tests end, however they end."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def wait_for(what: str, done: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait until `done` is true; a failure names what was waited for."""
    until = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < until, f"waited {limit_s:.0f} s for {what}"
        time.sleep(0.02)


@dataclass
class Namespace:
    """A network namespace, held by a process that sleeps in it."""

    holder: subprocess.Popen[bytes]

    @property
    def path(self) -> Path:
        return Path(f"/proc/{self.holder.pid}/ns/net")

    def command(self, *words: object) -> list[str]:
        """`words` as a command within it."""
        return ["nsenter", f"--net={self.path}", *(str(word) for word in words)]

    def run(self, *words: object) -> str:
        return run(*self.command(*words))


@dataclass
class Lan:
    """A bridge, and machines on it with the addresses 10.77.0.1, 10.77.0.2 and so on."""

    switch: Namespace
    machines: list[Namespace] = field(default_factory=list)

    def plug(self, namespace: Namespace) -> str:
        """Connect a machine; its address."""
        self.machines.append(namespace)
        number = len(self.machines)
        port, address = f"port{number}", f"10.77.0.{number}"
        self.switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0",
                        "netns", namespace.holder.pid)  # fmt: skip
        self.switch.run("ip", "link", "set", port, "master", "bridge", "up")
        namespace.run("ip", "link", "set", "lo", "up")
        namespace.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        namespace.run("ip", "link", "set", "eth0", "up")
        return address

    def cut(self, number: int) -> None:
        """Pull the cable of the machine with this number, 1 and up."""
        self.switch.run("ip", "link", "set", f"port{number}", "down")

    def mend(self, number: int) -> None:
        self.switch.run("ip", "link", "set", f"port{number}", "up")

    def slow_down(self, number: int, mbit_s: int) -> None:
        """Let this machine send only so fast, so that there is time for something to happen."""
        shape = ("rate", f"{mbit_s}mbit", "burst", "64kb", "latency", "200ms")
        machine = self.machines[number - 1]
        machine.run("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *shape)

    def speed_up(self, number: int) -> None:
        machine = self.machines[number - 1]
        if " tbf " in machine.run("tc", "qdisc", "show", "dev", "eth0"):
            machine.run("tc", "qdisc", "del", "dev", "eth0", "root")


@contextlib.contextmanager
def lan(machines: int) -> Iterator[tuple[Lan, Sequence[str]]]:
    """A network of so many machines, and their addresses."""
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(namespace())
        switch.run("ip", "link", "add", "bridge", "type", "bridge")
        switch.run("ip", "link", "set", "bridge", "up")
        network = Lan(switch)
        addresses = [network.plug(stack.enter_context(namespace())) for _ in range(machines)]
        yield network, addresses


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    before = _namespace_of(os.getpid())
    holder = subprocess.Popen(
        ["unshare", "--net", "sleep", "infinity"],
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        wait_for("a namespace", lambda: _namespace_of(holder.pid) not in (before, ""))
        yield Namespace(holder)
    finally:
        holder.kill()
        holder.wait()


def _namespace_of(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""
