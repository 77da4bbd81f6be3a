"""The process that serves a mounted replica: `python -m blockrep.cli.mounter`, never by hand.

It takes one line with what to mount, answers with one line when that is done or has failed, and
stays until the epoch is unmounted.
"""

from __future__ import annotations

import signal
import sys
import syslog
import threading
from contextlib import ExitStack
from pathlib import Path

from blockrep.agent.local_lines import Document, build_line, error_document, parse_line
from blockrep.browse.mount import Mount
from blockrep.browse.view import View
from blockrep.cli.replicas import describe_replica, open_replica
from blockrep.errors import BlockrepError
from blockrep.progress import Silent
from blockrep.transfer.plain import PlainEpoch

LOOK_S = 0.5


def main() -> int:
    """The exit code."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    for ignored in (signal.SIGHUP, signal.SIGINT):  # it outlives the terminal it was started from
        signal.signal(ignored, signal.SIG_IGN)
    request = parse_line(sys.stdin.buffer.readline())
    with ExitStack() as stack:
        try:
            mount, answer = _mount(request, stack)
        except BlockrepError as error:
            _say({"error": error_document(error)})
            return error.exit_code
        _say(answer)
        while mount.is_alive and not stopped.wait(LOOK_S):
            pass
    return 0


def _mount(request: Document, stack: ExitStack) -> tuple[Mount, Document]:
    directory = Path(request["directory"])
    opened = open_replica(Path(request["place"]), request["wanted"], Silent())
    replica = stack.enter_context(opened)
    view = View(PlainEpoch(replica.sources, replica.data_key))
    mount = Mount(view, directory, partition=request["partition"], report=_report)
    stack.enter_context(mount)
    return mount, {"directory": str(directory), "replica": describe_replica(replica)}


def _report(why: str) -> None:
    """There is no terminal any more."""
    syslog.syslog(syslog.LOG_ERR, f"blockrep: a mounted epoch was taken down: {why}")


def _say(answer: Document) -> None:
    sys.stdout.buffer.write(build_line(answer))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
