"""The network that the other tests here rely on."""

import subprocess

import pytest

from net.lan import Namespace, lan

pytestmark = pytest.mark.root


def hears(sender: Namespace, receiver: Namespace, address: str) -> bool:
    """Whether a TCP connection from one to the other comes about and carries a byte."""
    listen = (
        "import socket; s = socket.create_server(('0.0.0.0', 7000)); s.settimeout(2);"
        "print('ready', flush=True); c = s.accept()[0]; print(c.recv(1), flush=True)"
    )
    send = f"import socket; socket.create_connection(('{address}', 7000), 1).send(b'x')"
    with subprocess.Popen(
        receiver.command("python3", "-c", listen), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        subprocess.run(sender.command("python3", "-c", send), capture_output=True, check=False)
        heard = server.stdout.readline()
    return heard == b"b'x'\n"


def test_machines_reach_each_other_until_a_cable_is_pulled() -> None:
    with lan(3) as (network, addresses):
        first, _, third = network.machines
        assert hears(first, third, addresses[2])
        network.cut(3)
        assert not hears(first, third, addresses[2])
        network.mend(3)
        assert hears(first, third, addresses[2])


def test_nothing_but_the_network_reaches_a_machine() -> None:
    with lan(1) as (network, _):
        links = network.machines[0].run("ip", "-br", "link").splitlines()
        assert sorted(line.split()[0].split("@")[0] for line in links) == ["eth0", "lo"]
