"""Epochs that readers hold on to, for a bounded time, in memory alone.

A cut of the holder frees them; the readers are gone then, too.
"""

from __future__ import annotations

from blockrep.errors import PeerBusy

MAX_PINS = 64
MAX_PIN_S = 86_400


class Pins:
    """Until which uptime which epoch must stay."""

    def __init__(self) -> None:
        self._until: dict[bytes, int] = {}

    def pin(self, epoch_id: bytes, seconds: int, uptime_s: int) -> int:
        """Hold on to an epoch; gives the seconds granted. A longer pin is not made shorter."""
        self._drop_expired(uptime_s)
        if epoch_id not in self._until and len(self._until) >= MAX_PINS:
            raise PeerBusy(f"{MAX_PINS} epochs are pinned already")
        until = uptime_s + max(0, min(seconds, MAX_PIN_S))
        self._until[epoch_id] = max(until, self._until.get(epoch_id, 0))
        return self._until[epoch_id] - uptime_s

    def held(self, uptime_s: int) -> frozenset[bytes]:
        """The epochs that are pinned now."""
        self._drop_expired(uptime_s)
        return frozenset(self._until)

    def _drop_expired(self, uptime_s: int) -> None:
        self._until = {key: until for key, until in self._until.items() if until > uptime_s}
