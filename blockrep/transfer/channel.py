"""One connection: frames in both directions at once, by one thread that never blocks on either.

An `ssl` object must not be used by two threads at the same time. So one thread, the channel's, does
all reading and writing (`step` and what calls it); other threads may `post`, which queues and wakes
it. Each side says ALIVE when it has nothing else to say.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from blockrep.closing import Closing
from blockrep.errors import BlockrepError, PeerRefused, PeerUnreachable
from blockrep.transfer.frames import Frame, Kind, build_header
from blockrep.transfer.refusals import build_error, error_of, parse_error, refusal_of
from blockrep.transfer.wire import SMALL_BODY_BYTES, Conversation, FrameReader, Phase

ALIVE_S: Final = 15.0
SILENCE_S: Final = 60.0
LINGER_S: Final = 2.0
# Between looks at the other direction: a peer that sends without end does not keep us from sending.
CALLS_PER_TURN = 128
MAX_WAITING_FRAMES = 2
# Small pieces go into one TLS record with what follows them.
JOIN_BYTES = 16 << 10

Part = bytes | bytearray | memoryview


class Channel(Closing):
    """A connected socket, TLS or not, as a stream of frames.

    `PeerUnreachable` when the connection ends or is silent too long, `ProtocolError` for what the
    peer may not say, and what the peer's ERROR stands for. After any error only `close` is left.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        serving: bool,
        name: str = "the peer",
        alive_s: float = ALIVE_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        sock.setblocking(False)
        self.name = name
        self.talk = Conversation(serving=serving)
        self.received_bytes = 0
        self.sent_bytes = 0
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._alive_s = alive_s
        self._silence_s = silence_s
        self._reader = FrameReader(self.talk.received)
        self._inbox: deque[Frame] = deque()
        self._outbox: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._room = threading.Condition()
        self._failed = False
        self._released = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._wake_fd, select.POLLIN)
        self._poll.register(sock, select.POLLIN)
        self._broken: PeerUnreachable | PeerRefused | None = None
        self._interruption: BlockrepError | None = None
        self._heard_at = self._spoke_at = time.monotonic()

    def close(self) -> None:
        """Let go of the socket, whatever is still queued; safe to call twice."""
        with self._room:
            self._failed = True
            self._outbox.clear()
            self._room.notify_all()
            if self._wake_fd >= 0:
                os.close(self._wake_fd)
                self._wake_fd = -1
        self._sock.close()

    # ---- for any thread

    @property
    def queued_bytes(self) -> int:
        """What was posted and is not yet with the kernel."""
        return self._queued_bytes

    def post(self, kind: Kind, *parts: Part) -> None:
        """Queue a frame; the body is `parts`, which must not change until they are sent."""
        views = [memoryview(part) for part in parts if len(part)]
        header = build_header(kind, sum(len(view) for view in views))
        with self._room:
            if self._failed or self.talk.phase is Phase.ENDED:
                raise PeerUnreachable(f"the connection to {self.name} is over")
            # The order of the conversation is the order of the queue.
            self.talk.sent(kind)
            self._queue(header, views)
            self._notify()

    def _queue(self, header: bytes, views: list[memoryview]) -> None:
        if views and len(header) + len(views[0]) <= JOIN_BYTES:
            header += views.pop(0)
        if self._outbox and len(self._outbox[-1]) + len(header) <= JOIN_BYTES:
            before = self._outbox.pop()
            self._queued_bytes -= len(before)
            header = bytes(before) + header
        for view in (memoryview(header), *views):
            self._outbox.append(view)
            self._queued_bytes += len(view)

    def wait_for_room(self, most_bytes: int) -> None:
        """Until less than `most_bytes` are queued; not for the channel's own thread."""
        with self._room:
            self._room.wait_for(self._may_go_on(most_bytes))
            if self._failed or self._released:
                raise PeerUnreachable(f"the connection to {self.name} is over")

    def _may_go_on(self, most_bytes: int) -> Callable[[], bool]:
        return lambda: self._failed or self._released or self._queued_bytes < most_bytes

    def release_waiting(self) -> None:
        """Nobody is to wait for room any more, now or later: the connection is about to end."""
        with self._room:
            self._released = True
            self._room.notify_all()

    def interrupt(self, reason: BlockrepError) -> None:
        """Make the channel's thread raise this from the `step` it is in, or from its next one."""
        self._interruption = reason
        self.wake()

    def wake(self) -> None:
        """Make a `step` that waits return."""
        with self._room:
            self._notify()

    def _notify(self) -> None:
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    # ---- for the channel's thread

    def step(self, timeout_s: float, *, reading: bool = True) -> None:
        """Move what can be moved in either direction; wait at most so long when nothing can.

        Without `reading` nothing is taken from the peer, whose silence then does not count.
        """
        if self._interruption is not None:
            reason, self._interruption = self._interruption, None
            raise reason
        if self._broken is not None and not self._inbox:
            raise self._broken
        try:
            self._step(timeout_s, reading)
        except OSError as error:
            self._broken = self._ended_by(error)
            # The peer may have said why before it went: that is taken first.
            try:
                self._read()
            except PeerUnreachable:
                pass
            except OSError as later:
                if _is_refusal(later):
                    self._broken = self._ended_by(later)
            if not self._inbox:
                raise self._broken from error

    def _step(self, timeout_s: float, reading: bool) -> None:
        self._keep_alive()
        reading = reading and len(self._inbox) < MAX_WAITING_FRAMES
        pending = reading and self._tls is not None and self._tls.pending() > 0
        events = (select.POLLIN if reading else 0) | (select.POLLOUT if self._outbox else 0)
        self._poll.modify(self._sock, events)
        limit_s = 0.0 if pending else min(timeout_s, self._alive_s / 2)
        for fd, happened in self._poll.poll(limit_s * 1000):
            if fd == self._wake_fd:
                os.eventfd_read(self._wake_fd)
            elif happened & (select.POLLERR | select.POLLHUP) and not reading:
                raise self._lost("it was closed by the other side")
        self._write()
        if reading:
            self._read()
        self._check_silence(reading)

    def receive(self, timeout_s: float | None = None) -> Frame:
        """The next frame that is not ALIVE; `PeerUnreachable` when none comes in time."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            frame = self.take()
            if frame is not None and frame.kind is Kind.BYE:
                raise self._lost("it said good-bye")
            if frame is not None:
                return frame
            left_s = self._silence_s if end is None else end - time.monotonic()
            if left_s <= 0:
                raise self._lost(f"no answer within {timeout_s:.0f} s")
            self.step(left_s)

    def take(self) -> Frame | None:
        """A frame that has come, if there is one; ERROR is raised as what it stands for."""
        if not self._inbox:
            return None
        frame = self._inbox.popleft()
        if frame.kind is Kind.ERROR:
            self._failed = True
            raise error_of(*parse_error(frame.body), self.name)
        return frame

    def give_back(self, frame: Frame) -> None:
        """The body of the frame is not needed any more; any thread may say so."""
        self._reader.give_back(frame)

    def flush(self, timeout_s: float) -> None:
        """Until everything posted is with the kernel; nothing is read meanwhile."""
        end = time.monotonic() + timeout_s
        while self._outbox:
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise self._lost(f"it took nothing for {timeout_s:.0f} s")
            self.step(left_s, reading=False)

    def end(self, error: BlockrepError | None = None, timeout_s: float = 5.0) -> None:
        """Say BYE, or ERROR with the reason, as far as the peer still listens; then close."""
        try:
            if error is None:
                self.post(Kind.BYE)
            else:
                self.post(Kind.ERROR, build_error(*refusal_of(error)))
            self.flush(timeout_s)
            self._linger()
        except (PeerUnreachable, OSError):
            pass  # it is gone, or has ended the conversation itself
        finally:
            self.close()

    def _linger(self) -> None:
        """Read on until the peer has closed: closing over unread data would take back our words."""
        self._sock.shutdown(socket.SHUT_WR)  # with TLS this also leaves TLS: what comes is noise
        end = time.monotonic() + LINGER_S
        self._poll.modify(self._sock, select.POLLIN)
        while (left_s := end - time.monotonic()) > 0:
            self._poll.poll(left_s * 1000)
            try:
                if not self._sock.recv(SMALL_BODY_BYTES):
                    return
            except BlockingIOError:
                continue

    def _read(self) -> None:
        for _ in range(CALLS_PER_TURN):
            count, ended = self._receive(self._reader.space())
            if ended and not count:
                raise self._lost("it was closed by the other side")
            if not count:
                return
            self.received_bytes += count
            frame = self._reader.filled(count)
            if frame is not None:
                self._heard_at = time.monotonic()
                if frame.kind is not Kind.ALIVE:
                    self._inbox.append(frame)
                if len(self._inbox) >= MAX_WAITING_FRAMES or frame.kind in (Kind.ERROR, Kind.BYE):
                    return

    def _receive(self, space: memoryview) -> tuple[int, bool]:
        """Fill `space` as far as the peer has sent; how far, and whether nothing more will come.

        A call of `recv_into` gives one TLS record, so this loop is what receiving costs.
        """
        receive, done, size = self._sock.recv_into, 0, len(space)
        try:
            while done < size:
                count = receive(space[done:])
                if not count:
                    return done, True
                done += count
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            # What came before the end may be the reason for it; the next call meets the end again.
            if not done:
                raise
        return done, False

    def _write(self) -> None:
        for _ in range(CALLS_PER_TURN):
            with self._room:
                view = self._outbox.popleft() if self._outbox else None
            if view is None:
                return
            count = 0
            try:
                count = self._send(view)
            finally:
                self._put_back(view[count:], count)
            if count < len(view):
                return

    def _send(self, view: memoryview) -> int:
        """Hand on what the kernel takes; as in `_receive`, a call sends one TLS record."""
        send, done, size = self._sock.send, 0, len(view)
        try:
            while done < size:
                done += send(view[done:])
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        return done

    def _put_back(self, rest: memoryview, count: int) -> None:
        with self._room:
            if len(rest) and not self._failed:
                self._outbox.appendleft(rest)
            if count:
                self.sent_bytes += count
                self._queued_bytes -= count
                self._spoke_at = time.monotonic()
                self._room.notify_all()

    def _keep_alive(self) -> None:
        if self._outbox or self.talk.phase is Phase.ENDED:
            return
        if time.monotonic() - self._spoke_at >= self._alive_s:
            self.post(Kind.ALIVE)

    def _check_silence(self, reading: bool) -> None:
        now = time.monotonic()
        if not reading:
            # What we do not take from the peer is not its silence.
            self._heard_at = now
        elif now - self._heard_at > self._silence_s:
            raise self._lost(f"nothing was heard for {self._silence_s:.0f} s")

    def _ended_by(self, error: OSError) -> PeerUnreachable | PeerRefused:
        lost = self._lost(_reason_of(error))
        if _is_refusal(error):
            return PeerRefused(f"{self.name} does not know this machine as a member")
        return lost

    def _lost(self, why: str) -> PeerUnreachable:
        with self._room:
            self._failed = True
            self._room.notify_all()
        return PeerUnreachable(f"the connection to {self.name} was lost: {why}")


def _is_refusal(error: OSError) -> bool:
    """In TLS 1.3 a server refuses a client's certificate only after the client's handshake."""
    return isinstance(error, ssl.SSLError) and "ALERT_UNKNOWN_CA" in (error.reason or "")


def _reason_of(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return reason or str(error)
