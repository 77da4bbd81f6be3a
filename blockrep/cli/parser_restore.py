"""The grammar of the verbs that bring something back: restore, mount, unmount, extract."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

_RESTORE = """\
Write an epoch of OWNER onto a bare disk or into an image file. The plan is shown first.
Partitions keep their IDs and sizes; what lay behind the divider is left out. The disk may be
smaller than the owner's if the first area fits. Interrupted, it has no partition table, and
the same command again completes it.

examples:
  blockrep restore zoe --to /dev/sdb
  blockrep restore zoe --epoch 41 --to zoe.img             into a file that exists
  blockrep restore zoe --from 10.0.0.7:7317 --recovery-key --to /dev/sdb    without a group
"""

_MOUNT = """\
Show the files of an epoch of OWNER in DIR, read-only and in user space. The programs that do
it run as the user whom DIR belongs to, who alone sees the files.

examples:
  blockrep mount zoe ~/zoe
  blockrep mount zoe ~/zoe --epoch 41 --partition 2
"""

_UNMOUNT = """\
End what `blockrep mount` began.

examples:
  blockrep unmount ~/zoe
"""

_EXTRACT = """\
Copy files and folders out of an epoch of OWNER into DIR, with types, modes, times, extended
attributes and hard links, as far as you may.

examples:
  blockrep extract zoe etc/fstab home/zoe --into ~/found
  blockrep extract zoe / --epoch 41 --into /srv/zoe
"""

Add = Callable[[str, str, str], argparse.ArgumentParser]


def add_restore_verbs(add: Add) -> None:
    _add_restore(add)
    mount = add("mount", "show the files of an epoch in a directory", _MOUNT)
    _owner(mount)
    mount.add_argument("directory", type=Path, metavar="DIR", help="an empty directory")
    _partition(mount)
    _replica(mount)
    unmount = add("unmount", "end a mount", _UNMOUNT)
    unmount.add_argument("directory", type=Path, metavar="DIR", help="where it is mounted")
    _add_extract(add)


def _add_restore(add: Add) -> None:
    verb = add("restore", "write an epoch onto a bare disk", _RESTORE)
    _owner(verb)
    verb.add_argument(
        "--to", type=Path, required=True, metavar="DISK", help="the disk or image to write"
    )
    verb.add_argument(
        "--overwrite",
        type=Path,
        metavar="DISK",
        help="the same disk again: needed when it holds segments",
    )
    verb.add_argument("--verify", action="store_true", help="read the disk back afterwards")
    verb.add_argument(
        "--accept-damage",
        action="store_true",
        help="restore even if no holder has all of it; what is missing becomes zeros",
    )
    verb.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    verb.add_argument("--yes", action="store_true", help="do not ask")
    _replica(verb)


def _add_extract(add: Add) -> None:
    verb = add("extract", "copy files out of an epoch", _EXTRACT)
    _owner(verb)
    verb.add_argument("path", nargs="+", metavar="PATH", help="in the epoch, from its root")
    verb.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="the directory to copy into"
    )
    _partition(verb)
    _replica(verb)


def _owner(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("owner", metavar="OWNER", help="a member's name, or the beginning of its key")


def _partition(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--partition", type=int, metavar="N", help="which partition, if several have a filesystem"
    )


def _replica(verb: argparse.ArgumentParser) -> None:
    """Which epoch, from whom, and with which key."""
    verb.add_argument("--epoch", metavar="K", help="its number or id (default: the newest)")
    verb.add_argument("--device", metavar="NAME", help="which of several devices of the owner")
    verb.add_argument(
        "--from",
        dest="holder",
        metavar="MEMBER",
        help="only from this holder; HOST:PORT on a machine that is in no group",
    )
    key = verb.add_mutually_exclusive_group()
    key.add_argument("--recovery-key", action="store_true", help="ask for the owner's recovery key")
    key.add_argument(
        "--recovery-key-file", type=Path, metavar="FILE", help="read the recovery key from FILE"
    )
    verb.add_argument("--group", metavar="NAME", help="which of several groups")
    verb.add_argument(
        "--socket",
        type=Path,
        metavar="FILE",
        help="the agent's socket (default: /run/blockrep/agent.sock)",
    )
