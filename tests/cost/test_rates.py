"""A rate: what is billed, the most that a call can cost, and how long money lasts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.cost.rates import Rate, round_up

_rates = st.builds(
    Rate,
    per_second=st.floats(1e-7, 1e-2),
    per_call=st.floats(0, 1e-4),
    start_seconds=st.sampled_from([0.0, 0.25, 10.0]),
    step=st.sampled_from([0.0, 0.001, 0.1]),
)
_seconds = st.floats(0, 900)


@pytest.mark.parametrize(
    ("ran", "billed"),
    [(0.0, 0.0), (0.0001, 0.001), (0.001, 0.001), (0.0011, 0.002), (2.5, 2.5), (0.3, 0.3)],
)
def test_time_is_billed_by_the_millisecond_begun(ran: float, billed: float) -> None:
    assert round_up(ran, 0.001) == pytest.approx(billed, abs=1e-12)


@given(_seconds, st.sampled_from([0.001, 0.1, 60.0]))
def test_rounding_adds_less_than_a_step_and_is_done_once(seconds: float, step: float) -> None:
    billed = round_up(seconds, step)
    assert -step * 1e-5 <= billed - seconds < step
    assert round_up(billed, step) == pytest.approx(billed)


@given(_rates, _seconds, _seconds)
def test_longer_costs_no_less(rate: Rate, one: float, other: float) -> None:
    assert rate.cost(min(one, other)) <= rate.cost(max(one, other))


@given(_rates, _seconds, st.floats(0, 1))
def test_a_call_that_ends_within_its_lease_costs_no_more_than_was_said(
    rate: Rate, lease: float, part: float
) -> None:
    assert rate.cost(part * (lease + rate.start_seconds)) <= rate.at_most(lease)


@given(_rates, st.floats(0, 100))
def test_money_pays_for_the_lease_it_is_said_to(rate: Rate, money: float) -> None:
    lease = rate.lease_for(money)
    if lease > 0:
        assert rate.at_most(lease) <= money * (1 + 1e-9) + rate.per_second * rate.step * 1e-5


@given(_rates, _seconds)
def test_what_a_lease_costs_pays_for_it(rate: Rate, lease: float) -> None:
    assert rate.lease_for(rate.at_most(lease)) >= lease - 2 * rate.step - 1e-6


def test_where_only_calls_are_paid_a_lease_has_no_end() -> None:
    rate = Rate(per_second=0.0, per_call=0.01)
    assert rate.lease_for(0.02) == math.inf
    assert rate.lease_for(0.005) == 0.0
