"""From flags to a running agent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TextIO

from blockrep.agent.config import (
    CONFIG_PATH,
    MAX_DEVICES,
    AgentConfig,
    check_name,
    override,
    parse_address,
    read_config,
)
from blockrep.agent.log import Log
from blockrep.agent.notify import Notifier
from blockrep.agent.service import Agent, Stop
from blockrep.errors import UsageError


def run_agent(flags: Mapping[str, Any], *, log: TextIO, stop: Stop) -> None:
    """Run an agent until `stop` is asked. Errors are those of its settings and of opening."""
    config = config_of(flags)
    notifier = Notifier.from_environment(os.environ)
    with Agent(config, Log(log, prefixed=not log.isatty()), notifier) as agent:
        agent.run(stop)


def config_of(flags: Mapping[str, Any]) -> AgentConfig:
    """The file's settings, overridden by the flags that were given."""
    path = flags["config"]
    config = read_config(path or CONFIG_PATH, required=path is not None)
    name, listen = flags["name"], flags["listen"]
    config = override(
        config,
        name=check_name(name) if name is not None else None,
        devices=tuple(device.absolute() for device in flags["devices"]),
        listen=parse_address(listen) if listen is not None else None,
        addresses=tuple(parse_address(text) for text in flags["addresses"]),
        state_dir=_absolute(flags["state_dir"]),
        socket=_absolute(flags["socket"]),
    )
    if not 0 < len(config.devices) <= MAX_DEVICES:
        raise UsageError(
            f"an agent has 1 to {MAX_DEVICES} devices, not {len(config.devices)}",
            hint="name the divided disks with --device, or in the settings",
        )
    return config


def _absolute(path: Any) -> Any:
    return None if path is None else path.absolute()
