"""How an agent is set up: /etc/blockrep/agent.toml, overridden by flags.

name = "zoe"                       what the others call this machine; its host name
devices = ["/dev/sda"]             the divided disks that take part
listen = "[::]:7317"               where peers reach it
addresses = ["zoe.example:7317"]   what the others are told; found out where it is not given
state_dir = "/var/lib/blockrep"
socket = "/run/blockrep/agent.sock"
stale_hours = 48                   a replica that is older counts as stale
lock_days = 7                      for how long versions that are kept here cannot be removed
"""

from __future__ import annotations

import ipaddress
import socket
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from blockrep.errors import PermissionMissing, UsageError

CONFIG_PATH = Path("/etc/blockrep/agent.toml")
DEFAULT_SOCKET = Path("/run/blockrep/agent.sock")
DEFAULT_STATE_DIR = Path("/var/lib/blockrep")
DEFAULT_PORT = 7317
MAX_CONFIG_BYTES = 64 << 10
MAX_DEVICES = 64
MAX_ADDRESSES = 8
MAX_NAME_BYTES = 64
_MAX_HOURS = 24 * 365
_MAX_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Address:
    """Where a machine listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """`addresses` may be empty: then the agent finds out."""

    name: str = field(default_factory=socket.gethostname)
    devices: tuple[Path, ...] = ()
    listen: Address = Address("::", DEFAULT_PORT)
    addresses: tuple[Address, ...] = ()
    state_dir: Path = DEFAULT_STATE_DIR
    socket: Path = DEFAULT_SOCKET
    stale_hours: int = 48
    lock_days: int = 7


def read_config(path: Path, *, required: bool) -> AgentConfig:
    """The settings of a file; the defaults where there is none and none is required.

    `UsageError` with the name of the key for anything that is not as above.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        if required:
            raise UsageError(f"{path} does not exist") from error
        return AgentConfig()
    except PermissionError as error:
        raise PermissionMissing(f"no permission to read {path}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        return parse_config(data.decode())
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8") from error


def parse_config(text: str) -> AgentConfig:
    """As `read_config`, of a text."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not TOML: {error}") from error
    unknown = sorted(set(values) - {f.name for f in fields(AgentConfig)})
    if unknown:
        raise UsageError(f"there is no setting {unknown[0]!r}")
    return _checked(values)


def override(config: AgentConfig, **flags: Any) -> AgentConfig:
    """`config` with the flags that were given; None is a flag that was not."""
    return replace(config, **{name: value for name, value in flags.items() if value})


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[V6]:PORT`, or a host alone; `UsageError` for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, str(DEFAULT_PORT)
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if ":" in host:
        _check_v6(host, text)
    good_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    if not (good_port and 0 < len(host) <= 253 and host.isascii() and host.isprintable()):
        raise UsageError(f"{text!r} is not an address", hint="write HOST:PORT or [V6]:PORT")
    return Address(host, int(port))


def _check_v6(host: str, text: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not an address", hint="write HOST:PORT or [V6]:PORT"
        ) from error


def check_name(text: str) -> str:
    """A name of a machine as the formats can hold it."""
    if not text.isprintable() or not 0 < len(text.encode()) <= MAX_NAME_BYTES:
        raise UsageError(f"{text!r} is not a name of 1 to {MAX_NAME_BYTES} bytes")
    return text


def _checked(values: dict[str, Any]) -> AgentConfig:
    given: dict[str, Any] = {}
    for key, value in values.items():
        given[key] = _READERS[key](key, value)
    return AgentConfig(**given)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"{key} is not a text")
    return value


def _name(key: str, value: object) -> str:
    return check_name(_text(key, value))


def _path(key: str, value: object) -> Path:
    path = Path(_text(key, value))
    if not path.is_absolute():
        raise UsageError(f"{key}: {path} is not an absolute path")
    return path


def _address(key: str, value: object) -> Address:
    return parse_address(_text(key, value))


def _list(key: str, value: object, most: int) -> list[object]:
    if not isinstance(value, list) or len(value) > most:
        raise UsageError(f"{key} is not a list of at most {most}")
    return value


def _paths(key: str, value: object) -> tuple[Path, ...]:
    return tuple(_path(key, item) for item in _list(key, value, MAX_DEVICES))


def _addresses(key: str, value: object) -> tuple[Address, ...]:
    return tuple(_address(key, item) for item in _list(key, value, MAX_ADDRESSES))


def _number(key: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise UsageError(f"{key} is not a number from 1 to {most}")
    return value


def _hours(key: str, value: object) -> int:
    return _number(key, value, _MAX_HOURS)


def _days(key: str, value: object) -> int:
    return _number(key, value, _MAX_DAYS)


_READERS = {
    "name": _name,
    "devices": _paths,
    "listen": _address,
    "addresses": _addresses,
    "state_dir": _path,
    "socket": _path,
    "stale_hours": _hours,
    "lock_days": _days,
}
