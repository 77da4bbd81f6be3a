"""What all tests share: the seed, and how much to try."""

from __future__ import annotations

import os

import pytest


def pytest_report_header() -> str:
    return f"seed of the crash tests: {seed_number()} (CRASH_SEED)"


def seed_number() -> int:
    return int(os.environ.get("CRASH_SEED", "1"))


@pytest.fixture(scope="session")
def seed() -> int:
    return seed_number()
