"""Asking the agent of this machine, with its progress shown as ours."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from blockrep.cli.document import Document
from blockrep.cli.session import Session
from blockrep.progress import Progress

DEFAULT_SOCKET = Path("/run/blockrep/agent.sock")


def ask_agent(session: Session, arguments: Namespace, verb: str, **values: Any) -> Document:
    """The agent's answer, its progress on standard error; errors as the agent raised them.

    What is None is left out.
    """
    with session.progress() as progress:
        return ask_with(session, arguments, verb, progress, **values)


def ask_with(
    session: Session, arguments: Namespace, verb: str, progress: Progress, **values: Any
) -> Document:
    """As `ask_agent`, with somebody else to hear of the progress."""
    given = {name: value for name, value in values.items() if value is not None}
    group = getattr(arguments, "group", None)
    if group is not None:
        given["group"] = group
    place = arguments.socket or DEFAULT_SOCKET
    return session.engine.ask_agent(place, verb, given, progress)
