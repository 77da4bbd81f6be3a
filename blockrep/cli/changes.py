"""The verbs that change a disk: divide, undivide, recover."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from blockrep.cli.document import to_plain
from blockrep.cli.engine import Plan
from blockrep.cli.session import Session
from blockrep.cli.terminal import clean
from blockrep.cli.text import outcome_lines, plan_lines
from blockrep.disk.device import Device
from blockrep.divide.summary import DivideRequest, Join, Outcome, UndivideRequest
from blockrep.errors import UsageError
from blockrep.progress import Progress

Planner = Callable[[Device, Progress], Plan]


def run_divide(session: Session, arguments: Namespace) -> None:
    def plan(device: Device, progress: Progress) -> Plan:
        request = _request(arguments, device.size_bytes)
        return session.engine.plan_divide(device, request, progress)

    _plan_and_commit(session, arguments, plan, "Divide")


def run_undivide(session: Session, arguments: Namespace) -> None:
    def plan(device: Device, progress: Progress) -> Plan:
        request = UndivideRequest(arguments.shadow_dir, arguments.journal)
        return session.engine.plan_undivide(device, request, progress)

    _plan_and_commit(session, arguments, plan, "Undivide")


def run_recover(session: Session, arguments: Namespace) -> None:
    """A disk that needs nothing is only looked at: it may be in use."""
    with session.engine.open_device(arguments.disk, writable=False) as device:
        writable = session.engine.can_recover(device)
    with session.engine.open_device(arguments.disk, writable=writable) as device:
        session.committing = writable
        with session.progress() as progress:
            outcome = session.engine.recover_disk(
                device, progress, back=arguments.back, journal=arguments.journal
            )
    _report(session, outcome)


def _request(arguments: Namespace, disk_bytes: int) -> DivideRequest:
    join = Join.JOIN
    if arguments.defrag:
        join = Join.DEFRAG
    elif arguments.no_join:
        join = Join.NO_JOIN
    return DivideRequest(
        first_bytes=arguments.first.resolve(disk_bytes),
        peers=arguments.peers,
        history_share=arguments.history,
        fsck=arguments.fsck,
        join=join,
        shadow_dir=arguments.shadow_dir,
        journal=arguments.journal,
    )


def _plan_and_commit(session: Session, arguments: Namespace, planner: Planner, verb: str) -> None:
    """Plan, show, ask, commit. Up to the commit nothing on the disk is changed."""
    dry_run, yes = arguments.dry_run, arguments.yes
    if dry_run and getattr(arguments, "fsck", False):
        raise UsageError("--fsck repairs the filesystem, and --dry-run changes nothing")
    if not dry_run:
        session.require_answerable(yes)
    with session.engine.open_device(arguments.disk, writable=not dry_run) as device:
        with session.progress() as progress:
            plan = planner(device, progress)
        _show_plan(session, plan, verb, asking=not (dry_run or yes))
        if dry_run:
            session.say(["", "Nothing was changed: this was a dry run."])
            return
        if not yes:
            session.confirm(f"{verb} {clean(str(arguments.disk))}?")
        outcome = _commit(session, device, plan)
    _report(session, outcome)


def _show_plan(session: Session, plan: Plan, verb: str, *, asking: bool) -> None:
    session.document["plan"] = to_plain(plan.summary)
    lines = plan_lines(plan.summary, session.terminal, undivide=verb == "Undivide")
    if asking:
        session.say_before_asking([*lines, ""])
    else:
        session.say(lines)


def _commit(session: Session, device: Device, plan: Any) -> Outcome:
    session.stopper.raise_if_asked()
    session.committing = True
    with session.progress() as progress:
        return session.engine.commit_plan(device, plan, progress)


def _report(session: Session, outcome: Outcome) -> None:
    session.document["outcome"] = to_plain(outcome)
    lines = outcome_lines(outcome)
    if session.stopper.asked:
        lines.append("  It was asked to stop when the change had begun, and has finished it.")
    session.report(["", *lines] if "plan" in session.document else lines)
