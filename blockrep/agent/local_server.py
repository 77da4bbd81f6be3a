"""The local socket: where the command line asks the agent. Only its own user may open it."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import stat
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blockrep.agent.jobs import Job
from blockrep.agent.local_lines import (
    MAX_REQUEST_BYTES,
    Document,
    LineReader,
    build_line,
    error_document,
    parse_line,
    request_of,
)
from blockrep.agent.log import Log
from blockrep.errors import BlockrepError, DeviceBusy, InternalError, PermissionMissing, UsageError

MAX_LOCAL_CONNECTIONS = 32
REQUEST_WITHIN_S = 10.0
SEND_WITHIN_S = 10.0
PROGRESS_EVERY_S = 0.2
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An answer after which the connection speaks another protocol: `serve` has it to its end."""

    answer: Document
    serve: Callable[[socket.socket], None]


Answer = Document | Job | Tunnel
Handler = Callable[[str, Document], Answer]


class LocalServer:
    """Accepts on a UNIX socket; each connection has a thread and one request.

    `handle` gets the verb and its arguments and gives the answer, a job whose progress is
    streamed, or a tunnel. A client that goes away leaves its job running.
    """

    def __init__(self, path: Path, handle: Handler, log: Log) -> None:
        self._path = path
        self._handle = handle
        self._log = log
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._socket = _bind(path)
        self._thread = threading.Thread(target=self._accept, name="local", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Accept no more, end what waits, remove the socket."""
        self._over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout_s)
        self._socket.close()
        self._path.unlink(missing_ok=True)
        with self._lock:
            open_now = dict(self._open)
        for client in open_now.values():
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in open_now:
            thread.join(timeout_s)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._socket.accept()
            except OSError:
                if self._over.is_set():
                    return
                self._over.wait(0.1)  # no descriptors left: others will be closed
                continue
            self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        with self._lock:
            if len(self._open) >= MAX_LOCAL_CONNECTIONS:
                client.close()
                return
            thread = threading.Thread(
                target=self._serve, args=(client,), name="local client", daemon=True
            )
            self._open[thread] = client
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            # The mode of the socket says who may come; this says it again where it was changed.
            if _user_of(client) in (0, os.geteuid()):
                _Conversation(client, self._handle, self._over).run()
        except OSError:
            pass  # the client went away
        except Exception as error:
            self._log.error(f"a local request failed: {type(error).__name__}: {error}")
        finally:
            with self._lock:
                del self._open[threading.current_thread()]
            client.close()


class _Conversation:
    """One request and its answer."""

    def __init__(self, client: socket.socket, handle: Handler, over: threading.Event) -> None:
        self._client = client
        self._handle = handle
        self._over = over
        self._reader = LineReader(MAX_REQUEST_BYTES)
        client.settimeout(REQUEST_WITHIN_S)

    def run(self) -> None:
        try:
            line = self._first_line()
            if line is None:
                return
            answer = self._handle(*request_of(parse_line(line)))
            if isinstance(answer, Job):
                answer = self._follow(answer)
            if isinstance(answer, Tunnel):
                self._send({"result": answer.answer})
                answer.serve(self._client)
            else:
                self._send({"result": answer})
        except BlockrepError as error:
            self._send({"error": error_document(error)})
        except (OSError, MemoryError):
            raise
        except Exception as error:
            failure = InternalError(f"unexpected {type(error).__name__}: {error}")
            self._send({"error": error_document(failure)})
            raise

    def _first_line(self) -> bytes | None:
        while True:
            data = self._client.recv(65536)
            if not data:
                return None
            lines = self._reader.feed(data)
            if lines:
                return lines[0]

    def _follow(self, job: Job) -> Document:
        self._send({"job": job.id})
        with selectors.DefaultSelector() as selector:
            selector.register(self._client, selectors.EVENT_READ)
            shown: tuple[str, int, int] | None = None
            while not job.ended.wait(PROGRESS_EVERY_S):
                if selector.select(0):
                    self._hear(job)
                view = job.view()
                position = (view.phase, view.done_bytes, view.total_bytes)
                if position != shown:
                    shown = position
                    self._send(dict(zip(_POSITION, position, strict=True)))
        return job.result()

    def _hear(self, job: Job) -> None:
        data = self._client.recv(65536)
        if not data:
            raise OSError("the client went away")
        for line in self._reader.feed(data):
            if parse_line(line).get("cancel") is True:
                job.cancelled.set()

    def _send(self, document: Document) -> None:
        self._client.settimeout(SEND_WITHIN_S)
        self._client.sendall(build_line(document))


_POSITION = ("phase", "done_bytes", "total_bytes")


def _bind(path: Path) -> socket.socket:
    """Listen at `path` with mode 0600. `DeviceBusy` where another agent answers there."""
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Nobody may connect between bind and chmod, hence the mask.
        before = os.umask(0o177)
        try:
            listening.bind(os.fspath(path))
        finally:
            os.umask(before)
        listening.listen(MAX_LOCAL_CONNECTIONS)
    except OSError as error:
        listening.close()
        if isinstance(error, PermissionError):
            raise PermissionMissing(f"no permission to make the socket {path}") from error
        raise UsageError(f"cannot make the socket {path}: {error.strerror or error}") from error
    return listening


def _remove_stale(path: Path) -> None:
    """A socket that nobody answers was left by an agent that was killed."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"{path} is in the place of the agent's socket")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot use {path}: {error.strerror}") from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
        except OSError as error:
            raise DeviceBusy(f"cannot tell whether an agent is at {path}: {error}") from error
    raise DeviceBusy(f"another agent is at {path}", hint="stop it first")


def _user_of(client: socket.socket) -> int:
    data = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(data)[1])
