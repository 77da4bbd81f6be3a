"""What a holder's side needs of the segments, and who may do what with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from blockrep.errors import PeerBusy
from blockrep.segment.clock import Clock
from blockrep.segment.store import Store


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as TLS has proven, and what it may do here.

    `may_write` its own replica; `may_read` the replicas of these owner keys, and name another
    writer for those of `may_take_over`.
    """

    key: bytes
    name: str
    may_write: bool
    may_read: frozenset[bytes]
    may_take_over: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Holder:
    """This machine as a holder: the key that signs receipts.

    `is_holder` tells whether a key is of another member whose receipts count.
    """

    key: bytes
    sign: Callable[[bytes], bytes]
    is_holder: Callable[[bytes], bool]
    clock: Clock


@dataclass(frozen=True, slots=True)
class Request:
    """An owner without a segment asks for one."""

    group_id: bytes
    owner_key: bytes
    device_id: bytes
    owner_name: str
    writer: bytes
    content_bytes: int
    escrow: bytes


class StoreDirectory(Protocol):
    """The segments of this machine. Methods may be called from any thread."""

    def find(self, owner_key: bytes, device_id: bytes) -> Store | None:
        """The segment that holds this replica."""

    def assign(self, request: Request) -> Store:
        """Give a free segment to an owner; `DoesNotFit` with the numbers when there is none."""


class Writers:
    """At most one session writes a segment; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: set[tuple[bytes, bytes]] = set()

    @contextmanager
    def only(self, owner_key: bytes, device_id: bytes) -> Iterator[None]:
        """Within it nobody else writes this replica; `PeerBusy` when somebody does."""
        name = (owner_key, device_id)
        with self._lock:
            if name in self._busy:
                raise PeerBusy("another session writes this segment")
            self._busy.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._busy.remove(name)
