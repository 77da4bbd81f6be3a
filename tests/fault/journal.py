"""The log in a file on another disk, as `--journal FILE` has it, for crash tests.

The states of two disks that are written at the same time would be a product. It is none here, as
one is only written while everything on the other is durable: that is checked at every write. So a
cut finds the file as it was when it was flushed last; what it held then is kept and laid out again
for every recovery.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

from blockrep.disk.device import Device
from blockrep.divide import journal_file, recover, transaction
from blockrep.divide.log_store import FileStore
from fault.recorder import RecordingDevice

MAGIC = b"BLKREPLG"


class _WatchedFile(FileStore):
    """Tells the recorder of the disk what it does, and keeps each whole log."""

    disk: ClassVar[RecordingDevice]
    kept: ClassVar[bytes] = b""

    def write(self, position: int, data: bytes) -> None:
        if self.disk.log.windows[-1]:
            raise AssertionError("the log file is written while the disk is not flushed")
        self.disk.elsewhere = True
        super().write(position, data)

    def flush(self) -> None:
        super().flush()
        self.disk.elsewhere = False
        content = self.path.read_bytes()
        if content.startswith(MAGIC):
            _WatchedFile.kept = content

    def remove(self) -> None:
        if self.disk.log.windows[-1]:
            raise AssertionError("the log file is removed while the disk is not flushed")
        super().remove()


@contextmanager
def watched_files(device: Device) -> Iterator[None]:
    """Within it, log files are watched; a device that is not recorded has none."""
    if not isinstance(device, RecordingDevice):
        raise TypeError("only a recorded run can have its log in a file")
    _WatchedFile.disk = device
    with (
        patch.object(transaction, "FileStore", _WatchedFile),
        patch.object(recover, "FileStore", _WatchedFile),
        patch.object(journal_file, "VOLATILE", frozenset()),  # memory stands for a disk here
    ):
        yield


def kept_log() -> bytes:
    """The last log that was flushed to a file."""
    return _WatchedFile.kept


def journal_beside(device: Device) -> Path:
    return device.path.with_suffix(".journal")
