"""blockrep's own engine, as the crash tests drive it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.divide.commit import commit_plan
from blockrep.divide.plan import Plan, plan_divide
from blockrep.divide.recover import recover_disk
from blockrep.divide.summary import DivideRequest, Join, UndivideRequest
from blockrep.divide.undivide import plan_undivide
from blockrep.progress import Silent
from fault.engine import NOTHING
from fault.journal import journal_beside, kept_log, watched_files


@dataclass
class _Engine:
    """What divide and undivide have in common. `journal`: the log is in a file beside the disk."""

    journal: bool = field(default=False, kw_only=True)
    _log: bytes = field(default=b"", init=False)

    def recover(self, device: Device, *, back: bool) -> str:
        if not self.journal:
            return _said(recover_disk(device, Silent(), back=back).action)
        file = journal_beside(device)
        file.write_bytes(self._log)
        with watched_files(device):
            outcome = recover_disk(device, Silent(), back=back, journal=file)
        file.unlink(missing_ok=True)
        return _said(outcome.action)

    def run(self, device: Device) -> None:
        file = journal_beside(device) if self.journal else None
        with (
            watched_files(device) if file else nullcontext(),
            self.plan(device, file) as plan,
        ):
            commit_plan(device, plan, Silent())
        self._log = kept_log()

    def plan(self, device: Device, journal: Path | None) -> Plan:
        raise NotImplementedError


def _said(action: str) -> str:
    return NOTHING if action == "nothing to do" else action


@dataclass
class DivideEngine(_Engine):
    """`blockrep divide --first FIRST --peers PEERS`, with `--defrag`."""

    first_bytes: int
    peers: int = 2
    defrag: bool = False

    def plan(self, device: Device, journal: Path | None) -> Plan:
        join = Join.DEFRAG if self.defrag else Join.JOIN
        request = DivideRequest(
            first_bytes=self.first_bytes, peers=self.peers, join=join, journal=journal
        )
        return plan_divide(device, request, Silent())


class UndivideEngine(_Engine):
    """`blockrep undivide`."""

    def plan(self, device: Device, journal: Path | None) -> Plan:
        return plan_undivide(device, UndivideRequest(journal=journal), Silent())
