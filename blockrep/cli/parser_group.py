"""The grammar of the verbs that work with a group: agent, group, backup, status and others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

_AGENT = """\
Run the agent of this machine: it keeps the segments of its disks for the other members,
answers them, and does what the other commands ask. Usually the service manager runs it.
SIGTERM ends its jobs at a safe point.

examples:
  blockrep agent --device /dev/sda
  blockrep agent --config agent.toml --listen 10.0.0.5:7317
"""

_GROUP = """\
Make a group, bring machines into it, and look at it. Joining takes both sides: a code that
one member made, and the approval at that member after both screens show the same number.

examples:
  blockrep group create family --recovery-key-file key.txt
  blockrep group invite                       on a member: shows a code for 15 minutes
  blockrep group join BJ1-...                 on the new machine
  blockrep group approve                      on the member again
  blockrep group show
"""

_CREATE = """\
Make a group of which this machine is the first member, with the disks of its agent. A
recovery key is made and shown once: with it everything can be restored when the machine is
gone. Without it nothing counts as protected.

examples:
  blockrep group create family
  blockrep group create family --recovery-key-file /media/stick/key.txt
  blockrep group create lab --no-encrypt
"""

_INVITE = """\
Make a code with which one machine can ask to join, once, within 15 minutes.

examples:
  blockrep group invite
"""

_JOIN = """\
Ask to join the group that CODE is from, and wait until somebody there has approved it. Both
screens show the same six digits. Then a recovery key is made, as with create.

examples:
  blockrep group join BJ1-...
  blockrep group join BJ1-... --recovery-key-file key.txt
"""

_APPROVE = """\
Let a machine in that asked with a code from here. Compare the six digits with those on its
screen first.

examples:
  blockrep group approve
  blockrep group approve 5f3a --yes           the key begins with 5f3a; without asking
"""

_REFUSE = """\
Send a machine away that asked with a code from here. The code is used up.

examples:
  blockrep group refuse
  blockrep group refuse 5f3a                  the key begins with 5f3a
"""

_REMOVE = """\
Remove a member: it can write no more epochs here. What it has stored stays readable with
its recovery key. The other members decide for themselves whether they follow. Those whom
the removed one alone had approved stay members; the answer names them.

examples:
  blockrep group remove zoe
"""

_GRANT = """\
Grant a member something at this machine. With restore it may read the replicas of OWNER that
are kept here; what is encrypted takes the owner's recovery key as well. With remove, whom it
removes is removed here too.

examples:
  blockrep group grant nas restore zoe
  blockrep group grant nas remove
"""

_WITHDRAW = """\
Withdraw what was granted at this machine.

examples:
  blockrep group withdraw nas restore zoe
  blockrep group withdraw nas remove
"""

_DENY = """\
Deny something for the replicas of OWNER at this machine, also to OWNER itself: to write them,
to be assigned a segment, to restore them, to take them over.

examples:
  blockrep group deny zoe takeover
  blockrep group deny zoe write assign
"""

_ALLOW = """\
Take back what was denied at this machine.

examples:
  blockrep group allow zoe takeover
"""

_LEAVE = """\
Leave the group. The others keep what they hold until they free it; this machine's segments
keep what is in them.

examples:
  blockrep group leave
"""

_KEY = """\
Make a new recovery key. The old one opens only what was stored before.

examples:
  blockrep group recovery-key --recovery-key-file key.txt
"""

_GROUP_SHOW = """\
Show the members, their devices, who waits for approval, whom others have removed, and what
was granted and denied at this machine.

examples:
  blockrep group show
  blockrep group show --json | jq -r '.group.members[].name'
"""

_BACKUP = """\
Send the first area to the segments of the other members: all used blocks, or only what has
changed since the epoch that a holder has. Succeeds only when every holder has signed a
receipt for the new epoch. The filesystems of the first area must not be mounted.

examples:
  blockrep backup
  blockrep backup /dev/sdb --mode full
  blockrep backup --to zoe --to nas
"""

_STATUS = """\
Show each replica of this machine's disks: its holder, its age, whether it is consistent, how
many days of history there are, and what is not protected; the segments that are kept here for
others; and the jobs. Exits with 101 when something is stale or unprotected.

examples:
  blockrep status
  blockrep status --json | jq '.status.problems'
"""

_HISTORY = """\
List the epochs that can be restored of a member, and who holds them.

examples:
  blockrep history zoe
  blockrep history zoe --json | jq '.history.epochs[0].number'
"""

_TAKEOVER = """\
Let this machine go on as the writer of OWNER's replicas, after its disk was restored here.
The other writer, if it still runs, is refused from then on.

examples:
  blockrep takeover zoe --recovery-key-file key.txt
  blockrep takeover zoe --from 10.0.0.7 --recovery-key-file key.txt     in no group yet
"""

_ACCEPT = """\
Let one epoch of OWNER in that is larger than the history of its segment here. Until it has
arrived whole, this holder has no older version to go back to.

examples:
  blockrep accept zoe
"""

_JOBS = """\
List the jobs of the agent, or cancel one.

examples:
  blockrep jobs
  blockrep jobs --cancel 7
"""

Add = Callable[[str, str, str], argparse.ArgumentParser]


def add_group_verbs(add: Add, nested: Callable[[argparse.ArgumentParser], Add]) -> None:
    """Each verb by `add`; `nested` gives the `add` for the verbs below one."""
    _add_agent(add)
    group = add("group", "make a group, join one, look at it", _GROUP)
    _add_group(nested(group))
    _add_backup(add)
    _add_owner(add, "history", "list the epochs that can be restored", _HISTORY)
    _common(add("status", "what is protected, how old it is, what is not", _STATUS))
    _add_takeover(add)
    accept = _add_owner(add, "accept", "let one oversize epoch in", _ACCEPT)
    _device(accept)
    jobs = add("jobs", "list the jobs of the agent, or cancel one", _JOBS)
    jobs.add_argument("--cancel", type=int, metavar="ID", help="cancel the job with this number")
    _socket(jobs)


def _add_agent(add: Add) -> None:
    verb = add("agent", "run the agent of this machine", _AGENT)
    verb.add_argument(
        "--config", type=Path, metavar="FILE", help="settings (default: /etc/blockrep/agent.toml)"
    )
    verb.add_argument(
        "--device",
        type=Path,
        action="append",
        metavar="FILE",
        help="a divided disk that takes part; may be given several times",
    )
    verb.add_argument("--listen", metavar="HOST:PORT", help="where peers reach it")
    verb.add_argument(
        "--address",
        action="append",
        metavar="HOST:PORT",
        help="what the other members are told instead; may be given several times",
    )
    verb.add_argument("--name", metavar="NAME", help="what the others call this machine")
    verb.add_argument("--state-dir", type=Path, metavar="DIR", help="where it keeps its state")
    _socket(verb)


def _add_group(add: Add) -> None:
    create = add("create", "make a group", _CREATE)
    create.add_argument("name", metavar="NAME", help="the name of the group")
    _joining(create)
    _common(add("invite", "make a code for one machine", _INVITE))
    join = add("join", "ask to join a group", _JOIN)
    join.add_argument("code", metavar="CODE", help="what `blockrep group invite` showed")
    _joining(join)
    approve = add("approve", "let a machine in that asked", _APPROVE)
    approve.add_argument("key", nargs="?", metavar="KEY", help="the beginning of its key")
    approve.add_argument("--yes", action="store_true", help="do not ask whether the digits agree")
    _common(approve)
    refuse = add("refuse", "send a machine away that asked", _REFUSE)
    refuse.add_argument("key", nargs="?", metavar="KEY", help="the beginning of its key")
    _common(refuse)
    remove = add("remove", "remove a member", _REMOVE)
    remove.add_argument("member", metavar="MEMBER", help="its name, or the beginning of its key")
    _common(remove)
    _grant(add("grant", "grant a member something at this machine", _GRANT))
    _grant(add("withdraw", "withdraw a grant", _WITHDRAW))
    _deny(add("deny", "deny something for a member's replicas here", _DENY))
    _deny(add("allow", "take a denial back", _ALLOW))
    _common(add("leave", "leave the group", _LEAVE))
    key = add("recovery-key", "make a new recovery key", _KEY)
    _recovery(key)
    _common(key)
    _common(add("show", "show the members", _GROUP_SHOW))


def _grant(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("member", metavar="MEMBER", help="its name, or the beginning of its key")
    verb.add_argument("right", choices=("restore", "remove"), help="what it may do")
    verb.add_argument("owner", nargs="?", metavar="OWNER", help="whose replicas it may restore")
    _common(verb)


def _deny(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("owner", metavar="OWNER", help="whose replicas: a name, or a key's beginning")
    verb.add_argument(
        "acts", nargs="+", choices=("write", "assign", "restore", "takeover"), help="what"
    )
    _common(verb)


def _add_backup(add: Add) -> None:
    verb = add("backup", "send the first area to the other members", _BACKUP)
    verb.add_argument(
        "device", nargs="?", type=Path, metavar="DEVICE", help="the disk (default: the only one)"
    )
    verb.add_argument(
        "--mode",
        choices=("full", "differential"),
        default="differential",
        help="read and send everything, or only what has changed (default)",
    )
    verb.add_argument(
        "--to",
        action="append",
        metavar="MEMBER",
        help="only to this member; may be given several times",
    )
    _common(verb)


def _add_takeover(add: Add) -> None:
    verb = _add_owner(add, "takeover", "go on as the writer of an owner's replicas", _TAKEOVER)
    verb.add_argument(
        "--recovery-key-file", type=Path, metavar="FILE", help="read the recovery key from FILE"
    )
    verb.add_argument(
        "--from", dest="holder", metavar="HOST:PORT", help="a holder to ask, where in no group"
    )
    _device(verb)


def _add_owner(add: Add, name: str, summary: str, text: str) -> argparse.ArgumentParser:
    verb = add(name, summary, text)
    verb.add_argument("owner", metavar="OWNER", help="a member's name, or the beginning of its key")
    _common(verb)
    return verb


def _recovery(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--recovery-key-file",
        type=Path,
        metavar="FILE",
        help="write the recovery key to FILE instead of showing it",
    )


def _device(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", metavar="NAME", help="which of several devices")


def _common(verb: argparse.ArgumentParser) -> None:
    """What every verb takes that works within a group."""
    verb.add_argument("--group", metavar="NAME", help="which of several groups")
    _socket(verb)


def _joining(verb: argparse.ArgumentParser) -> None:
    """What a machine decides when it becomes a member."""
    verb.add_argument(
        "--device",
        action="append",
        type=Path,
        metavar="FILE",
        help="a disk of the agent that takes part (default: all that are in no group yet)",
    )
    verb.add_argument(
        "--no-encrypt", action="store_true", help="let holders see the content; compresses it"
    )
    _recovery(verb)
    _socket(verb)


def _socket(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--socket",
        type=Path,
        metavar="FILE",
        help="the agent's socket (default: /run/blockrep/agent.sock)",
    )
