"""What the requests of an agent work with."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from blockrep.agent.config import Address, AgentConfig
from blockrep.agent.exchange import Exchanger
from blockrep.agent.held_device import HeldDevice
from blockrep.agent.holdings import Holdings
from blockrep.agent.jobs import JobTable
from blockrep.agent.listener import Listener
from blockrep.agent.local_lines import Document
from blockrep.agent.log import Log
from blockrep.agent.own_group import OwnGroup
from blockrep.agent.seat import Seat, Seats
from blockrep.errors import UsageError
from blockrep.group.identity import KEY_BYTES
from blockrep.segment.clock import Clock

DAY_S = 86_400
# An address of RFC 5737, of which nobody answers: nothing is sent to it.
_SOMEWHERE = ("192.0.2.1", 9)


@dataclass(slots=True)
class World:
    """The parts of a running agent."""

    config: AgentConfig
    devices: Sequence[HeldDevice]
    seats: Seats
    jobs: JobTable
    listener: Listener
    exchanger: Exchanger
    clock: Clock
    log: Log

    def free_devices(self) -> list[HeldDevice]:
        """Those that are in no group."""
        return [device for device in self.devices if device.keys is None]

    def find_devices(self, paths: Sequence[str]) -> list[HeldDevice]:
        """Those at these paths; `UsageError` for one that is not the agent's."""
        found = []
        for path in paths:
            device = next((d for d in self.devices if d.is_at(path)), None)
            if device is None:
                raise UsageError(f"{path} is not a disk of this agent")
            found.append(device)
        return found

    def take_seat(self, devices: Sequence[HeldDevice]) -> Seat:
        """Sit down in the group that these disks are in."""
        group = OwnGroup(self.config.state_dir, devices, self.log, self.on_change)
        holdings = Holdings(group, self.config.lock_days * DAY_S, self.clock, self.log)
        seat = Seat(group, holdings, self.log)
        self.seats.add(seat)
        return seat

    def on_change(self, said: bool) -> None:
        """A group has changed; `said`: by this machine. Who is no member any more is cut off."""
        for connection in self.listener.connections():
            if connection.key is not None and not self._is_welcome(
                connection.key, connection.group_id
            ):
                connection.cut()
        if said:
            self.exchanger.wake()

    def _is_welcome(self, key: bytes, group_id: bytes | None) -> bool:
        for seat in self.seats:
            if seat.group.group_id == group_id:
                view = seat.group.view
                return key in view.members or key in view.recovering
        return False

    def addresses(self) -> tuple[str, ...]:
        """What the other members are told: as it is set, or what this machine finds."""
        if self.config.addresses:
            return tuple(str(address) for address in self.config.addresses)
        listen, port = self.config.listen, self.listener.port
        if listen.host not in ("::", "0.0.0.0"):
            return (str(Address(listen.host, port)),)
        own = _own_address()
        return (str(Address(own, port)),) if own else ()

    def refresh(self, seat: Seat) -> None:
        """Tell the group what has changed about this machine."""
        seat.group.refresh(self.config.name, self.addresses())


def text_of(arguments: Document, name: str) -> str:
    """An argument that must be there."""
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise UsageError(f"the request lacks {name!r}")
    return value


def key_of(arguments: Document, name: str) -> bytes:
    """A key of 32 bytes, as hex."""
    try:
        key = bytes.fromhex(text_of(arguments, name))
    except ValueError as error:
        raise UsageError(f"the request's {name!r} is no key") from error
    if len(key) != KEY_BYTES:
        raise UsageError(f"the request's {name!r} is no key")
    return key


def maybe_text(arguments: Document, name: str) -> str | None:
    """An argument that may be missing."""
    return None if arguments.get(name) is None else text_of(arguments, name)


def texts_of(arguments: Document, name: str) -> list[str] | None:
    """A list of texts that may be missing."""
    value = arguments.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"the request's {name!r} is no list of texts")
    return value


def _own_address() -> str:
    """From where this machine would speak to the world; empty where there is no way to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:
            return ""
        return str(probe.getsockname()[0])
