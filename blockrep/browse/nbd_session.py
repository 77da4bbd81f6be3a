"""One NBD client on its socket, from the greeting to the end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from blockrep.browse import nbd_protocol as nbd
from blockrep.errors import BlockrepError

DISCARD_BYTES = 1 << 16


class Readable(Protocol):
    """A `View`, or any other bytes."""

    def read(self, offset_bytes: int, length_bytes: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Export:
    """A range of the disk by name; the empty name is the one that clients take by default."""

    name: str
    start_bytes: int
    length_bytes: int
    description: str = ""


Report: TypeAlias = Callable[[str, int], None]
"""Told why a read failed, and how many bytes were asked for, before the client hears of it."""


def ignore(_why: str, _length_bytes: int) -> None:
    """For whom the client's error is enough."""


class Gone(Exception):
    """The client has gone, or does not speak NBD."""


def serve_client(
    client: socket.socket,
    disk: Readable,
    exports: Mapping[bytes, Export],
    report: Report = ignore,
) -> None:
    """One connection to its end; returns whatever the client says or does not say."""
    try:
        export = _Handshake(client, exports).run()
        while export is not None and _answer_request(client, disk, export, report):
            pass
    except (Gone, OSError):
        return


class _Handshake:
    """Options until the client has chosen an export."""

    def __init__(self, client: socket.socket, exports: Mapping[bytes, Export]) -> None:
        self._client = client
        self._exports = exports
        self._pad = True

    def run(self) -> Export | None:
        """The chosen export; None when the client leaves."""
        self._client.sendall(nbd.GREETING)
        flags = nbd.CLIENT_FLAGS.unpack(_receive(self._client, nbd.CLIENT_FLAGS.size))[0]
        if flags & ~nbd.KNOWN_CLIENT_FLAGS:
            raise Gone
        self._pad = not flags & nbd.NO_ZEROES
        while True:
            option, data = self._next_option()
            if data is None:
                self._say(option, nbd.Answer.TOO_BIG)
            elif option == nbd.Option.EXPORT_NAME:
                return self._export_name(data)
            elif option == nbd.Option.ABORT:
                self._say(option, nbd.Answer.ACK)
                return None
            elif (export := self._answer(option, data)) is not None:
                return export

    def _next_option(self) -> tuple[int, bytes | None]:
        """The option and its data, None if that is more than any option has."""
        magic, option, length = nbd.OPTION.unpack(_receive(self._client, nbd.OPTION.size))
        if magic != nbd.OPTION_MAGIC or length > nbd.MAX_PAYLOAD_BYTES:
            raise Gone
        if length > nbd.MAX_OPTION_BYTES:
            _discard(self._client, length)
            return option, None
        return option, _receive(self._client, length)

    def _answer(self, option: int, data: bytes) -> Export | None:
        if option == nbd.Option.LIST:
            self._list(data)
        elif option in (nbd.Option.INFO, nbd.Option.GO):
            export = self._describe(option, data)
            return export if option == nbd.Option.GO else None
        else:
            self._say(option, nbd.Answer.UNSUPPORTED)
        return None

    def _export_name(self, name: bytes) -> Export:
        """The old way has no answer for a name that is not there but the end."""
        export = self._exports.get(name)
        if export is None:
            raise Gone
        pad = bytes(nbd.PAD_BYTES if self._pad else 0)
        self._client.sendall(nbd.build_size(export.length_bytes) + pad)
        return export

    def _list(self, data: bytes) -> None:
        if data:
            self._say(nbd.Option.LIST, nbd.Answer.INVALID)
            return
        for name, export in self._exports.items():
            listing = nbd.build_listing(name, export.description.encode())
            self._say(nbd.Option.LIST, nbd.Answer.SERVER, listing)
        self._say(nbd.Option.LIST, nbd.Answer.ACK)

    def _describe(self, option: int, data: bytes) -> Export | None:
        choice = nbd.parse_choice(data)
        if choice is None:
            self._say(option, nbd.Answer.INVALID)
            return None
        name, wanted = choice
        export = self._exports.get(name)
        if export is None:
            self._say(option, nbd.Answer.UNKNOWN)
            return None
        infos = {nbd.Info.EXPORT: nbd.build_size(export.length_bytes)}
        if nbd.Info.NAME in wanted:
            infos[nbd.Info.NAME] = name
        if nbd.Info.DESCRIPTION in wanted and export.description:
            infos[nbd.Info.DESCRIPTION] = export.description.encode()
        if nbd.Info.BLOCK_SIZE in wanted:
            infos[nbd.Info.BLOCK_SIZE] = nbd.build_block_sizes()
        for info, rest in infos.items():
            self._say(option, nbd.Answer.INFO, nbd.build_info(info, rest))
        self._say(option, nbd.Answer.ACK)
        return export

    def _say(self, option: int, answer: nbd.Answer, data: bytes = b"") -> None:
        self._client.sendall(nbd.build_answer(option, answer, data))


def _answer_request(client: socket.socket, disk: Readable, export: Export, report: Report) -> bool:
    """One request; False when it was the last."""
    request = nbd.parse_request(_receive(client, nbd.REQUEST.size))
    if request is None:
        raise Gone
    if request.command == nbd.Command.DISCONNECT:
        return False
    if request.command == nbd.Command.READ:
        client.sendall(_read(disk, export, request, report))
        return True
    if request.command == nbd.Command.WRITE:
        if request.length_bytes > nbd.MAX_PAYLOAD_BYTES:
            raise Gone
        _discard(client, request.length_bytes)
    client.sendall(nbd.build_reply(request.cookie, _fault_of(request.command)))
    return True


def _fault_of(command: int) -> int:
    if command == nbd.Command.FLUSH:
        return 0
    writes = (nbd.Command.WRITE, nbd.Command.TRIM, nbd.Command.WRITE_ZEROES)
    return nbd.Fault.PERMISSION if command in writes else nbd.Fault.INVALID


def _read(disk: Readable, export: Export, request: nbd.Request, report: Report) -> bytes:
    end = request.offset_bytes + request.length_bytes
    if request.length_bytes > nbd.MAX_PAYLOAD_BYTES or end > export.length_bytes or request.flags:
        return nbd.build_reply(request.cookie, nbd.Fault.INVALID)
    try:
        data = disk.read(export.start_bytes + request.offset_bytes, request.length_bytes)
    except BlockrepError as error:
        report(error.message, request.length_bytes)
        return nbd.build_reply(request.cookie, nbd.Fault.IO)
    return nbd.build_reply(request.cookie) + data


def _receive(client: socket.socket, length: int) -> bytes:
    """Exactly so many bytes, which were checked against a cap."""
    parts = bytearray()
    while len(parts) < length:
        part = client.recv(length - len(parts))
        if not part:
            raise Gone
        parts += part
    return bytes(parts)


def _discard(client: socket.socket, length: int) -> None:
    while length:
        length -= len(_receive(client, min(length, DISCARD_BYTES)))
