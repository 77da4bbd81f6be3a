"""What the holders have of an owner: asked of all at once, each within its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from blockrep.agent.dialling import dial_member
from blockrep.agent.seat import Seat
from blockrep.errors import BlockrepError, NoSuchEpoch, RecordDamaged
from blockrep.group.section import Member
from blockrep.segment.epoch import Epoch, verify_epoch
from blockrep.transfer.frames import Kind
from blockrep.transfer.messages import Epochs, Select
from blockrep.transfer.wire import Purpose

AT_ONCE = 8
CONNECT_S = 5.0
ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class HeldEpoch:
    """An epoch that a holder says it has; its record is signed by the owner."""

    epoch: Epoch
    record: bytes
    present: bool
    locked: bool


@dataclass(frozen=True, slots=True)
class Replica:
    """What one holder has of one device, the newest epoch first.

    `failure` says why it could not be asked; `damage` what of its answer was not the owner's.
    """

    holder: Member
    device_id: bytes
    epochs: tuple[HeldEpoch, ...] = ()
    failure: str = ""
    damage: str = ""

    @property
    def newest(self) -> HeldEpoch | None:
        return next((e for e in self.epochs if e.present), None)


def ask_holders(
    seat: Seat, owner_key: bytes, device_ids: Sequence[bytes], holders: Iterable[Member]
) -> list[Replica]:
    """The replicas of these devices at these holders, this machine among them."""

    def ask(holder: Member, device_id: bytes) -> Callable[[], Replica]:
        if holder.key == seat.group.identity.key:
            return lambda: _look_here(seat, holder, owner_key, device_id)
        return lambda: _ask(seat, holder, owner_key, device_id)

    questions = [ask(holder, device_id) for holder in holders for device_id in device_ids]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ask") as pool:
        return list(pool.map(lambda question: question(), questions))


def _look_here(seat: Seat, holder: Member, owner_key: bytes, device_id: bytes) -> Replica:
    store = seat.holdings.find(owner_key, device_id)
    if store is None:
        return Replica(holder, device_id)
    try:
        held = [(e.record, e.present, e.locked) for e in store.epochs()]
    except BlockrepError as error:
        return Replica(holder, device_id, failure=error.message)
    return _verified(holder, owner_key, device_id, held)


def _ask(seat: Seat, holder: Member, owner_key: bytes, device_id: bytes) -> Replica:
    try:
        line = dial_member(seat.group, holder, Purpose.READ, within_s=CONNECT_S)
        with line.channel as channel:
            channel.post(Kind.SELECT, Select(owner_key, device_id).build())
            found = Epochs.parse(channel.receive(ANSWER_S).body)
            channel.end()
    except NoSuchEpoch:
        return Replica(holder, device_id)
    except BlockrepError as error:
        return Replica(holder, device_id, failure=error.message)
    held = [(e.record, e.present, e.locked) for e in found.epochs]
    return _verified(holder, owner_key, device_id, held)


def _verified(
    holder: Member, owner_key: bytes, device_id: bytes, held: Iterable[tuple[bytes, bool, bool]]
) -> Replica:
    """Only what the owner has signed for this device counts."""
    epochs, damage = [], ""
    for record, present, locked in held:
        try:
            epoch = verify_epoch(record, owner_key)
            if epoch.device != device_id:
                raise RecordDamaged("an epoch of another device")
        except BlockrepError as error:
            damage = error.message
            continue
        epochs.append(HeldEpoch(epoch, record, present, locked))
    return Replica(holder, device_id, tuple(epochs), damage=damage)
