"""What the service manager is told: sd_notify(3), a datagram to the socket it named."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Says nothing where no service manager listens, and never fails."""

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        """`watchdog_s`: the manager expects a sign of life at least so often; None: never."""
        self._address = address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Notifier:
        return cls(variables.get("NOTIFY_SOCKET", ""), _watchdog(variables))

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        # An address with @ lies in the abstract namespace.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.settimeout(1)
            channel.sendto(text.encode(), address)


def _watchdog(variables: Mapping[str, str]) -> float | None:
    text, pid = variables.get("WATCHDOG_USEC", ""), variables.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit()) or pid not in ("", str(os.getpid())):
        return None
    return int(text[:18]) / 1e6 or None
