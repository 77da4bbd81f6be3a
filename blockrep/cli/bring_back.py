"""The verbs that bring something back: restore, mount, unmount, extract."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from blockrep.cli.asking import DEFAULT_SOCKET
from blockrep.cli.document import Document, to_plain
from blockrep.cli.recovery_file import read_key_file
from blockrep.cli.session import Session
from blockrep.cli.terminal import clean
from blockrep.cli.text_restore import (
    damage_lines,
    replica_lines,
    restore_lines,
    restored_lines,
)
from blockrep.errors import ReplicaDamaged, UsageError


def run_restore(session: Session, arguments: Namespace) -> None:
    """Plan, show, ask, write. Up to the writing nothing on the disk is changed."""
    if not arguments.dry_run:
        session.require_answerable(arguments.yes)
    with _opened(session, arguments) as replica:
        options = {"overwrite": arguments.overwrite, "verify": arguments.verify,
                   "accept_damage": arguments.accept_damage}  # fmt: skip
        with session.engine.restoring(replica, arguments.to, options) as restore:
            session.document["plan"] = to_plain(restore.summary)
            lines = [*replica_lines(session.document["replica"]), "", *restore_lines(restore)]
            if arguments.dry_run:
                session.say([*lines, "", "Nothing was changed: this was a dry run."])
                return
            _show_and_ask(session, arguments, lines)
            session.stopper.raise_if_asked()
            with session.progress() as progress:
                outcome = restore.run(progress)
    session.document["outcome"] = to_plain(outcome)
    session.report(["", *restored_lines(outcome)])
    if outcome.damaged:
        session.complain("\n".join(damage_lines(outcome)))
        raise ReplicaDamaged("the disk was restored, but not all of it could be had")


def _show_and_ask(session: Session, arguments: Namespace, lines: list[str]) -> None:
    if arguments.yes:
        session.say(lines)
        return
    session.say_before_asking([*lines, ""])
    session.confirm(f"Overwrite {clean(str(arguments.to))}?")


def run_mount(session: Session, arguments: Namespace) -> None:
    """Return when the epoch is mounted; a process of its own keeps it so."""
    request: Document = {
        "place": str(arguments.socket or DEFAULT_SOCKET),
        "wanted": _wanted(session, arguments),
        "directory": str(arguments.directory.absolute()),
        "partition": arguments.partition,
    }
    with session.progress() as progress:
        mounted = session.engine.mount_replica(request, progress)
    session.document["mount"] = mounted
    session.report([
        *replica_lines(mounted["replica"]),
        f"It is mounted at {clean(mounted['directory'])}, read-only. "
        f"`blockrep unmount {clean(str(arguments.directory))}` ends that.",
    ])  # fmt: skip


def run_unmount(session: Session, arguments: Namespace) -> None:
    session.engine.unmount(arguments.directory)
    session.document["unmount"] = {"directory": str(arguments.directory)}
    session.report([f"{clean(str(arguments.directory))} is unmounted."])


def run_extract(session: Session, arguments: Namespace) -> None:
    with _opened(session, arguments) as replica, session.progress() as progress:
        goals = session.engine.extract_files(
            replica, arguments.path, arguments.into, arguments.partition, progress
        )
    session.document["extract"] = {"files": [str(goal) for goal in goals]}
    session.report([clean(str(goal)) for goal in goals])


@contextmanager
def _opened(session: Session, arguments: Namespace) -> Iterator[Any]:
    """The replica that is meant; what it is goes into the document."""
    place = arguments.socket or DEFAULT_SOCKET
    with session.progress() as progress:
        opened = session.engine.open_replica(place, _wanted(session, arguments), progress)
    with opened as replica:
        session.document["replica"] = session.engine.describe_replica(replica)
        yield replica


def _wanted(session: Session, arguments: Namespace) -> Document:
    return {
        "owner": arguments.owner,
        "device": arguments.device,
        "holder": arguments.holder,
        "epoch": arguments.epoch,
        "group": arguments.group,
        "recovery_key": _recovery_key(session, arguments),
    }


def _recovery_key(session: Session, arguments: Namespace) -> str | None:
    """From the file, or typed unseen; None where neither was asked for."""
    if arguments.recovery_key_file is not None:
        return read_key_file(arguments.recovery_key_file)
    if not arguments.recovery_key:
        return None
    if session.stdin is None or not session.stdin.isatty():
        raise UsageError(
            "there is no terminal to type the recovery key on",
            hint="name a file with --recovery-key-file",
        )
    typed = session.ask_secret("Recovery key: ")
    if not typed:
        raise UsageError("no recovery key was typed")
    return typed
