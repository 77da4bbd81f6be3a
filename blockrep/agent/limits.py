"""How many connections there may be, and how fast they may come (docs/wire-protocol.md, Limits).

Pure: the time is given. What is past a limit is told so or just closed, and costs nothing more.
"""

from __future__ import annotations

import threading
from collections import Counter, deque

MAX_CONNECTIONS = 64
MAX_PER_MEMBER = 8
# Of one address, and of all: a stranger who stays must not shut out the others.
MAX_WITHOUT_KEY = 2
MAX_STRANGERS = 16
MAX_NEW_PER_SECOND = 10
# Of one address: who says nothing must not keep the others out.
MAX_UNPROVEN = 8
# Addresses of which something is remembered: a flood of forged ones must not take memory.
_MAX_ADDRESSES = 1024
_WINDOW_S = 1.0


class ConnectionLimits:
    """Counts connections: `admit` at the accept, `name` when it is known who it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = 0
        self._per_key: Counter[bytes | str] = Counter()
        self._strangers = 0
        self._unproven: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = {}

    def admit(self, address: str, now_s: float) -> bool:
        """Whether one more from this address may begin.

        It then counts until `leave`, and until `settle` as one of which nothing is known.
        """
        with self._lock:
            full = self._total >= MAX_CONNECTIONS or self._unproven[address] >= MAX_UNPROVEN
            if full or not self._is_slow_enough(address, now_s):
                return False
            self._total += 1
            self._unproven[address] += 1
            return True

    def settle(self, address: str) -> None:
        """The handshake of one from this address is over, or it has ended before."""
        with self._lock:
            self._unproven[address] -= 1
            if not self._unproven[address]:
                del self._unproven[address]

    def name(self, key: bytes | None, address: str) -> bool:
        """Whether one more of this member, or of nobody (None) at this address, may go on."""
        who, most = (address, MAX_WITHOUT_KEY) if key is None else (key, MAX_PER_MEMBER)
        with self._lock:
            too_many_strangers = key is None and self._strangers >= MAX_STRANGERS
            if too_many_strangers or self._per_key[who] >= most:
                return False
            self._per_key[who] += 1
            self._strangers += key is None
            return True

    def unname(self, key: bytes | None, address: str) -> None:
        """The end of what `name` let in."""
        who = address if key is None else key
        with self._lock:
            self._strangers -= key is None
            self._per_key[who] -= 1
            if not self._per_key[who]:
                del self._per_key[who]

    def leave(self) -> None:
        """The end of what `admit` let in."""
        with self._lock:
            self._total -= 1

    def _is_slow_enough(self, address: str, now_s: float) -> bool:
        recent = self._recent.get(address)
        if recent is None:
            if len(self._recent) >= _MAX_ADDRESSES:
                self._forget(now_s)
            if len(self._recent) >= _MAX_ADDRESSES:
                return False
            recent = self._recent[address] = deque(maxlen=MAX_NEW_PER_SECOND)
        if len(recent) == MAX_NEW_PER_SECOND and now_s - recent[0] < _WINDOW_S:
            return False
        recent.append(now_s)
        return True

    def _forget(self, now_s: float) -> None:
        old = [a for a, times in self._recent.items() if now_s - times[-1] >= _WINDOW_S]
        for address in old:
            del self._recent[address]
