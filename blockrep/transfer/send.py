"""An owner sends an epoch of its first area to several holders, in one pass over the disk.

One thread leads and reads; each holder has a thread (`sender`). What is read goes to all of them
before more is read, so memory does not depend on their number: the slowest one sets the pace, until
the others have waited for it long enough, and it is cut loose.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blockrep.chunks import CHUNK_BYTES, packed_bytes, pick_blocks
from blockrep.disk.device import Device
from blockrep.errors import BlockrepError, DeviceBusy, PeerBusy
from blockrep.extents import Extent, intersect, normalise, total
from blockrep.progress import Progress
from blockrep.pump import Batch, Pump
from blockrep.segment.epoch import NO_ID, Epoch, build_epoch
from blockrep.transfer.greeting import Self
from blockrep.transfer.kept import Kept, KeptMap
from blockrep.transfer.map_file import MapFile, Trail
from blockrep.transfer.messages import Open
from blockrep.transfer.receipt import Receipt
from blockrep.transfer.sender import HolderLink, Job, Mode, Sender, Stage, Start
from blockrep.transfer.used import FirstArea
from blockrep.transfer.window import Window

__all__ = ["HolderLink", "HolderResult", "Mode", "Owner", "Plan", "replicate"]

LOOK_S = 0.5
# So long all others may wait for one holder, in the whole run.
PATIENCE_S = 60.0
KEY_ID_PREFIX = b"blockrep key id"
NO_KEY_ID = bytes(8)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose epoch it is. `me` is how this machine introduces itself, `sign` its owner key's."""

    me: Self
    sign: Callable[[bytes], bytes]
    device_id: bytes
    name: str
    escrow: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `survey` is called before reading and again before the commit.

    `data_key` None: not encrypted. `receipts` are what earlier runs brought back. With `verify`
    holders read what they have instead of believing their map. `clock` gives seconds since 1970.
    """

    owner: Owner
    device: Device
    survey: Callable[[], FirstArea]
    data_key: bytes | None
    mode: Mode
    kept: KeptMap
    verify: bool = False
    receipts: tuple[Receipt, ...] = ()
    patience_s: float = PATIENCE_S
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class HolderResult:
    """What became of one holder: a verified receipt, or why there is none. Bytes are of frames."""

    name: str
    key: bytes
    receipt: Receipt | None
    error: BlockrepError | None
    sent_bytes: int
    received_bytes: int


def replicate(plan: Plan, links: Sequence[HolderLink], progress: Progress) -> list[HolderResult]:
    """Send one epoch to all holders that can be reached; a result for each, in the same order.

    Raises only what concerns all of them: the disk (`DeviceIO`, `DeviceBusy`, what the survey
    raises) and `Stopped`. The replicas are then at the epochs they had; the next run goes on.
    """
    area = plan.survey()
    run = _Run(plan, area, links, progress)
    try:
        run.go()
    except BaseException as error:
        reason = error if isinstance(error, BlockrepError) else PeerBusy("the run was ended")
        run.stop(reason)
        raise
    finally:
        run.close()
    return run.results()


class _Run:
    """The leading thread's part of one run."""

    def __init__(
        self, plan: Plan, area: FirstArea, links: Sequence[HolderLink], progress: Progress
    ) -> None:
        self._plan = plan
        self._area = area
        self._progress = progress
        self._news = threading.Condition()
        job = _job_of(plan, area)
        self._senders = [Sender(link, job, self._news) for link in links]
        self._maps: list[MapFile] = []
        self._stored_bytes = 0

    def go(self) -> None:
        self._progress.phase("connecting")
        for sender in self._senders:
            sender.open()
        self._wait_for(Stage.OPENED, patiently=False)
        live = self._live()
        if not live:
            return
        new, number, parent, epoch_id = self._begin(live)
        self._wait_for(Stage.SENDING, patiently=False)
        used_bytes = total(self._area.used)
        self._progress.phase("reading and sending", used_bytes)
        self._pass(self._live(), self._area.used, new)
        if not self._live():
            return
        record = self._build_record(new, number, parent, epoch_id)
        self._progress.phase("committing")
        # Each commits when it has everything: nobody waits for a slower one here.
        for sender in self._live():
            sender.commit(record)
        self._wait_for(Stage.LACKING)
        self._send_lacking(new)
        self._wait_for(Stage.COMMITTED)
        self._keep(record, new)

    def stop(self, reason: BlockrepError) -> None:
        for sender in self._senders:
            sender.stop(reason)

    def close(self) -> None:
        for sender in self._senders:
            sender.join()
        for pages in self._maps:
            pages.close()

    def results(self) -> list[HolderResult]:
        return [
            HolderResult(
                s.link.name, s.link.key, s.receipt, s.error, s.sent_bytes, s.received_bytes
            )
            for s in self._senders
        ]

    def _live(self) -> list[Sender]:
        return [sender for sender in self._senders if not sender.is_over]

    def _wait_for(self, stage: Stage, *, patiently: bool = True) -> None:
        """Until every holder has come so far, or is out; else those are cut loose in the end."""
        with self._news:
            while slow := [sender for sender in self._senders if sender.stage < stage]:
                began = time.monotonic()
                self._news.wait(LOOK_S)
                self._progress.check()
                if not patiently and len(self._live()) > len(slow):
                    for sender in slow:
                        self._count_waiting(sender, time.monotonic() - began)

    # ---- what to begin

    def _begin(self, live: list[Sender]) -> tuple[MapFile, int, bytes, bytes]:
        """Number and parent follow the newest epoch that we or any holder has.

        So an owner that was set back goes on behind what its holders have, and never repeats a
        number.
        """
        kept_map, device_id = self._plan.kept, self._plan.owner.device_id
        kept = kept_map.load(self._plan.owner.me.key, device_id)
        epochs = [sender.epoch for sender in live if sender.epoch is not None]
        if kept is not None:
            epochs.append(kept.epoch)
        newest = max(epochs, key=lambda epoch: epoch.number, default=None)
        epoch_id = kept_map.next_id()
        if any(epoch.id == epoch_id for epoch in epochs):
            kept_map.used_id()
            epoch_id = kept_map.next_id()
        span = max([self._area.content_bytes, *(epoch.content_bytes for epoch in epochs)])
        new = self._new_map(span)
        number = newest.number + 1 if newest else 1
        start = Start(epoch_id, number, span, new, self._load_kept(kept, live, span))
        for sender in live:
            sender.start(start)
        return new, number, newest.id if newest else NO_ID, epoch_id

    def _new_map(self, span_bytes: int) -> MapFile:
        self._maps.append(MapFile(self._plan.kept.folder, span_bytes))
        return self._maps[-1]

    def _load_kept(
        self, kept: Kept | None, live: list[Sender], span: int
    ) -> tuple[Kept, MapFile] | None:
        """The kept map, if some holder has just that epoch, and it is whole."""
        wanted = kept is not None and any(
            sender.state is not None and sender.state.record == kept.record for sender in live
        )
        if kept is None or not wanted or self._plan.mode is Mode.FULL:
            return None
        pages = self._new_map(span)
        return (kept, pages) if self._plan.kept.load_map(kept, pages) else None

    # ---- reading

    def _pass(
        self, senders: list[Sender], used: Sequence[Extent], new: MapFile, *, again: bool = False
    ) -> None:
        """Read these extents once and give each of these holders its part."""
        plan, content = self._plan, self._area.content_bytes
        done = _Progressed(self._progress, used)
        pages, trail = new.content(content), Trail(new)
        with Pump(plan.device.bulk_fd, content, used, plan.data_key, pages) as pump:
            for batch in pump:
                self._progress.check()
                self._hand_out(batch, senders)
                if not again:
                    self._stored_bytes += packed_bytes(batch.masks)
                    done.reached((batch.first_chunk + len(batch.masks)) * CHUNK_BYTES)
                trail.passed(batch.first_chunk)
                if all(sender.is_over for sender in senders):
                    break
        for sender in senders:
            if sender.stream is not None:
                sender.stream.end_pass()

    def _send_lacking(self, new: MapFile) -> None:
        """Chunks that came in part and did not fit are read again and sent whole."""
        lacking = [sender for sender in self._senders if sender.stage is Stage.LACKING]
        chunks = {c for s in lacking if s.stream is not None for c in s.stream.refused}
        if not chunks:
            return
        for sender in lacking:
            sender.repeat()
        extents = normalise(Extent(chunk * CHUNK_BYTES, CHUNK_BYTES) for chunk in chunks)
        self._pass(lacking, intersect(self._area.used, extents), new, again=True)

    def _hand_out(self, batch: Batch, senders: list[Sender]) -> None:
        needs = [
            (sender, sender.stream.needs(batch.first_chunk, batch.masks))
            for sender in senders
            if sender.stream is not None and not sender.is_over
        ]
        union = 0
        for _, need in needs:
            union |= need
        if not union:
            return
        masks = [mask if union >> i & 1 else 0 for i, mask in enumerate(batch.masks)]
        whole = masks == list(batch.masks)
        blocks = bytes(batch.blocks) if whole else pick_blocks(batch.masks, masks, batch.blocks)
        window = Window(batch.first_chunk, masks, blocks)
        for sender, need in needs:
            if need:
                self._put(sender, window)

    def _put(self, sender: Sender, window: Window) -> None:
        stream = sender.stream
        if stream is None:
            return
        with self._news:
            while not stream.has_room and not sender.is_over:
                began = time.monotonic()
                self._news.wait(LOOK_S)
                self._progress.check()
                self._lose_patience(sender, time.monotonic() - began)
        if not sender.is_over:
            stream.put(window)

    def _lose_patience(self, slow: Sender, waited_s: float) -> None:
        """Cut a holder loose for which all others have waited too long."""
        others = [s for s in self._live() if s is not slow and s.stream is not None]
        if others and all(s.stream.is_hungry for s in others if s.stream is not None):
            self._count_waiting(slow, waited_s)

    def _count_waiting(self, slow: Sender, waited_s: float) -> None:
        slow.idle_waits_s += waited_s
        if slow.idle_waits_s > self._plan.patience_s:
            slow.stop(
                PeerBusy(
                    f"{slow.link.name} is too slow: the other holders waited for it for "
                    f"{slow.idle_waits_s:.0f} s",
                    hint="back up to it on its own: `blockrep backup --to` with its name",
                )
            )

    # ---- the end

    def _build_record(self, new: MapFile, number: int, parent: bytes, epoch_id: bytes) -> bytes:
        """Sign what was sent, if it is still what is on the disk."""
        if self._plan.survey() != self._area:
            raise DeviceBusy(f"{self._plan.device.path} was used while it was read")
        owner, area = self._plan.owner, self._area
        epoch = Epoch(
            number=number,
            id=epoch_id,
            parent=parent,
            root=new.root(area.content_bytes),
            owner_key=owner.me.key,
            device=owner.device_id,
            group=owner.me.group_id,
            writer=owner.me.instance_id,
            time_s=int(self._plan.clock()),
            content_bytes=area.content_bytes,
            stored_bytes=self._stored_bytes,
            disk_bytes=area.disk_bytes,
            sector_bytes=area.sector_bytes,
            key_id=key_id_of(self._plan.data_key),
            encrypted=self._plan.data_key is not None,
            consistent=area.is_consistent,
            partitions=area.partitions,
        )
        return build_epoch(epoch, owner.sign)

    def _keep(self, record: bytes, new: MapFile) -> None:
        """Remember the map, with the holders that have it, if there is one."""
        generations = {
            sender.receipt.segment: sender.state.map_generation
            for sender in self._senders
            if sender.receipt is not None and sender.state is not None
        }
        if generations:
            # Without it the next run asks a holder for the map.
            with contextlib.suppress(OSError):
                self._plan.kept.save(record, generations, new)
            self._plan.kept.used_id()


class _Progressed:
    """Turns a place on the disk into how much of the used bytes lies before it."""

    def __init__(self, progress: Progress, used: Sequence[Extent]) -> None:
        self._progress = progress
        self._used = used
        self._next = 0
        self._told = 0
        self._before = 0

    def reached(self, end_bytes: int) -> None:
        while self._next < len(self._used) and self._used[self._next].end <= end_bytes:
            self._before += self._used[self._next].length
            self._next += 1
        part = 0
        if self._next < len(self._used):
            part = max(0, end_bytes - self._used[self._next].start)
        done = self._before + part
        self._progress.advance(done - self._told)
        self._told = done


def key_id_of(data_key: bytes | None) -> bytes:
    """What an epoch record says of the key, so that a wrong one is noticed before it is used."""
    if data_key is None:
        return NO_KEY_ID
    return hashlib.sha256(KEY_ID_PREFIX + data_key).digest()[: len(NO_KEY_ID)]


def _job_of(plan: Plan, area: FirstArea) -> Job:
    owner = plan.owner
    opening = Open(
        device_id=owner.device_id,
        writer=owner.me.instance_id,
        content_bytes=area.content_bytes,
        assign=True,
        verify=plan.verify,
        owner_name=owner.name,
        escrow=owner.escrow,
    )
    return Job(
        me=owner.me,
        owner_key=owner.me.key,
        opening=opening,
        mode=plan.mode,
        salt=secrets.token_bytes(16),
        packable=plan.data_key is None,
        folder=plan.kept.folder,
        receipts=plan.receipts,
    )
