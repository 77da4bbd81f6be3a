"""What a command does to ask the agent of this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from blockrep.agent.local_lines import (
    MAX_ANSWER_BYTES,
    Document,
    LineReader,
    build_line,
    error_of,
    parse_line,
)
from blockrep.errors import AgentUnreachable, PermissionMissing, Stopped
from blockrep.progress import Progress

ANSWER_WITHIN_S = 60.0
_LISTEN_S = 0.2


class LocalClient:
    """A connection for one request; a context manager."""

    def __init__(self, path: Path) -> None:
        """`AgentUnreachable` where no agent answers."""
        self._path = path
        self._reader = LineReader(MAX_ANSWER_BYTES)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(ANSWER_WITHIN_S)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            if isinstance(error, PermissionError):
                raise PermissionMissing(f"no permission to ask the agent at {path}") from error
            reason = error.strerror or str(error)
            raise AgentUnreachable(f"no agent answers at {path}: {reason}") from error

    def __enter__(self) -> LocalClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def ask(self, verb: str, arguments: Document, progress: Progress) -> Document:
        """The agent's answer; raises the error that it answered with.

        A wish to stop (`progress.check`) cancels the job, and the answer is waited for.
        """
        self._send({"verb": verb, "arguments": arguments})
        follower = _Follower(progress)
        for line in self._lines(follower):
            document = parse_line(line)
            if "error" in document:
                raise error_of(document["error"])
            if "result" in document:
                result = document["result"]
                return result if isinstance(result, dict) else {}
            follower.hear(document)
        raise AgentUnreachable(f"the agent at {self._path} went away before it answered")

    def detach(self) -> socket.socket:
        """The connection itself, after an answer that has opened a tunnel; it is the caller's."""
        self._socket.settimeout(None)
        return self._socket.dup()

    def _lines(self, follower: _Follower) -> Iterator[bytes]:
        self._socket.settimeout(_LISTEN_S)
        while True:
            if follower.wants_cancel():
                self._send({"cancel": True})
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise AgentUnreachable(f"the agent at {self._path} went away") from error
            if not data:
                return
            yield from self._reader.feed(data)

    def _send(self, document: Document) -> None:
        try:
            self._socket.sendall(build_line(document))
        except OSError as error:
            raise AgentUnreachable(f"the agent at {self._path} went away") from error


class _Follower:
    """Shows the progress of a job elsewhere as that of our own work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase: str | None = None
        self._total = self._done = 0
        self._job = False
        self._cancelled = False

    def hear(self, document: Document) -> None:
        if "job" in document:
            self._job = True
        if "phase" not in document:
            return
        phase = str(document["phase"])
        done, total = int(document["done_bytes"]), int(document["total_bytes"])
        if (phase, total) != (self._phase, self._total) or done < self._done:
            self._phase, self._total, self._done = phase, total, 0
            self._progress.phase(phase, total)
        self._progress.advance(done - self._done)
        self._done = done

    def wants_cancel(self) -> bool:
        """Whether the user has just asked to stop; `Stopped` where there is no job to cancel."""
        if self._cancelled:
            return False
        try:
            self._progress.check()
        except Stopped:
            if not self._job:
                raise
            self._cancelled = True
            return True
        return False
