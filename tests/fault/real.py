"""blockrep's own engine, as the crash tests drive it."""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.disk.device import Device
from blockrep.divide.commit import commit_plan
from blockrep.divide.plan import plan_divide
from blockrep.divide.recover import recover_disk
from blockrep.divide.summary import DivideRequest, UndivideRequest
from blockrep.divide.undivide import plan_undivide
from blockrep.progress import Silent
from fault.engine import NOTHING


class Recoverer:
    """What divide and undivide have in common."""

    def recover(self, device: Device, *, back: bool) -> str:
        outcome = recover_disk(device, Silent(), back=back)
        return NOTHING if outcome.action == "nothing to do" else outcome.action


@dataclass(frozen=True)
class DivideEngine(Recoverer):
    """`blockrep divide --first FIRST --peers PEERS`."""

    first_bytes: int
    peers: int = 2

    def run(self, device: Device) -> None:
        request = DivideRequest(first_bytes=self.first_bytes, peers=self.peers)
        with plan_divide(device, request, Silent()) as plan:
            commit_plan(device, plan, Silent())


class UndivideEngine(Recoverer):
    """`blockrep undivide`."""

    def run(self, device: Device) -> None:
        with plan_undivide(device, UndivideRequest(), Silent()) as plan:
            commit_plan(device, plan, Silent())
