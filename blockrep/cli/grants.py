"""The verbs of `blockrep group` that grant and deny something at this machine."""

from __future__ import annotations

from argparse import Namespace

from blockrep.cli.asking import ask_agent
from blockrep.cli.document import Document
from blockrep.cli.session import Session
from blockrep.cli.text_group import grant_lines
from blockrep.errors import UsageError


def run_grant(session: Session, arguments: Namespace) -> None:
    """`grant` and `withdraw`: for one member."""
    if (arguments.right == "restore") != (arguments.owner is not None):
        raise UsageError(
            "to restore is granted for the replicas of one owner, to remove for all members",
            hint=f"`blockrep group {arguments.action} MEMBER restore OWNER`, "
            f"or `blockrep group {arguments.action} MEMBER remove`",
        )
    answer = ask_agent(
        session,
        arguments,
        f"group-{arguments.action}",
        member=arguments.member,
        right=arguments.right,
        owner=arguments.owner,
    )
    _report(session, answer)


def run_denial(session: Session, arguments: Namespace) -> None:
    """`deny` and `allow`: for the replicas of one owner."""
    verb, acts = f"group-{arguments.action}", arguments.acts
    _report(session, ask_agent(session, arguments, verb, owner=arguments.owner, acts=acts))


def _report(session: Session, answer: Document) -> None:
    session.document["grants"] = answer["grants"]
    lines = grant_lines(answer["grants"])
    session.report(lines or ["Nothing is granted or denied at this machine."])
