"""The verbs that only look: devices, inspect, show."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from blockrep.cli.device_table import device_lines
from blockrep.cli.disk_map import scene_of_inspection
from blockrep.cli.document import to_plain
from blockrep.cli.session import Session
from blockrep.cli.svg import build_svg
from blockrep.cli.terminal import clean
from blockrep.cli.text import FILE_HEADER, divided_lines, file_line, inspection_lines
from blockrep.divide.summary import FilePlace, Inspection
from blockrep.errors import UsageError
from blockrep.units import format_share


def run_devices(session: Session, arguments: Namespace) -> None:
    with session.stopper.immediate():
        devices = session.engine.list_devices()
    session.document["devices"] = [
        {**to_plain(device), "can_be_divided": not device.obstacles} for device in devices
    ]
    session.say(device_lines(devices, session.terminal))


def run_show(session: Session, arguments: Namespace) -> None:
    with session.engine.open_device(arguments.disk, writable=False) as device:
        disk = session.engine.show_disk(device)
    session.document["divided"] = to_plain(disk)
    session.say(divided_lines(disk, session.terminal))


def run_inspect(session: Session, arguments: Namespace) -> None:
    if arguments.svg:
        _check_picture_path(arguments.svg, arguments.disk)
    with session.engine.open_device(arguments.disk, writable=False) as device:
        with session.progress() as progress:
            found = session.engine.inspect_disk(device, progress, files=arguments.files)
        if arguments.svg:
            _write_picture(arguments.svg, found)
        session.document["inspection"] = to_plain(replace(found, files=None))
        del session.document["inspection"]["files"]
        files = _stoppable(session, found.files or ())
        if arguments.files and session.json:
            session.answer_long("files", files)
        elif arguments.files:
            _list_files(session, files)
        else:
            session.say(inspection_lines(found, session.terminal))


def _list_files(session: Session, files: Iterable[FilePlace]) -> None:
    session.say([FILE_HEADER])
    for file in files:
        session.say([file_line(file)])


def _stoppable(session: Session, files: Iterable[FilePlace]) -> Iterator[FilePlace]:
    for file in files:
        session.stopper.raise_if_asked()
        yield file


def _check_picture_path(picture: Path, disk: Path) -> None:
    """The picture must not land on a disk: `--svg /dev/sda` is a slip that nothing would undo."""
    if not picture.exists():
        return
    if picture.is_block_device() or (disk.exists() and picture.samefile(disk)):
        raise UsageError(f"{picture} is a disk, not a place for a picture")


def _write_picture(path: Path, found: Inspection) -> None:
    subtitle = ""
    if found.filesystem:
        pieces = found.filesystem.fragmented_files / max(1, found.filesystem.files)
        subtitle = f"{found.filesystem.files} files, {format_share(pieces)} of them in pieces"
    if found.divided:
        subtitle = f"{subtitle}; {len(found.divided.segments)} segments".removeprefix("; ")
    try:
        path.write_text(build_svg(scene_of_inspection(found), subtitle), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {clean(str(path))}: {error.strerror}") from error
