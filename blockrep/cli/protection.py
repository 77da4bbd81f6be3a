"""The verbs that protect and tell how well: backup, status, history, takeover, accept, jobs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from blockrep.cli.asking import ask_agent
from blockrep.cli.document import Document
from blockrep.cli.recovery_file import read_key_file
from blockrep.cli.session import Session
from blockrep.cli.terminal import clean
from blockrep.cli.text_group import backup_lines, history_lines, job_lines, status_lines
from blockrep.errors import BackupIncomplete, NotProtected


def run_backup(session: Session, arguments: Namespace) -> None:
    """`BackupIncomplete` when a holder that was meant has no receipt for the new epoch."""
    answer = ask_agent(
        session,
        arguments,
        "backup",
        device=_place(arguments.device),
        mode=arguments.mode,
        to=arguments.to,
    )
    backup = session.document["backup"] = answer["backup"]
    session.report(backup_lines(backup))
    failed = [holder for holder in backup["holders"] if not holder["committed"]]
    if failed:
        raise BackupIncomplete(_failures(failed), hint=_what_to_do(failed))


def _failures(failed: list[Document]) -> str:
    reasons = "; ".join(_named_reason(holder) for holder in failed)
    return f"the epoch did not reach {len(failed)} of the holders: {reasons}"


def _named_reason(holder: Document) -> str:
    """What a holder said itself begins with its name."""
    name, reason = str(holder["name"]), str(holder["reason"])
    return reason if reason.startswith(name) else f"{name}: {reason}"


def _what_to_do(failed: list[Document]) -> str:
    """What helps at the holders, and then again; running it again alone may never help."""
    hints = dict.fromkeys(str(holder["hint"]) for holder in failed if holder.get("hint"))
    again = BackupIncomplete.default_hint
    return "; ".join(hints) + f"; then {again}" if hints else again


def run_status(session: Session, arguments: Namespace) -> None:
    """`NotProtected` when the agent names a problem."""
    status = ask_agent(session, arguments, "status")["status"]
    session.document["status"] = status
    session.say(status_lines(status, session.terminal))
    if status["problems"]:
        count = len(status["problems"])
        named = status["problems"][0] if count == 1 else f"{count} problems, named above"
        raise NotProtected(f"not everything is protected: {named}")


def run_history(session: Session, arguments: Namespace) -> None:
    history = ask_agent(session, arguments, "history", owner=arguments.owner)["history"]
    session.document["history"] = history
    session.say(history_lines(history))


def run_takeover(session: Session, arguments: Namespace) -> None:
    key = None
    if arguments.recovery_key_file is not None:
        key = read_key_file(arguments.recovery_key_file)
    answer = ask_agent(
        session,
        arguments,
        "takeover",
        owner=arguments.owner,
        device=arguments.device,
        holder=arguments.holder,
        recovery_key=key,
    )
    session.document["takeover"] = answer["takeover"]
    session.report([f"{clean(line)}" for line in answer["takeover"]["lines"]])


def run_accept(session: Session, arguments: Namespace) -> None:
    answer = ask_agent(session, arguments, "accept", owner=arguments.owner, device=arguments.device)
    session.document["accept"] = answer["accept"]
    session.report(
        [f"The next epoch of {clean(arguments.owner)} may be larger than the history here."]
    )


def run_jobs(session: Session, arguments: Namespace) -> None:
    answer = ask_agent(session, arguments, "jobs", cancel=arguments.cancel)
    session.document["jobs"] = answer["jobs"]
    session.say(job_lines(answer["jobs"]))


def _place(path: Path | None) -> str | None:
    """The path for the agent, which works in another folder."""
    return None if path is None else str(path.absolute())
