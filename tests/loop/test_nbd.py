"""The NBD server, judged by libnbd and QEMU, and by clients that do not keep to the protocol."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from epochs_in_memory import KEY, MemoryEpoch, make_epoch
from hypothesis import given
from hypothesis import strategies as st
from oracles import run

from blockrep.browse import nbd_protocol as nbd
from blockrep.browse.nbd import MAX_CONNECTIONS, Export, NbdServer, exports_of
from blockrep.browse.nbd_session import serve_client
from blockrep.browse.view import View
from blockrep.errors import ReplicaDamaged
from blockrep.transfer.plain import PlainEpoch

CONTENT = 12 * MIB
DISK = 20 * MIB


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk with two partitions, rubbish behind the first area, and large holes."""
    path = sparse_file(tmp_path / "owner.img", DISK)
    with path.open("r+b") as disk:
        for at in (MIB, 5 * MIB + 12345, 11 * MIB):
            disk.seek(at)
            disk.write(os.urandom(300_000))
    script = "label: gpt\nstart=1MiB, size=3MiB, name=one\nstart=5MiB, size=7MiB\nsize=4MiB\n"
    run("sfdisk", "-q", path, stdin=script)
    with path.open("r+b") as disk:
        disk.seek(CONTENT)
        disk.write(os.urandom(MIB))
    return path


@pytest.fixture
def source(image: Path) -> MemoryEpoch:
    return make_epoch(image, CONTENT)


@pytest.fixture
def expected(image: Path) -> Path:
    with image.open("r+b") as disk:
        disk.truncate(CONTENT)
        disk.truncate(DISK)
    return image


@pytest.fixture
def view(source: MemoryEpoch) -> View:
    return View(PlainEpoch([source], KEY))


@pytest.fixture
def server(tmp_path: Path, view: View) -> Iterator[str]:
    path = tmp_path / "socket"
    with NbdServer(path, view, exports_of(view)):
        yield f"nbd+unix:///?socket={path}"
    assert not path.exists()


def test_the_view_is_the_disk_as_it_was(expected: Path, view: View) -> None:
    data = expected.read_bytes()
    rng = random.Random(1)
    for _ in range(300):
        start = rng.randrange(DISK)
        length = rng.randrange(min(DISK - start, 3 * MIB) + 1)
        assert view.read(start, length) == data[start : start + length]
    for outside in ((-1, 1), (0, DISK + 1), (DISK, 1), (0, -1)):
        with pytest.raises(ValueError, match="outside"):
            view.read(*outside)


def test_the_view_reads_ahead_and_keeps_little(image: Path, source: MemoryEpoch) -> None:
    view = View(PlainEpoch([source], KEY), cache_chunks=1)
    source.reads = 0
    for at in range(0, CONTENT, 4096):
        view.read(at, 4096)
    assert source.reads <= len(source.stored) // 2
    assert len(view._cache) <= 64


def test_libnbd_sees_the_disk_and_its_partitions(server: str) -> None:
    found = json.loads(run("nbdinfo", "--list", "--json", server))["exports"]
    said = {e["export-name"]: (e["export-size"], e["is_read_only"]) for e in found}
    assert said == {"": (DISK, True), "1": (3 * MIB, True), "2": (7 * MIB, True)}
    assert found[1]["description"] == "epoch 1, one"
    assert all(e["can_multi_conn"] for e in found)


def test_nbdcopy_and_qemu_read_what_was_stored(server: str, expected: Path, tmp_path: Path) -> None:
    run("nbdcopy", server, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == expected.read_bytes()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", server, expected)
    part = server.replace(":///", ":///2")
    run("qemu-img", "convert", "-f", "raw", "-O", "raw", part, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == expected.read_bytes()[5 * MIB : CONTENT]


def test_an_export_that_is_not_there(server: str) -> None:
    run("nbdinfo", server.replace(":///", ":///9"), ok=(1,))


def test_a_damaged_chunk_is_an_error_and_nothing_else(
    tmp_path: Path, source: MemoryEpoch, expected: Path
) -> None:
    victim = max(source.stored)
    source.rotten = {victim}
    view, said = View(PlainEpoch([source], KEY)), list[str]()
    with pytest.raises(ReplicaDamaged, match=f"byte {victim * 65536}"):
        view.read(victim * 65536 + 5, 1)
    path = tmp_path / "socket"
    with NbdServer(path, view, exports_of(view), lambda why, _: said.append(why)):
        done = subprocess.run(
            ["nbdcopy", f"nbd+unix:///?socket={path}", str(tmp_path / "copy")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode and "Input/output error" in done.stderr
        good = slice(0, victim * 65536)
        run("qemu-io", "-r", "-f", "raw", "-c", f"read 0 {good.stop}",
            f"nbd+unix:///?socket={path}")  # fmt: skip
    assert any(str(victim * 65536) in text for text in said)


def test_another_user_cannot_connect(tmp_path: Path, view: View) -> None:
    path = tmp_path / "socket"
    with NbdServer(path, view, exports_of(view)) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        server.give_to(65534, 65534)
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


# ---- clients of our own


class Zeros:
    def read(self, _offset: int, length_bytes: int) -> bytes:
        return bytes(length_bytes)


EXPORTS = {b"": Export("", 0, 1 << 20), b"x" * 100: Export("x" * 100, 5, 7, "text")}


def talk(data: bytes) -> bytes:
    """What the server says to a client that says all this and hangs up."""
    ours, theirs = socket.socketpair()
    with ours:
        thread = threading.Thread(target=serve_client, args=(theirs, Zeros(), EXPORTS))
        thread.start()
        said = bytearray()
        reader = threading.Thread(target=lambda: said.extend(receive_all(ours)))
        reader.start()
        try:
            ours.sendall(data)
            ours.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        thread.join(10)
        assert not thread.is_alive()
        # Not closed at once: what it did not read would make that a reset, and lose what it said.
        theirs.shutdown(socket.SHUT_WR)
        reader.join()
        theirs.close()
    return bytes(said)


def receive_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def option(number: int, data: bytes = b"") -> bytes:
    return nbd.OPTION.pack(nbd.OPTION_MAGIC, number, len(data)) + data


def request(command: int, offset: int = 0, length: int = 0, flags: int = 0) -> bytes:
    return nbd.REQUEST.pack(nbd.REQUEST_MAGIC, flags, command, 77, offset, length)


HELLO = nbd.CLIENT_FLAGS.pack(3)
GO = HELLO + option(7, struct.pack(">IH", 0, 0))


def after_go(data: bytes) -> bytes:
    plain = talk(GO)
    said = talk(GO + data)
    assert said.startswith(plain)
    return said[len(plain) :]


def test_the_old_way_to_choose() -> None:
    size = nbd.build_size(1 << 20)
    assert talk(HELLO + option(1)) == nbd.GREETING + size
    assert talk(nbd.CLIENT_FLAGS.pack(1) + option(1)) == nbd.GREETING + size + bytes(124)
    assert talk(HELLO + option(1, b"unknown")) == nbd.GREETING
    assert talk(nbd.CLIENT_FLAGS.pack(7) + option(1)) == nbd.GREETING


def test_options_that_we_do_not_know_are_refused_and_the_next_one_is_heard() -> None:
    end = nbd.build_answer(2, nbd.Answer.ACK)
    for number in (5, 8, 9, 10, 999):
        said = talk(HELLO + option(number, b"data") + option(2))
        assert said == nbd.GREETING + nbd.build_answer(number, nbd.Answer.UNSUPPORTED) + end
    said = talk(HELLO + option(6, bytes(8193)) + option(2))
    assert said == nbd.GREETING + nbd.build_answer(6, nbd.Answer.TOO_BIG) + end
    for bad in (b"", bytes(5), struct.pack(">IH", 1, 0), struct.pack(">IH", 0, 1)):
        said = talk(HELLO + option(7, bad) + option(2))
        assert said == nbd.GREETING + nbd.build_answer(7, nbd.Answer.INVALID) + end


def test_reads_that_cannot_be_and_writes_are_refused() -> None:
    ok = nbd.build_reply(77)
    assert after_go(request(0, 5, 3)) == ok + bytes(3)
    for offset, length in ((1 << 20, 1), (0, (1 << 20) + 1), ((1 << 64) - 1, 2), (0, 1 << 31)):
        assert after_go(request(0, offset, length)) == nbd.build_reply(77, 22)
    assert after_go(request(0, 0, 1, flags=1)) == nbd.build_reply(77, 22)
    denied = nbd.build_reply(77, 1)
    assert after_go(request(1, 0, 4) + b"data" + request(3)) == denied + ok
    assert after_go(request(4, 0, 4) + request(6, 0, 4)) == denied + denied
    assert after_go(request(99)) == nbd.build_reply(77, 22)
    assert after_go(request(1, 0, 1 << 31) + b"data") == b""
    assert after_go(request(2) + request(3)) == b""


@given(st.binary(max_size=400), st.integers(0, 3))
def test_nonsense_ends_its_own_connection(data: bytes, place: int) -> None:
    before = (b"", HELLO, GO, HELLO + nbd.OPTION_MAGIC)[place]
    assert talk(before + data).startswith(nbd.GREETING)


@given(st.data())
def test_a_true_dialogue_with_a_changed_byte(data: st.DataObject) -> None:
    talk_of = bytearray(
        HELLO + option(3) + option(6, struct.pack(">IHHHH", 0, 3, 1, 2, 3))
        + option(7, struct.pack(">IH", 0, 0)) + request(0, 0, 64) + request(2)
    )  # fmt: skip
    at = data.draw(st.integers(0, len(talk_of) - 1))
    talk_of[at] = data.draw(st.integers(0, 255))
    talk(bytes(talk_of[: data.draw(st.integers(at, len(talk_of)))]))


def test_too_many_connections_are_turned_away(tmp_path: Path, view: View) -> None:
    path = tmp_path / "socket"
    with NbdServer(path, view, exports_of(view)):
        clients = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS + 1)]
        try:
            for client in clients[:-1]:
                client.connect(str(path))
                assert client.recv(18) == nbd.GREETING
            clients[-1].connect(str(path))
            assert clients[-1].recv(18) == b""
        finally:
            for client in clients[1:]:
                client.close()
    assert clients[0].recv(1) == b""  # the server closed it
    clients[0].close()


def test_a_bare_disk_has_one_export(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "bare", 2 * MIB)
    image.write_bytes(b"\xff" * MIB + bytes(MIB))
    source = make_epoch(image, MIB, key=None)
    source.epoch = replace(source.epoch, disk_bytes=2 * MIB)
    view = View(PlainEpoch([source], None))
    assert [(e.name, e.length_bytes) for e in exports_of(view)] == [("", 2 * MIB)]
