"""The holder's side of a connection: frames come in on one thread, the store works on another.

So receiving and applying overlap, ALIVE is said while the store is busy, and what waits is bounded:
when the store is slower than the network nothing more is read. What the frames mean is in
`hold_write` and `hold_read`.
"""

from __future__ import annotations

import queue
import threading
from typing import Protocol

from blockrep.errors import BlockrepError, InternalError, PeerUnreachable
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Frame, Kind
from blockrep.transfer.greeting import Greeting
from blockrep.transfer.hold_read import ReadSession
from blockrep.transfer.hold_write import WriteSession
from blockrep.transfer.stores import Holder, Peer, StoreDirectory, Writers
from blockrep.transfer.wire import Purpose

WAITING_FRAMES = 2
UNREAD_BYTES = 8 << 20
LOOK_S = 1.0


class Session(Protocol):
    """What understands the frames of one purpose."""

    def handle(self, frame: Frame) -> None:
        """Do what is asked and post the answer; an error ends the connection."""

    def close(self) -> None:
        """Let go of what the session holds."""


class HolderSession:
    """Serves one greeted connection of purpose 1 or 2."""

    def __init__(
        self,
        channel: Channel,
        greeting: Greeting,
        peer: Peer,
        stores: StoreDirectory,
        writers: Writers,
        holder: Holder,
    ) -> None:
        self._channel = channel
        self._session: Session
        if greeting.purpose is Purpose.REPLICATE:
            self._session = WriteSession(channel, greeting, peer, stores, writers, holder)
        elif greeting.purpose is Purpose.READ:
            self._session = ReadSession(channel, greeting, peer, stores)
        else:
            raise InternalError("a session of a holder is for replicas")
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._failure: BlockrepError | None = None

    def run(self) -> None:
        """Until the client is done, then close the channel.

        What went wrong is told to the client and raised. Wherever the connection is cut, the store
        stays as its last answer said, or further on.
        """
        worker = threading.Thread(target=self._work, name=f"store for {self._channel.name}")
        worker.start()
        failure: BlockrepError | None = None
        said_bye = False
        try:
            said_bye = self._move_frames()
        except BlockrepError as error:
            failure = error
        finally:
            self._over.set()
            self._frames.put(None)
            self._channel.release_waiting()
            worker.join()
        failure = self._failure or failure
        if said_bye and isinstance(failure, PeerUnreachable):
            failure = None  # it did not wait for the answer, as it may
        self._channel.end(failure)
        if failure is not None:
            raise failure

    def _move_frames(self) -> bool:
        """Until the client has said good-bye (True), or the session is over."""
        while not self._over.is_set():
            frame = self._channel.take()
            if frame is None:
                self._channel.step(LOOK_S, reading=self._has_room())
            elif frame.kind is Kind.BYE:
                return True
            else:
                self._frames.put(frame)
        return False

    def _has_room(self) -> bool:
        """Whether to read on: not while the store is behind, nor for who does not take answers."""
        unread = self._channel.queued_bytes < UNREAD_BYTES
        return unread and self._frames.qsize() < WAITING_FRAMES

    def _work(self) -> None:
        try:
            while (frame := self._frames.get()) is not None and not self._over.is_set():
                self._session.handle(frame)
                self._channel.give_back(frame)
                self._channel.wake()
        except BlockrepError as error:
            self._failure = error
        except Exception as error:
            # The client must not wait for an answer that does not come.
            self._failure = InternalError(f"{type(error).__name__}: {error}")
        finally:
            self._session.close()
            self._over.set()
            self._channel.wake()
