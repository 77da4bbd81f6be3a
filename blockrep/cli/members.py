"""The verbs of `blockrep group`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from blockrep.cli.asking import ask_agent, ask_with
from blockrep.cli.document import Document
from blockrep.cli.grants import run_denial, run_grant
from blockrep.cli.recovery_file import check_key_place, write_key_file
from blockrep.cli.session import Session
from blockrep.cli.terminal import clean
from blockrep.cli.text_group import group_lines, removed_lines, waiting_lines
from blockrep.errors import UsageError


def run_group(session: Session, arguments: Namespace) -> None:
    """The action of `blockrep group` that was given."""
    session.document["action"] = arguments.action
    _ACTIONS[arguments.action](session, arguments)


def _create(session: Session, arguments: Namespace) -> None:
    check_key_place(arguments.recovery_key_file)
    answer = ask_agent(
        session, arguments, "group-create", name=arguments.name, **_joining(arguments)
    )
    group = answer["group"]["name"]
    _make_recovery_key(session, arguments, group)
    _report_group(session, ask_agent(session, arguments, "group-show", group=group))


def _join(session: Session, arguments: Namespace) -> None:
    check_key_place(arguments.recovery_key_file)
    answer = ask_with(
        session,
        arguments,
        "group-join",
        _Aloud(session),
        code=arguments.code,
        **_joining(arguments),
    )
    group = answer["group"]["name"]
    # A member that had only lost what it knew of the group has its recovery key already.
    if not answer.get("came_back"):
        _make_recovery_key(session, arguments, group)
    _report_group(session, ask_agent(session, arguments, "group-show", group=group))


def _joining(arguments: Namespace) -> dict[str, Any]:
    devices = [str(path.absolute()) for path in arguments.device] if arguments.device else None
    return {"devices": devices, "encrypt": not arguments.no_encrypt}


def _invite(session: Session, arguments: Namespace) -> None:
    answer = ask_agent(session, arguments, "group-invite")
    session.document["invitation"] = answer["invitation"]
    invitation = answer["invitation"]
    session.say(
        [
            "On the machine that is to join:",
            "",
            f"  blockrep group join {clean(invitation['code'])}",
            "",
            f"It serves one machine, once, for {invitation['minutes']} minutes. Then, here:",
            "",
            "  blockrep group approve",
        ]
    )


def _approve(session: Session, arguments: Namespace) -> None:
    waiting = ask_agent(session, arguments, "group-show")["group"]["waiting"]
    chosen = _choose(waiting, arguments.key)
    if not arguments.yes:
        session.require_answerable(False)
        session.say_before_asking(waiting_lines([chosen]))
        session.confirm(f"Does {clean(chosen['name'])} show {clean(chosen['short_code'])} too?")
    answer = ask_agent(
        session,
        arguments,
        "group-approve",
        key=chosen["key"],
        short_code=chosen["short_code"],
    )
    session.document["group"] = answer["group"]
    session.report([f"{clean(chosen['name'])} is a member now."])


def _refuse(session: Session, arguments: Namespace) -> None:
    waiting = ask_agent(session, arguments, "group-show")["group"]["waiting"]
    chosen = _choose(waiting, arguments.key)
    answer = ask_agent(session, arguments, "group-refuse", key=chosen["key"])
    session.document["group"] = answer["group"]
    session.report([f"{clean(chosen['name'])} was refused. To ask again it needs a new code."])


def _choose(waiting: list[Document], key: str | None) -> Document:
    found = [one for one in waiting if key is None or one["key"].startswith(key.lower())]
    if not found:
        asked = "" if key is None else f" with a key that begins with {key}"
        raise UsageError(
            f"nobody{asked} waits for approval",
            hint="the code from `blockrep group invite` has to be used first",
        )
    if len(found) > 1:
        names = ", ".join(f"{one['name']} ({one['key'][:8]})" for one in found)
        raise UsageError(f"several wait: {names}", hint="give the beginning of the key of one")
    return found[0]


def _remove(session: Session, arguments: Namespace) -> None:
    answer = ask_agent(session, arguments, "group-remove", member=arguments.member)
    session.document["group"] = answer["group"]
    session.document["removed"] = answer["removed"]
    session.report([*removed_lines(answer["removed"]), "", *group_lines(answer["group"])])


def _leave(session: Session, arguments: Namespace) -> None:
    ask_agent(session, arguments, "group-leave")
    session.report(["This machine has left the group. What the others hold of it stays there."])


def _show(session: Session, arguments: Namespace) -> None:
    _report_group(session, ask_agent(session, arguments, "group-show"))


def _report_group(session: Session, answer: Document) -> None:
    session.document["group"] = answer["group"]
    session.say(group_lines(answer["group"]))


def _make_recovery_key(session: Session, arguments: Namespace, group: str | None = None) -> None:
    """Show a new key, or put it into a file, and only then have the agent use it.

    `group` is the one that was just made or joined: the machine may be in others.
    """
    key = session.engine.new_recovery_key()
    if arguments.recovery_key_file is not None:
        write_key_file(arguments.recovery_key_file, key)
        session.document["recovery_key_file"] = str(arguments.recovery_key_file)
    else:
        session.document["recovery_key"] = key
        session.say(_key_lines(key))
    ask_agent(session, arguments, "group-recovery", key=key, group=group)


def _key_lines(key: str) -> list[str]:
    return [
        "",
        "The recovery key, shown this once. Write it on paper, and keep the paper elsewhere:",
        "",
        f"  {key}",
        "",
        "Who has it can restore this machine, and read all that it stores. Without it nobody",
        "can, when this machine's disk is gone.",
    ]


class _Aloud:
    """Progress that is a message to somebody: each phase at once, as a line."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def phase(self, name: str, total_bytes: int = 0) -> None:
        self._session.complain(f"blockrep: {clean(name)}")

    def advance(self, done_bytes: int) -> None:
        pass

    def check(self) -> None:
        self._session.stopper.raise_if_asked()


_ACTIONS: dict[str, Callable[[Session, Namespace], None]] = {
    "create": _create,
    "invite": _invite,
    "join": _join,
    "approve": _approve,
    "refuse": _refuse,
    "remove": _remove,
    "grant": run_grant,
    "withdraw": run_grant,
    "deny": run_denial,
    "allow": run_denial,
    "leave": _leave,
    "recovery-key": _make_recovery_key,
    "show": _show,
}
