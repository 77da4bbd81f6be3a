"""Machines on a `lan`: each an agent with its own disks, state folder and socket.

An agent dies with the tests, however they end; its disks are loop devices that go with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disks import MIB, ext_disk
from loops import loop_device, mounted
from oracles import run

from net.lan import Lan, Namespace, die_with_parent, lan, wait_for

BLOCKREP = Path(sys.executable).with_name("blockrep")
COMMAND_S = 300.0
START_BYTES = MIB


@dataclass
class Machine:
    """One member to be. `disks` are loop devices over `images`."""

    name: str
    number: int
    namespace: Namespace
    address: str
    folder: Path
    images: list[Path]
    disks: list[Path]
    agent: subprocess.Popen[bytes] | None = None
    flags: list[str] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    @property
    def key_file(self) -> Path:
        return self.folder / "recovery-key"

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def start(self) -> None:
        """Start the agent and wait until it says that it is ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            place = self.folder / "notify"
            place.unlink(missing_ok=True)
            manager.bind(str(place))
            manager.settimeout(30)
            self.agent = self._spawn(place)
            try:
                heard = manager.recv(1000)
            except TimeoutError:
                heard = b""
        assert heard.startswith(b"READY=1"), f"{self.name} did not start:\n{self.log}"

    def _spawn(self, notify: Path) -> subprocess.Popen[bytes]:
        words = [BLOCKREP, "agent", "--name", self.name, "--listen", f"{self.address}:7317"]
        words += ["--state-dir", self.folder / "state", "--socket", self.socket, *self.flags]
        for disk in self.disks:
            words += ["--device", disk]
        with (self.folder / "agent.log").open("ab") as log:
            return subprocess.Popen(
                self.namespace.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                env={**os.environ, "NOTIFY_SOCKET": str(notify), "BLOCKREP_DEBUG": "1"},
            )

    @property
    def peak_bytes(self) -> int:
        """The most memory that its agent has had."""
        assert self.agent is not None
        status = Path(f"/proc/{self.agent.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10

    def stop(self) -> None:
        """Ask the agent to end; it must do so with success."""
        self._end(signal.SIGTERM, 0)

    def kill(self) -> None:
        self._end(signal.SIGKILL, -signal.SIGKILL)

    def _end(self, number: signal.Signals, expected: int) -> None:
        assert self.agent is not None
        self.agent.send_signal(number)
        code = self.agent.wait(60)
        self.agent = None
        assert code == expected, f"{self.name} ended with {code}:\n{self.log}"

    def run(self, *words: object, ok: Sequence[int] = (0,)) -> dict[str, Any]:
        """A command of this machine; its JSON document."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        assert done.returncode in ok, (
            f"{self.name}: {words}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.log}"
        )
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def spawn(self, *words: object) -> subprocess.Popen[str]:
        """A command that goes on meanwhile."""
        return subprocess.Popen(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )

    def command(self, *words: object) -> list[str]:
        return self.namespace.command(BLOCKREP, *words, "--socket", self.socket, "--json")


@dataclass
class Machines:
    """The network and what is on it."""

    network: Lan
    all: list[Machine]
    stack: contextlib.ExitStack
    divide: Callable[[Path, int], None]

    def give_new_disk(self, machine: Machine, seed: int) -> None:
        """A divided disk of no group in the place of its only one."""
        image = machine.folder / f"disk{seed}.img"
        self.divide(image, seed)
        self.attach(machine, image)

    def attach(self, machine: Machine, image: Path) -> None:
        """Put this image in the place of the only disk; the agent does not run."""
        machine.images[0] = image
        machine.disks[0] = self.stack.enter_context(loop_device(image))

    def __getitem__(self, number: int) -> Machine:
        return self.all[number]

    def make_group(self) -> None:
        """The first founds a group, and lets the others in one by one."""
        first, *others = self.all
        first.run("group", "create", "test", "--recovery-key-file", first.key_file)
        for other in others:
            bring_in(first, other)


def bring_in(member: Machine, joiner: Machine, group: str = "test") -> None:
    """The whole way of a join, with both screens compared."""
    code = member.run("group", "invite", "--group", group)["invitation"]["code"]
    with joiner.spawn("group", "join", code, "--recovery-key-file", joiner.key_file) as joining:
        wait_for(
            f"{joiner.name} at the door",
            lambda: member.run("group", "show", "--group", group)["group"]["waiting"],
        )
        (waiting,) = member.run("group", "show", "--group", group)["group"]["waiting"]
        member.run("group", "approve", waiting["key"], "--yes", "--group", group)
        shown, said = joining.communicate(timeout=COMMAND_S)
        assert joining.returncode == 0, f"{shown}{said}\n{joiner.log}\n{member.log}"
        assert waiting["short_code"] in said


@contextlib.contextmanager
def machines(
    folder: Path, count: int, *, disks: int = 1, disk_bytes: int = 320 * MIB, peers: int = 2,
    first: str = "64M", content_bytes: int = 8 * MIB, history: str | None = None,
    start: bool = True,
) -> Iterator[Machines]:  # fmt: skip
    """So many machines with divided disks, their agents running."""
    with contextlib.ExitStack() as stack:
        network, addresses = stack.enter_context(lan(count))

        def divide(image: Path, seed: int) -> None:
            divided_disk(image, disk_bytes, first, peers, content_bytes, seed, history)

        made = []
        for number, (namespace, address) in enumerate(
            zip(network.machines, addresses, strict=True), 1
        ):
            place = folder / f"m{number}"
            place.mkdir()
            images = [place / f"disk{n}.img" for n in range(disks)]
            for n, image in enumerate(images):
                divide(image, number * 100 + n)
            loops = [stack.enter_context(loop_device(image)) for image in images]
            machine = Machine(f"m{number}", number, namespace, address, place, images, loops)
            stack.callback(_clear, machine)
            made.append(machine)
        if start:
            for machine in made:
                machine.start()
        yield Machines(network, made, stack, divide)


def _clear(machine: Machine) -> None:
    if machine.agent is not None:
        machine.agent.kill()
        machine.agent.wait()


def divided_disk(
    image: Path,
    size_bytes: int,
    first: str,
    peers: int,
    content_bytes: int,
    seed: int,
    history: str | None,
) -> None:
    """A divided disk with files of random content on it."""
    tree = image.with_suffix(".tree")
    write_files(tree, content_bytes, seed)
    ext_disk(image, size_bytes, tree=tree)
    run("rm", "-rf", tree)
    share = () if history is None else ("--history", history)
    run(BLOCKREP, "divide", image, "--first", first, "--peers", peers, *share, "--yes")


def write_files(folder: Path, content_bytes: int, seed: int) -> None:
    """About so many bytes in files of very different lengths, the same for the same seed."""
    chance = random.Random(seed)
    folder.mkdir(exist_ok=True)
    left = content_bytes
    number = 0
    while left > 0:
        length = min(left, int(2 ** chance.uniform(8, 20)))
        (folder / f"file{seed}-{number}").write_bytes(chance.randbytes(length))
        left -= length
        number += 1


def digest_of_files(disk: Path, start_bytes: int = START_BYTES) -> str:
    """A digest of name, type, mode, owner, time and content of every file on a disk."""
    script = (
        "find . -path ./lost+found -prune -o -printf '%y %m %U:%G %n %T@ %l %p\\n' | LC_ALL=C sort;"
        "find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum"
    )
    with loop_device(disk, start_bytes, read_only=True) as node, mounted(node) as root:
        listed = run("sh", "-c", f"cd '{root}' && ({script}) | sha256sum")
    return listed.split()[0]


@contextlib.contextmanager
def files_of(disk: Path, start_bytes: int = START_BYTES) -> Iterator[Path]:
    """The files of a disk, to be changed; on the disk when the block ends."""
    with loop_device(disk, start_bytes) as node, mounted(node, read_only=False) as root:
        yield root
        run("sync", "-f", root)
