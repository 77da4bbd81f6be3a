"""An owner's memory grows neither with the disk nor with the number of holders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
HOLDERS = 8
MOST_MIB = 150
SIZE = 100 << 30
CERTIFICATE_AND_KEY = """
from blockrep.group.identity import identity_from_seed
me = identity_from_seed(b"\\xee" * 32)
print(me.certificate.hex(), me.key.hex())
"""


def python(*words: object) -> list[str]:
    return [sys.executable, *map(str, words)]


@pytest.mark.slow
def test_a_sparse_disk_to_eight_holders(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    made = subprocess.run(
        python("-c", CERTIFICATE_AND_KEY), capture_output=True, text=True, check=True
    )
    sink = python(TESTS / "sink.py", tmp_path, HOLDERS, SIZE, *made.stdout.split())
    with subprocess.Popen(
        sink, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as holders:
        assert holders.stdout is not None
        ports = holders.stdout.readline().split()
        try:
            owner = subprocess.run(
                python(TESTS / "transfer" / "owner_process.py", tmp_path, 1024, *ports),
                capture_output=True,
                text=True,
                env=environment,
                timeout=600,
                check=False,
            )
        finally:
            holders.communicate()
    assert owner.returncode == 0, owner.stderr
    peaks = [int(line) for line in owner.stdout.split()]
    print("MiB at most, full, differential, full again:", *peaks)
    assert len(peaks) == 3
    assert max(peaks) <= MOST_MIB
