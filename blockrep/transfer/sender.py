"""One holder of many: connect, open, find out what it has, send, commit. A thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from pathlib import Path
from typing import TypeVar

from blockrep.errors import (
    BlockrepError,
    EpochRefused,
    InternalError,
    PeerBusy,
    ProtocolError,
    RecordDamaged,
)
from blockrep.segment.epoch import NO_ID, Epoch, parse_epoch, verify_epoch
from blockrep.segment.header import SegmentState
from blockrep.transfer.base_map import ANSWER_S, fetch_map, pages_within
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.greeting import Self, greet
from blockrep.transfer.kept import Kept
from blockrep.transfer.map_file import MapFile
from blockrep.transfer.messages import Begin, Open, Ready, State
from blockrep.transfer.receipt import Receipt
from blockrep.transfer.stream import Stream
from blockrep.transfer.wire import Purpose

T = TypeVar("T")


class Mode(Enum):
    """`FULL` sends all that is in use, whatever a holder says it has."""

    FULL = "full"
    DIFFERENTIAL = "differential"


class Stage(IntEnum):
    """How far a holder is; the order is that of time."""

    CONNECTING = auto()
    OPENED = auto()
    SENDING = auto()
    LACKING = auto()  # waits for another pass, with chunks that must come whole
    COMMITTED = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class HolderLink:
    """How to reach a holder; `key` is the one that its TLS certificate is pinned to.

    `connect` gives a new connection with TLS done, or raises `PeerUnreachable`, in bounded time: it
    is waited for. It is called from a thread of its own, once.
    """

    name: str
    key: bytes
    connect: Callable[[], Channel]


@dataclass(frozen=True, slots=True)
class Job:
    """What all holders of a run share. `receipts` of holders are proofs of whole epochs."""

    me: Self
    owner_key: bytes
    opening: Open
    mode: Mode
    salt: bytes
    packable: bool
    folder: Path
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """The epoch that all holders begin; maps of this run have pages for `span_bytes`."""

    epoch_id: bytes
    number: int
    span_bytes: int
    new: MapFile
    kept: tuple[Kept, MapFile] | None


class Sender:
    """`stage`, `error`, `state`, `epoch` and `receipt` may be read by anybody.

    `news` is notified when they change.
    """

    def __init__(self, link: HolderLink, job: Job, news: threading.Condition) -> None:
        self.link = link
        self.stage = Stage.CONNECTING
        self.error: BlockrepError | None = None
        self.state: State | None = None
        self.epoch: Epoch | None = None
        self.receipt: Receipt | None = None
        self.stream: Stream | None = None
        self.sent_bytes = 0
        self.received_bytes = 0
        self.idle_waits_s = 0.0
        self._job = job
        self._news = news
        self._start: Start | None = None
        self._record: bytes | None = None
        self._another_pass = False
        self._stop: BlockrepError | None = None
        self._channel: Channel | None = None
        self._base: MapFile | None = None
        self._thread = threading.Thread(target=self._run, name=f"sending to {link.name}")

    # ---- for the thread that leads

    def open(self) -> None:
        self._thread.start()

    def start(self, start: Start) -> None:
        self._start = start
        self._wake()

    def repeat(self) -> None:
        """One more pass, of what did not fit; the holder is `LACKING`."""
        if self.stream is not None:
            self.stream.repeat_whole()
        self.stage = Stage.SENDING
        self._another_pass = True
        self._wake()

    def commit(self, record: bytes) -> None:
        self._record = record
        self._wake()

    def stop(self, reason: BlockrepError) -> None:
        """End the connection as soon as possible; what was applied stays there."""
        if self._stop is not None:
            return
        self._stop = reason
        if self._channel is not None:
            self._channel.interrupt(reason)

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()
        if self._base is not None:
            self._base.close()

    @property
    def is_over(self) -> bool:
        return self.stage is Stage.OVER

    def _wake(self) -> None:
        channel = self._channel
        if channel is not None:
            channel.wake()

    # ---- its own thread

    def _run(self) -> None:
        try:
            with self.link.connect() as channel:
                channel.name = self.link.name
                self._channel = channel
                if self._stop is not None:
                    raise self._stop
                self._talk_and_end(channel)
        except BlockrepError as error:
            self.error = error
        except Exception as error:
            self.error = InternalError(f"{type(error).__name__}: {error}")
        finally:
            self._reach(Stage.OVER)

    def _talk_and_end(self, channel: Channel) -> None:
        failure: BlockrepError | None = None
        try:
            self._talk(channel)
        except BlockrepError as error:
            failure = error
            raise
        finally:
            # The holder is told what it did wrong; the rest is no business of its.
            told = failure if isinstance(failure, ProtocolError | EpochRefused) else None
            channel.end(told)
            self.sent_bytes, self.received_bytes = channel.sent_bytes, channel.received_bytes

    def _reach(self, stage: Stage) -> None:
        with self._news:
            self.stage = stage
            self._news.notify_all()

    def _talk(self, channel: Channel) -> None:
        greet(channel, self._job.me, Purpose.REPLICATE, self.link.key)
        state = self._open(channel)
        self._reach(Stage.OPENED)
        start = self._wait_for(channel, lambda: self._start)
        base = self._find_base(channel, state, start)
        resumed = self._begin(channel, state, start)
        if state.applying == start.epoch_id and not resumed:
            raise PeerBusy(f"{self.link.name} has undone the epoch meanwhile")
        self.stream = stream = self._new_stream(channel, state, start, base)
        self._reach(Stage.SENDING)
        stream.run_pass()
        if stream.refused:
            self._reach(Stage.LACKING)
            self._wait_for(channel, lambda: self._another_pass or None)
            stream.run_pass()
        record = self._wait_for(channel, lambda: self._record)
        self.receipt = self._commit(channel, state, record)
        self._reach(Stage.COMMITTED)

    def _wait_for(self, channel: Channel, asked: Callable[[], T | None]) -> T:
        while (found := asked()) is None:
            channel.step(1.0)
            if (frame := channel.take()) is not None:
                raise ProtocolError(f"{frame.kind.name}, and nothing was asked")
        return found

    def _open(self, channel: Channel) -> State:
        channel.post(Kind.OPEN, self._job.opening.build())
        state = State.parse(channel.receive(ANSWER_S).body)
        if state.record is not None:
            epoch = verify_epoch(state.record, self._job.owner_key)
            if epoch.device != self._job.opening.device_id:
                raise RecordDamaged(f"the epoch at {self.link.name} is of another device")
            self.epoch = epoch
        self.state = state
        return state

    def _find_base(self, channel: Channel, state: State, start: Start) -> MapFile | None:
        """The map that the chunks will be compared with; None where there is nothing.

        An unfinished epoch of another id will be undone by the holder: then the map of the epoch
        below it counts. Where there is none, what came of it stays.
        """
        if state.fresh:
            return None
        applying = state.state == SegmentState.APPLYING
        resuming = applying and state.applying == start.epoch_id
        if start.kept is not None and not applying and self._is_kept(state, start.kept[0]):
            return start.kept[1]
        self._base = base = MapFile(self._job.folder, start.span_bytes)
        wanted = self.epoch.id if self.epoch and applying and not resuming else None
        fetch_map(channel, wanted, pages_within(state.capacity_bytes, base), base, mend=True)
        return base

    def _is_kept(self, state: State, kept: Kept) -> bool:
        return (
            self._job.mode is Mode.DIFFERENTIAL
            and kept.record == state.record
            and kept.generations.get(state.segment) == state.map_generation
        )

    def _begin(self, channel: Channel, state: State, start: Start) -> bool:
        begin = Begin(
            epoch_id=start.epoch_id,
            number=start.number,
            parent=self.epoch.id if self.epoch else NO_ID,
            full=self._job.mode is Mode.FULL,
            receipt=self._proof_for(state),
        )
        channel.post(Kind.BEGIN, begin.build())
        return Ready.parse(channel.receive(ANSWER_S).body).resumed

    def _proof_for(self, state: State) -> bytes:
        """Another holder's receipt for the newest epoch, if we have one."""
        others = [r for r in self._job.receipts if r.segment != state.segment]
        newest = max(others, key=lambda r: parse_epoch(r.record).number, default=None)
        return newest.build() if newest else b""

    def _new_stream(
        self, channel: Channel, state: State, start: Start, base: MapFile | None
    ) -> Stream:
        # Of a first copy that was cut the holder has checked what came: it need not come again.
        again = state.record is None
        return Stream(
            channel,
            base=base,
            new=start.new,
            salt=self._job.salt,
            whole=self._job.mode is Mode.FULL and not again,
            verify=self._job.opening.verify,
            packable=self._job.packable,
            room=self._news,
        )

    def _commit(self, channel: Channel, state: State, record: bytes) -> Receipt:
        channel.post(Kind.COMMIT, record)
        receipt = Receipt.parse(channel.receive(ANSWER_S).body)
        said = (receipt.holder_key, receipt.segment, receipt.record)
        if said != (self.link.key, state.segment, record):
            raise EpochRefused(f"the receipt of {self.link.name} is for something else")
        receipt.verify()
        return receipt
