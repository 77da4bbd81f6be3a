"""The segments of this machine's disks in one group: whose they are, and who gets a free one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

from blockrep.agent.held_device import HeldDevice
from blockrep.agent.log import Log
from blockrep.agent.own_group import OwnGroup
from blockrep.disk.area import Area, AreaSegment
from blockrep.errors import BlockrepError, DoesNotFit, PeerRefused
from blockrep.group.grants import Act
from blockrep.group.rights import Question, decide
from blockrep.segment.clock import Clock
from blockrep.segment.header import SegmentState
from blockrep.segment.store import Store
from blockrep.segment.values import Assignment, StoreInfo
from blockrep.transfer.stores import Request
from blockrep.units import format_bytes

NO_OWNER = bytes(32)


@dataclass(frozen=True, slots=True)
class HeldSegment:
    """A segment of a disk; `store` is None, and `damage` says why, where it cannot be used."""

    device: HeldDevice
    number: int
    capacity_bytes: int
    store: Store | None
    damage: str = ""

    @property
    def info(self) -> StoreInfo | None:
        return None if self.store is None else self.store.info


class Holdings:
    """Implements `blockrep.transfer.stores.StoreDirectory`."""

    def __init__(self, group: OwnGroup, lock_s: int, clock: Clock, log: Log) -> None:
        """Open every segment, which settles what a crash has left. A damaged one is set aside."""
        self._group = group
        self._lock_s = lock_s
        self._log = log
        self._lock = threading.Lock()
        self.segments = [
            _open(device, segment, clock, log)
            for device in group.devices
            for segment in device.area.segments
        ]
        for device in group.devices:
            self._keep_names(device)

    def find(self, owner_key: bytes, device_id: bytes) -> Store | None:
        """The segment that holds this replica; None where there is none."""
        for segment in self.segments:
            info = segment.info
            if info is not None and (info.owner_key, info.device_id) == (owner_key, device_id):
                return segment.store
        return None

    def of_owner(self, owner_key: bytes) -> Iterator[Store]:
        """The segments of all devices of an owner."""
        for segment in self.segments:
            info = segment.info
            if segment.store is not None and info is not None and info.owner_key == owner_key:
                yield segment.store

    def assign(self, request: Request) -> Store:
        """Give the smallest free segment that fits to an owner.

        `PeerRefused` where the group or this machine does not allow it, `DoesNotFit` with the
        numbers. The header is written first: it is the truth, and the area record follows it.
        """
        self._check_right(request)
        with self._lock:
            held = self.find(request.owner_key, request.device_id)
            if held is not None:
                return held
            segment, store = self._choose(request)
            store.assign(
                Assignment(
                    group_id=request.group_id,
                    owner_key=request.owner_key,
                    device_id=request.device_id,
                    owner_name=request.owner_name,
                    writer=request.writer,
                    content_bytes=request.content_bytes,
                    lock_s=self._lock_s,
                    escrow=request.escrow,
                )
            )
            self._keep_names(segment.device)
        place = f"segment {segment.number} of {segment.device.path}"
        self._log.notice(f"{place} belongs to {request.owner_name} from now on")
        return store

    def tick(self) -> None:
        """Let the stores count their time, and undo what was left too long."""
        for segment in self.segments:
            if segment.store is None:
                continue
            try:
                segment.store.tick()
            except BlockrepError as error:
                place = f"segment {segment.number} of {segment.device.path}"
                self._log.error(f"{place}: {error.message}")

    def _check_right(self, request: Request) -> None:
        question = Question(
            request.owner_key, Act.ASSIGN, request.owner_key, request.device_id, request.writer
        )
        decision = decide(self._group.view, self._group.grants, question)
        if not decision.allowed:
            self._log.warning(decision.reason)
            raise PeerRefused(decision.reason)

    def _choose(self, request: Request) -> tuple[HeldSegment, Store]:
        free = [
            (segment.capacity_bytes, segment.number, segment, segment.store)
            for segment in self.segments
            if segment.store is not None and segment.store.info.state is SegmentState.UNASSIGNED
        ]
        fitting = [entry for entry in free if entry[0] >= request.content_bytes]
        if fitting:
            _, _, segment, store = min(fitting, key=lambda entry: entry[:2])
            return segment, store
        need = f"the first area has {request.content_bytes} bytes"
        if not free:
            count = len(self.segments)
            raise DoesNotFit(f"{need}, and none of the {count} segments here is free")
        largest = max(free, key=lambda entry: entry[0])[0]
        raise DoesNotFit(
            f"{need} ({format_bytes(request.content_bytes)}), the largest of the {len(free)} free "
            f"segments here holds {largest} ({format_bytes(largest)})"
        )

    def _keep_names(self, device: HeldDevice) -> None:
        """The area record lists whose each segment is: it follows the segments' own headers."""
        held = {s.number: s.info for s in self.segments if s.device is device}

        def named(segment: AreaSegment) -> AreaSegment:
            info = held.get(segment.number)
            if info is None:
                return segment
            owned = info.state is not SegmentState.UNASSIGNED
            key = info.owner_key if owned else NO_OWNER
            return replace(segment, owner_key=key, owner_name=info.owner_name if owned else "")

        def change(area: Area) -> Area:
            return replace(area, segments=tuple(named(s) for s in area.segments))

        if change(device.area) != device.area:
            device.update_area(change)


def _open(device: HeldDevice, segment: AreaSegment, clock: Clock, log: Log) -> HeldSegment:
    place = f"segment {segment.number} of {device.path}"
    try:
        store = Store.open(device.device, segment.start_bytes, clock)
    except BlockrepError as error:
        log.error(f"{place} cannot be used: {error.message}")
        return HeldSegment(device, segment.number, segment.capacity_bytes, None, error.message)
    if store.info.damage:
        log.error(f"{place}: {store.info.damage}")
    if store.info.doubt:
        log.warning(f"{place}: {store.info.doubt}")
    return HeldSegment(device, segment.number, store.info.capacity_bytes, store)
