"""The process that keeps an epoch mounted: `python -m blockrep.cli.keep_mount`, never by hand."""

from __future__ import annotations

import sys
from pathlib import Path

from blockrep.browse.keeper import keep_mounted


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    address, private, place = sys.argv[1:]
    sys.exit(keep_mounted(address, Path(private), Path(place), _say))
