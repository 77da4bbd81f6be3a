"""An owner and its holders in one process: real TLS over loopback, real segments in image files."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from disks import sparse_file
from replicas import BLOCK, CHUNK, START, FakeClock

from blockrep.chunks import decrypt_blocks
from blockrep.disk.device import Device
from blockrep.divide.layout import SegmentPlan
from blockrep.errors import BlockrepError, DoesNotFit
from blockrep.extents import Extent
from blockrep.group.identity import identity_from_seed
from blockrep.group.tls import client_context, expect_peer, peer_key, server_context
from blockrep.progress import Progress, Silent
from blockrep.segment.epoch import Consistency, EpochPartition, PartitionKind, parse_epoch
from blockrep.segment.geometry import MIB, geometry_with_ring
from blockrep.segment.header import segment_writes
from blockrep.segment.store import Store
from blockrep.segment.values import Assignment
from blockrep.transfer.channel import Channel
from blockrep.transfer.fetch import Reader
from blockrep.transfer.frames import Kind
from blockrep.transfer.greeting import Self, answer_greeting
from blockrep.transfer.hold import HolderSession
from blockrep.transfer.kept import KeptMap
from blockrep.transfer.receipt import Receipt
from blockrep.transfer.send import HolderLink, HolderResult, Mode, Owner, Plan, replicate
from blockrep.transfer.stores import Holder, Peer, Request, Writers
from blockrep.transfer.used import FirstArea

GROUP = b"g" * 16
TIMEOUT_S = 20
KEY = bytes(range(64))


class Refusing(Exception):
    """A test's own way to end a connection."""


@dataclass
class Segments:
    """The directory of one holder: segments that are free, and those that are given."""

    free: list[Store]
    given: dict[tuple[bytes, bytes], Store] = field(default_factory=dict)
    lock_s: int = 0

    def find(self, owner_key: bytes, device_id: bytes) -> Store | None:
        return self.given.get((owner_key, device_id))

    def assign(self, request: Request) -> Store:
        for store in self.free:
            if store.info.capacity_bytes >= request.content_bytes:
                break
        else:
            most = max((s.info.capacity_bytes for s in self.free), default=0)
            raise DoesNotFit(f"it has {request.content_bytes} bytes, the largest segment {most}")
        store.assign(
            Assignment(
                *(request.group_id, request.owner_key, request.device_id, request.owner_name),
                *(request.writer, request.content_bytes, self.lock_s),
                escrow=request.escrow,
            )
        )
        self.free.remove(store)
        self.given[request.owner_key, request.device_id] = store
        return store


class HolderSide:
    """A machine that holds: one image with one segment, an open port."""

    def __init__(self, path: Path, seed: int, *, segment_mib: int = 32, ring_mib: int = 6) -> None:
        self.identity = identity_from_seed(bytes([seed]) * 32)
        self.clock = FakeClock()
        self.path = path
        make_segment(path, segment_mib, ring_mib)
        self.stack = ExitStack()
        self.device = self.stack.enter_context(Device(path, writable=True))
        self.store = Store.open(self.device, START, self.clock)
        self.segments = Segments([self.store])
        self.writers = Writers()
        self.members: dict[bytes, Peer] = {}
        self.certificates: list[bytes] = []
        self.errors: list[Exception] = []
        self.silence_s = 60.0
        self.before: Callable[[socket.socket], socket.socket] = lambda raw: raw
        self._server = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._listener = threading.Thread(target=self._accept)

    @property
    def key(self) -> bytes:
        return self.identity.key

    def trust(self, certificate: bytes, key: bytes, *, may_write: bool = True) -> None:
        self.members[key] = Peer(key, "anna", may_write, frozenset({key}), frozenset({key}))
        self.certificates.append(certificate)

    def reopen(self) -> None:
        """As after the machine was started again."""
        self.store = Store.open(self.device, START, self.clock)
        for name in self.segments.given:
            self.segments.given[name] = self.store

    def __enter__(self) -> HolderSide:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._listener.join(TIMEOUT_S)
        self.stack.close()

    def wait(self) -> None:
        """Until no connection is open any more."""
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
        self._threads.clear()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(raw,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        raw.settimeout(TIMEOUT_S)
        context = server_context(self.identity, self.certificates)
        try:
            with context.wrap_socket(self.before(raw), server_side=True) as tls:
                channel = Channel(tls, serving=True, name="the owner", silence_s=self.silence_s)
                self.serve(channel, peer_key(tls))
        except (BlockrepError, OSError, Refusing) as error:
            self.errors.append(error)
            raw.close()

    def serve(self, channel: Channel, key: bytes | None) -> None:
        """What the product's agent does with a connection."""
        if self.twist is not None:
            twist_answers(channel, self.twist)
        with channel:
            try:
                greeting = answer_greeting(channel, self.me, key)
            except BlockrepError as error:
                channel.end(error)
                raise
            holder = Holder(
                self.key, self.identity.sign, lambda key: key in self.others, self.clock
            )
            peer = self.members[key or b""]
            HolderSession(channel, greeting, peer, self.segments, self.writers, holder).run()

    others: frozenset[bytes] = frozenset()
    twist: Callable[[Kind, bytes], bytes | None] | None = None

    @property
    def me(self) -> Self:
        return Self(GROUP, b"holder-instance!", self.key)

    def address(self) -> tuple[str, int]:
        host, port = self._server.getsockname()
        return str(host), int(port)


def twist_answers(channel: Channel, twist: Callable[[Kind, bytes], bytes | None]) -> None:
    """Make a holder lie: what it posts is changed, or (None) not said."""
    post = channel.post

    def lie(kind: Kind, *parts: bytes) -> None:
        body = twist(kind, b"".join(parts))
        if body is not None:
            post(kind, body)

    channel.post = lie  # type: ignore[method-assign, assignment]


def make_segment(path: Path, segment_mib: int, ring_mib: int) -> None:
    segment_bytes, ring_bytes = segment_mib * MIB, ring_mib * MIB
    sparse_file(path, START + segment_bytes + MIB)
    geometry = geometry_with_ring(segment_bytes, ring_bytes)
    uuid = f"00112233-4455-6677-8899-{random.Random(str(path)).randbytes(6).hex().upper()}"
    plan = SegmentPlan(1, START, segment_bytes, geometry.data_bytes, ring_bytes, uuid)
    with path.open("r+b") as file:
        for write in segment_writes(plan, bytes(range(16))):
            file.seek(write.offset_bytes)
            file.write(write.data)


class OwnerSide:
    """A machine with one disk image; `used` is all of it unless a test says otherwise."""

    def __init__(self, folder: Path, content: bytes, *, key: bytes | None = KEY) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.identity = identity_from_seed(b"\xee" * 32)
        self.path = folder / "disk.img"
        self.path.write_bytes(content)
        self.kept = KeptMap(folder / "kept.map")
        self.key = key
        self.instance = b"owner-instance-1"
        self.device_id = b"d" * 16
        self.used: list[Extent] | None = None
        self.mode = Mode.DIFFERENTIAL
        self.receipts: tuple[Receipt, ...] = ()
        self.fingerprint: Callable[[], bytes] = bytes

    @property
    def me(self) -> Self:
        return Self(GROUP, self.instance, self.identity.key)

    def area(self) -> FirstArea:
        size = self.path.stat().st_size
        whole = EpochPartition(0, Consistency.NOT_IN_USE, PartitionKind.OTHER, 0, size)
        used = [Extent(0, size)] if self.used is None else self.used
        return FirstArea(size, tuple(used), self.fingerprint(), (whole,), size, 512)

    def owner(self) -> Owner:
        return Owner(self.me, self.identity.sign, self.device_id, "anna", b"escrow of anna")

    def link(self, holder: HolderSide) -> HolderLink:
        return HolderLink(f"holder {holder.path.stem}", holder.key, lambda: self.dial(holder))

    def dial(self, holder: HolderSide) -> Channel:
        raw = socket.create_connection(holder.address(), TIMEOUT_S)
        context = client_context(self.identity, holder.identity.certificate)
        tls: ssl.SSLSocket = context.wrap_socket(raw)
        expect_peer(tls, holder.key)
        return Channel(tls, serving=False, name=holder.path.stem)

    def back_up(
        self, *holders: HolderSide, progress: Progress | None = None, **changes: object
    ) -> list[HolderResult]:
        return self.replicate([self.link(holder) for holder in holders], progress, **changes)

    def replicate(
        self, links: list[HolderLink], progress: Progress | None = None, **changes: object
    ) -> list[HolderResult]:
        with Device(self.path) as device:
            plan = Plan(
                owner=self.owner(),
                device=device,
                survey=self.area,
                data_key=self.key,
                mode=self.mode,
                kept=self.kept,
                receipts=self.receipts,
                **changes,  # type: ignore[arg-type]
            )
            return replicate(plan, links, progress or Silent())

    def reader(self, holder: HolderSide) -> Reader:
        return Reader(
            self.dial(holder),
            self.me,
            holder.key,
            self.identity.key,
            self.device_id,
        )

    def forget(self) -> None:
        """As if the state folder was lost."""
        for path in self.path.parent.glob("kept.map*"):
            path.unlink()

    def snapshot(self) -> dict[str, bytes]:
        """Disk and state folder as they are."""
        return {p.name: p.read_bytes() for p in self.path.parent.iterdir() if p.is_file()}

    def set_back(self, snapshot: dict[str, bytes]) -> None:
        """As after an older image of the whole machine was put back."""
        for name, content in snapshot.items():
            (self.path.parent / name).write_bytes(content)

    # ---- the oracle

    def expected(self) -> bytes:
        """What a replica shall give: used blocks as they are, zeros elsewhere."""
        disk = self.path.read_bytes()
        result = bytearray(len(disk))
        for start, length in self.area().used:
            result[start : start + length] = disk[start : start + length]
        return bytes(result)

    def plain(self, chunk: int, mask: int, blocks: bytes) -> bytes:
        """A whole chunk from its stored blocks."""
        data = bytearray(blocks)
        if self.key is not None:
            decrypt_blocks(self.key, [chunk], [mask], data)
        result, at = bytearray(CHUNK), 0
        for n in range(16):
            if mask >> n & 1:
                result[n * BLOCK : (n + 1) * BLOCK] = data[at : at + BLOCK]
                at += BLOCK
        return bytes(result)

    def replica(self, holder: HolderSide, epoch_id: bytes | None = None) -> bytes:
        """The newest epoch (or another one) that the holder's segment has, decrypted."""
        store = holder.segments.given[self.identity.key, self.device_id]
        record = store.info.epoch
        assert record is not None
        view = store.view(epoch_id or parse_epoch(record).id)
        view.verify()
        size = view.epoch.content_bytes
        result = bytearray(-(-size // CHUNK) * CHUNK)
        for chunk in range(len(result) // CHUNK):
            mask = chunk_mask(view.map_pages(chunk // 102, 1), chunk)
            blocks, damaged = view.read([(chunk, mask)])
            assert damaged == [False]
            result[chunk * CHUNK : (chunk + 1) * CHUNK] = self.plain(chunk, mask, blocks)
        return bytes(result[:size])


def chunk_mask(page: bytes, chunk: int) -> int:
    at = 16 + chunk % 102 * 40
    return int.from_bytes(page[at : at + 2], "little")


def random_disk(seed: int, size_bytes: int, *, zero_share: float = 0.3) -> bytes:
    """Blocks of noise, and some of zeros."""
    rng = random.Random(seed)
    blocks = [
        bytes(BLOCK) if rng.random() < zero_share else rng.randbytes(64) * (BLOCK // 64)
        for _ in range(size_bytes // BLOCK)
    ]
    return b"".join(blocks)


def change_blocks(path: Path, numbers: list[int], seed: int) -> None:
    rng = random.Random(seed)
    with path.open("r+b") as file:
        for number in numbers:
            file.seek(number * BLOCK)
            file.write(rng.randbytes(BLOCK))


@contextmanager
def two_sides(
    tmp_path: Path, content: bytes, *, holders: int = 1, key: bytes | None = KEY, **shape: int
) -> Iterator[tuple[OwnerSide, list[HolderSide]]]:
    owner = OwnerSide(tmp_path / "owner", content, key=key)
    with ExitStack() as stack:
        sides = []
        for number in range(1, holders + 1):
            side = HolderSide(tmp_path / f"h{number}.img", number, **shape)
            side.trust(owner.identity.certificate, owner.identity.key)
            sides.append(stack.enter_context(side))
        for side in sides:
            side.others = frozenset(other.key for other in sides)
        yield owner, sides
