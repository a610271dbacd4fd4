"""The price list: what it says is what AWS says, and what it does not say is assumed to be dear."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.cost import lambda_prices, lambda_rate, price_list, storage_prices
from cloudbutton_backend.cost.price_list import Architecture, regions, source

_architectures = st.sampled_from(["x86_64", "arm64"])
_regions = st.sampled_from([*regions(), "xx-nowhere-1"])
_memory = st.integers(128, 10_240)


@pytest.mark.parametrize(
    ("region", "architecture", "gb_second", "per_million"),
    [
        ("us-east-1", "x86_64", 0.0000166667, 0.20),
        ("us-east-1", "arm64", 0.0000133334, 0.20),
        ("eu-central-1", "x86_64", 0.0000166667, 0.20),
        ("eu-south-1", "x86_64", 0.0000195172, 0.23),
        ("ap-east-1", "arm64", 0.0000183, 0.28),
        ("af-south-1", "x86_64", 0.0000221, 0.27),
    ],
)
def test_lambda_costs_what_aws_says(
    region: str, architecture: Architecture, gb_second: float, per_million: float
) -> None:
    prices = lambda_prices(region, architecture)
    assert prices.gb_second == pytest.approx(gb_second)
    assert prices.request * 1e6 == pytest.approx(per_million)
    assert prices.note is None


@pytest.mark.parametrize(
    ("region", "put", "get"), [("us-east-1", 5.0, 0.4), ("eu-central-1", 5.4, 0.43)]
)
def test_s3_costs_what_aws_says(region: str, put: float, get: float) -> None:
    prices = storage_prices(region)
    assert prices.cost(puts=1_000_000) == pytest.approx(put)
    assert prices.cost(gets=1_000_000) == pytest.approx(get)


@pytest.mark.parametrize(
    ("used", "architecture", "part"),
    [
        (0.0, "x86_64", 1.0),
        (5.9e9, "x86_64", 1.0),
        (6e9, "x86_64", 0.9),
        (15e9, "x86_64", 0.8),
        (6e9, "arm64", 1.0),
        (7.5e9, "arm64", 0.9),
        (18.75e9, "arm64", 0.8),
    ],
)
def test_the_price_falls_with_the_month(
    used: float, architecture: Architecture, part: float
) -> None:
    first = lambda_prices("us-east-1", architecture).gb_second
    later = lambda_prices("us-east-1", architecture, gb_seconds_this_month=used).gb_second
    assert later == pytest.approx(first * part)


def test_a_second_at_one_vcpu_costs_memory_times_price() -> None:
    rate = lambda_rate("us-east-1", "x86_64", 1769, start_seconds=0.0)
    assert rate.cost(1.0) == pytest.approx(1769 / 1024 * 0.0000166667 + 0.0000002)


def test_storage_beyond_what_is_free_is_paid_by_the_second() -> None:
    plain = lambda_rate("us-east-1", "x86_64", 1024)
    large = lambda_rate("us-east-1", "x86_64", 1024, storage=512 + 1024)
    assert large.per_second - plain.per_second == pytest.approx(0.0000000309)


def test_requests_to_s3_are_paid_with_the_call() -> None:
    plain = lambda_rate("us-east-1", "x86_64", 1024)
    stored = lambda_rate("us-east-1", "x86_64", 1024, puts=1, gets=2)
    assert stored.per_call - plain.per_call == pytest.approx((5.0 + 0.8) / 1e6)


@given(region=st.sampled_from(regions()), architecture=_architectures)
def test_an_unknown_region_is_no_cheaper_than_any_known_and_says_so(
    region: str, architecture: Architecture
) -> None:
    known, unknown = (
        lambda_prices(region, architecture),
        lambda_prices("xx-nowhere-1", architecture),
    )
    assert unknown.gb_second >= known.gb_second
    assert unknown.request >= known.request
    assert unknown.storage_gb_second >= known.storage_gb_second
    assert storage_prices("xx-nowhere-1").put >= storage_prices(region).put
    assert unknown.note is not None
    assert "xx-nowhere-1" in unknown.note


def test_a_rate_carries_the_doubt_about_its_region() -> None:
    assert lambda_rate("us-east-1", "arm64", 1024, puts=1).note is None
    note = lambda_rate("xx-nowhere-1", "arm64", 1024, puts=1).note
    assert note is not None
    assert note.count("xx-nowhere-1") == 2  # Lambda's prices and S3's


@given(_regions, _architectures, _memory, _memory)
def test_more_memory_costs_more(
    region: str, architecture: Architecture, one: int, other: int
) -> None:
    less, more = sorted((one, other))
    cheap = lambda_rate(region, architecture, less)
    dear = lambda_rate(region, architecture, more)
    assert 0 < cheap.per_second <= dear.per_second


@given(_regions, _memory)
def test_arm_is_cheaper(region: str, memory: int) -> None:
    arm, x86 = (lambda_rate(region, name, memory) for name in ("arm64", "x86_64"))
    assert arm.per_second < x86.per_second


@pytest.mark.parametrize("service", ["lambda", "s3"])
def test_prices_say_where_and_when_they_were_read(service: Any) -> None:
    where = source(service)
    assert where.url.startswith("https://")
    assert datetime.date.fromisoformat(where.read) >= datetime.date(2026, 11, 20)


def test_the_book_lies_in_the_package() -> None:
    assert Path(price_list.__file__).with_name("prices.toml").is_file()
