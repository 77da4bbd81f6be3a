"""Sizes and shares as users write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrep.errors import UsageError
from blockrep.units import (
    format_bytes,
    format_duration,
    format_exact,
    format_share,
    parse_share,
    parse_size,
)

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1G", GIB),
        ("1g", GIB),
        ("1GiB", GIB),
        ("1 GiB", GIB),
        ("1GB", 10**9),
        ("1kB", 1000),
        ("1K", 1024),
        ("1.5G", 3 * GIB // 2),
        ("0.1G", GIB // 10),
        ("1073741824", GIB),
        ("512B", 512),
        ("2T", 2 << 40),
        ("1E", 1 << 60),
        ("11%", 9 * GIB * 11 // 100),
        ("12.5%", 9 * GIB // 8),
        ("100%", 9 * GIB),
    ],
)
def test_size_means(text: str, expected: int) -> None:
    assert parse_size(text).resolve(9 * GIB) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "G", "-1G", "+1G", "1.G", ".5G", "1,5G", "1e9", "0", "0G", "0%", "101%", "1Gb",
        "1iB", "1GIB", "1 0G", "0x10",
        "nan", "inf", "١G", "9E9999", "16E", "0.5", "1%%", "1G%", "1" * 40,
    ],
)  # fmt: skip
def test_no_size(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert caught.value.exit_code == 2


@given(st.text())
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    try:
        size = parse_size(text)
    except UsageError:
        return
    assert 0 <= size.resolve(GIB) < 1 << 63


@given(st.integers(1, (1 << 63) - 1), st.sampled_from(["", "B"]))
def test_bytes_are_exact(count: int, suffix: str) -> None:
    assert parse_size(f"{count}{suffix}").resolve(1) == count


@given(st.integers(1, 10**6), st.integers(0, 1 << 62))
def test_percent_is_exact_and_rounds_down(hundredths: int, device_bytes: int) -> None:
    hundredths = hundredths % 10000 + 1
    text = f"{hundredths // 100}.{hundredths % 100:02d}%"
    assert parse_size(text).resolve(device_bytes) == device_bytes * hundredths // 10000


@given(st.integers(0, 1 << 62))
def test_formatted_size_is_near(count: int) -> None:
    text = format_bytes(count)
    if count < 1024:
        assert text.split()[0] == str(count)
    else:
        assert parse_size(text).resolve(1) == pytest.approx(count, rel=0.006)
        assert float(text.split()[0]) < 1024


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (GIB, "1 GiB"),
        (GIB - 1, "1 GiB"),
        (3 * GIB // 2, "1.5 GiB"),
        (700 << 20, "700 MiB"),
        (1000204886016, "932 GiB"),
    ],
)
def test_format_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_format_exact() -> None:
    assert format_exact(GIB) == "1 GiB (1073741824 bytes)"
    assert format_exact(12) == "12 bytes"


@pytest.mark.parametrize(
    ("text", "share"), [("10%", 0.1), ("0", 0.0), ("0%", 0.0), ("2.5 %", 0.025)]
)
def test_share_means(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["10", "0.1", "100%", "-1%", "%", "", "ten"])
def test_no_share(text: str) -> None:
    with pytest.raises(UsageError):
        parse_share(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "less than a second"),
        (1, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3900, "1 h 5 min"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0001, "< 0.1 %"), (0.125, "12.5 %"), (0.03, "3 %"), (1, "100 %")],
)
def test_format_share(share: float, text: str) -> None:
    assert format_share(share) == text
