"""An owner in a process of its own: sends a sparse disk and prints the most memory it took.

Arguments: folder, MiB in use, ports of holders. Prints MiB after a full run, a differential one,
and another full one.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.extents import Extent
from blockrep.group.identity import identity_from_seed
from blockrep.group.tls import client_context
from blockrep.progress import Silent
from blockrep.transfer.channel import Channel
from blockrep.transfer.greeting import Self
from blockrep.transfer.kept import KeptMap
from blockrep.transfer.send import HolderLink, Mode, Owner, Plan, replicate
from blockrep.transfer.used import FirstArea

SIZE = 100 << 30
MIB = 1 << 20
ME = identity_from_seed(b"\xee" * 32)


def make_disk(path: Path, used_mib: int) -> list[Extent]:
    """`used_mib` pieces of noise all over it."""
    used = []
    with path.open("wb") as file:
        file.truncate(SIZE)
        for number in range(used_mib):
            at = number * (SIZE // used_mib) // 65536 * 65536
            file.seek(at)
            file.write(os.urandom(MIB))
            used.append(Extent(at, MIB))
    return used


def link(number: int, port: int) -> HolderLink:
    holder = identity_from_seed(bytes([number]) * 32)

    def dial() -> Channel:
        raw = socket.create_connection(("127.0.0.1", port), 20)
        context = client_context(ME, holder.certificate)
        return Channel(context.wrap_socket(raw), serving=False)

    return HolderLink(f"holder {number}", holder.key, dial)


class Watch:
    """The largest resident size since the last question, looked at twenty times a second."""

    def __init__(self) -> None:
        self.peak_kib = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            status = Path("/proc/self/status").read_text()
            now = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            self.peak_kib = max(self.peak_kib, int(now.split()[1]))

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def main() -> None:
    folder, used_mib = Path(sys.argv[1]), int(sys.argv[2])
    disk = folder / "disk.img"
    area = FirstArea(SIZE, tuple(make_disk(disk, used_mib)), b"", (), SIZE, 512)
    owner = Owner(Self(b"g" * 16, b"o" * 16, ME.key), ME.sign, b"d" * 16, "anna", b"")
    links = [link(number, int(port)) for number, port in enumerate(sys.argv[3:], 1)]
    kept = KeptMap(folder / "kept.map")
    watch = Watch()
    try:
        for mode in (Mode.FULL, Mode.DIFFERENTIAL, Mode.FULL):
            with Device(disk) as device:
                plan = Plan(owner, device, lambda: area, bytes(range(64)), mode, kept)
                for result in replicate(plan, links, Silent()):
                    if result.error is not None:
                        raise result.error
            print(watch.peak_kib // 1024, flush=True)
            watch.peak_kib = 0
    finally:
        watch.end()


if __name__ == "__main__":
    main()
