"""The port: accepts peers within the limits, a thread for each, and lets none outlive the agent."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from blockrep.agent.config import Address
from blockrep.agent.limits import ConnectionLimits
from blockrep.agent.log import Log
from blockrep.errors import PermissionMissing, UsageError

_BACKLOG = 64
_AFTER_A_FAILURE_S = 0.1


class Connection:
    """A peer that was accepted. `socket` is for `serve`; any thread may `cut` it.

    `key` is what the peer has proven, None before that or where it showed none; `group_id` the
    group that it came for.
    """

    def __init__(self, client: socket.socket, address: str, limits: ConnectionLimits) -> None:
        self.socket = client
        self.address = address
        self._limits = limits
        self._settled = False
        self.key: bytes | None = None
        self.group_id: bytes | None = None
        # TLS takes the descriptor over; this one stays ours to cut.
        self._handle = client.dup()

    def settle(self) -> None:
        """The handshake is over: it is known who is there, or that it is nobody."""
        if not self._settled:
            self._settled = True
            self._limits.settle(self.address)

    def cut(self) -> None:
        """End both ways at once: whoever waits in it wakes."""
        with contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it; it does not count any more."""
        self.socket.close()
        self._handle.close()
        self.settle()
        self._limits.leave()


Serve = Callable[[Connection], None]


class Listener:
    """Accepts TCP connections and has `serve` speak with each, in a thread of its own."""

    def __init__(self, address: Address, serve: Serve, limits: ConnectionLimits, log: Log) -> None:
        self._serve = serve
        self._limits = limits
        self._log = log
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, Connection] = {}
        self._socket = _listen(address)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def connections(self) -> list[Connection]:
        """Those that are open now. Nothing is locked while the caller looks at them."""
        with self._lock:
            return list(self._open.values())

    def close(self, timeout_s: float) -> None:
        """Accept no more, cut all connections, and wait for their threads."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._socket.close()
        with self._lock:
            open_now = dict(self._open)
        for connection in open_now.values():
            connection.cut()
        until = time.monotonic() + timeout_s
        for thread in open_now:
            thread.join(max(0.0, until - time.monotonic()))

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, peer = self._socket.accept()
            except OSError as error:
                if not self._over.is_set():
                    self._log.warning(f"cannot accept a connection: {error}")
                    self._over.wait(_AFTER_A_FAILURE_S)
                continue
            address = str(peer[0])
            # Past a limit it is closed before the handshake, whose arithmetic is what costs.
            if not self._limits.admit(address, time.monotonic()):
                client.close()
                continue
            self._begin(Connection(client, address, self._limits))

    def _begin(self, connection: Connection) -> None:
        thread = threading.Thread(
            target=self._run, args=(connection,), name=f"peer {connection.address}", daemon=True
        )
        with self._lock:
            self._open[thread] = connection
        thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            self._serve(connection)
        except OSError as error:
            self._log.info(f"{connection.address}: the connection ended: {error}")
        except Exception as error:
            self._log.error(f"{connection.address}: unexpected {type(error).__name__}: {error}")
        finally:
            with self._lock:
                del self._open[threading.current_thread()]
            connection.close()


def _listen(address: Address) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, _, _, place = found[0]
        listening = socket.socket(family, kind | socket.SOCK_CLOEXEC)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # `::` takes IPv4 too, whatever the system's default.
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind(place)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except PermissionError as error:
        raise PermissionMissing(f"no permission to listen at {address}") from error
    except OSError as error:
        raise UsageError(f"cannot listen at {address}: {error.strerror or error}") from error
    return listening
