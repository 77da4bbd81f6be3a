"""`backup`: one epoch of one of our disks, to all holders at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from blockrep.agent.dialling import dial
from blockrep.agent.held_device import HeldDevice
from blockrep.agent.jobs import Job
from blockrep.agent.local_lines import Document
from blockrep.agent.receipts import load_receipts, save_receipt
from blockrep.agent.seat import Seat
from blockrep.agent.world import World, maybe_text, text_of, texts_of
from blockrep.disk.area_keys import AreaKeys
from blockrep.errors import InternalError, NotAMember, PeerUnreachable, UsageError
from blockrep.group.section import Member
from blockrep.segment.epoch import parse_epoch
from blockrep.transfer.greeting import Self
from blockrep.transfer.kept import KeptMap
from blockrep.transfer.receipt import Receipt
from blockrep.transfer.send import HolderLink, HolderResult, Mode, Owner, Plan, replicate
from blockrep.transfer.used import survey_first_area


class BackupRequests:
    """Each method is a verb."""

    def __init__(self, world: World) -> None:
        self._world = world

    def verbs(self) -> dict[str, Callable[[Document], Job]]:
        return {"backup": self.backup}

    def backup(self, arguments: Document) -> Job:
        """A job whose result says what became of each holder."""
        seat = self._world.seats.pick(maybe_text(arguments, "group"))
        device = pick_device(seat, maybe_text(arguments, "device"))
        holders = _choose_holders(seat, texts_of(arguments, "to"))
        mode = _MODES.get(text_of(arguments, "mode"))
        if mode is None:
            raise UsageError("the mode is full or differential")

        def work(job: Job) -> Document:
            return self._run(seat, device, holders, mode, job)

        return self._world.jobs.start("backup", str(device.path), work)

    def _run(
        self, seat: Seat, device: HeldDevice, holders: Sequence[Member], mode: Mode, job: Job
    ) -> Document:
        # What changed about this machine has to be known where it asks for a segment.
        self._world.refresh(seat)
        folder = self._world.config.state_dir
        plan = _plan(seat, device, mode, folder)
        links = [HolderLink(m.name, m.key, partial(dial, seat.group, m)) for m in holders]
        results = replicate(plan, links, job)
        for result in results:
            if result.receipt is not None:
                self._keep(folder, plan.owner.device_id, result.receipt)
        return {"backup": _document(device, results, has_recovery=seat.group.has_recovery())}

    def _keep(self, folder: Path, device_id: bytes, receipt: Receipt) -> None:
        """What is committed is committed, whether its receipt can be kept or not."""
        try:
            save_receipt(folder, device_id, receipt)
        except OSError as error:
            self._world.log.warning(f"a receipt could not be kept: {error}")


_MODES = {"full": Mode.FULL, "differential": Mode.DIFFERENTIAL}


def pick_device(seat: Seat, path: str | None) -> HeldDevice:
    """The disk at this path, or the only one in the group."""
    devices = [d for d in seat.group.devices if path is None or d.is_at(path)]
    if len(devices) > 1:
        names = ", ".join(str(device.path) for device in devices)
        raise UsageError(f"several disks are in the group: {names}", hint="name one of them")
    if not devices:
        raise UsageError(f"{path} is not a disk of this machine in the group {seat.group.name}")
    return devices[0]


def _choose_holders(seat: Seat, names: Sequence[str] | None) -> list[Member]:
    others = seat.group.others()
    if not others:
        raise UsageError(
            f"there is no other member in the group {seat.group.name}",
            hint="`blockrep group invite` brings one in",
        )
    if names is None:
        return others
    chosen: dict[bytes, Member] = {}
    for name in names:
        member = seat.group.view.find(name)
        if member is None or member.key == seat.group.identity.key:
            raise NotAMember(f"there is no other member {name!r}")
        chosen[member.key] = member
    return list(chosen.values())


def _plan(seat: Seat, device: HeldDevice, mode: Mode, folder: Path) -> Plan:
    keys = keys_of(device)
    group = seat.group
    owner = Owner(
        me=Self(group.group_id, device.area.instance_id, group.identity.key),
        sign=group.identity.sign,
        device_id=keys.device_id,
        name=group.me.name if group.me else keys.member_name,
        escrow=group.escrow(),
    )
    return Plan(
        owner=owner,
        device=device.device,
        survey=partial(survey_first_area, device.device),
        data_key=keys.data_key if keys.encrypted else None,
        mode=mode,
        kept=KeptMap(folder / f"map-{keys.device_id.hex()}"),
        receipts=tuple(load_receipts(folder, keys.device_id)),
    )


def keys_of(device: HeldDevice) -> AreaKeys:
    keys = device.keys
    if keys is None:
        raise InternalError(f"{device.path} is in no group")
    return keys


def _document(
    device: HeldDevice, results: Sequence[HolderResult], *, has_recovery: bool
) -> Document:
    records = [parse_epoch(r.receipt.record) for r in results if r.receipt is not None]
    epoch = records[0] if records else None
    return {
        "device": str(device.path),
        "epoch": epoch.number if epoch else 0,
        "epoch_id": epoch.id.hex() if epoch else "",
        "time_s": epoch.time_s if epoch else 0,
        "consistent": epoch.consistent if epoch else False,
        "stored_bytes": epoch.stored_bytes if epoch else 0,
        "recovery_key": has_recovery,
        "holders": [_holder_document(result) for result in results],
    }


def _holder_document(result: HolderResult) -> Document:
    error = result.error
    if result.receipt is None and error is None:
        error = PeerUnreachable("it did not answer")
    return {
        "name": result.name,
        "key": result.key.hex(),
        "committed": result.receipt is not None,
        "reason": error.message if error is not None else "",
        "hint": error.hint if error is not None else "",
        "sent_bytes": result.sent_bytes,
        "received_bytes": result.received_bytes,
    }
