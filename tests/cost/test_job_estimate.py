"""Estimates: each term of the arithmetic, and how often the interval holds what comes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.cost import Rate
from cloudbutton_backend.cost.budgets import enough_for, round_up
from cloudbutton_backend.cost.job_estimate import (
    EarlierRun,
    MeasuredCall,
    from_calls,
    from_history,
    seconds_from_history,
)

A_CENT_A_SECOND = Rate(per_second=0.01, per_call=0.001)


def call(items: int, work: float, billed: float, *, cold: bool = False) -> MeasuredCall:
    return MeasuredCall(items, work, billed, A_CENT_A_SECOND.cost(billed), cold)


def judge(
    calls: list[MeasuredCall], items: int, *, workers: int = 1, lanes: int = 1, spent: float = 0.0
) -> float:
    estimate = from_calls(
        calls, items, A_CENT_A_SECOND, workers=workers, batch_seconds=1.0, lanes=lanes, spent=spent
    )
    assert estimate is not None
    return estimate.expected


def test_items_cost_what_they_take_and_calls_what_they_are() -> None:
    # A hundred items of 1 s, one to a call.
    assert judge([call(1, 1.0, 1.0)], 100) == pytest.approx(100 * 0.01 + 100 * 0.001)


def test_quick_items_share_a_call() -> None:
    alone = 101 * 0.1 * 0.01 + 101 * 0.001
    assert judge([call(1, 0.1, 0.1)], 101) < alone - 60 * 0.001


def test_each_worker_starts_once() -> None:
    one = judge([call(1, 1.0, 1.5, cold=True)], 101, workers=1)
    ten = judge([call(1, 1.0, 1.5, cold=True)], 101, workers=10)
    assert ten - one == pytest.approx(9 * (0.5 - 0.02) * 0.01)


def test_starts_are_told_from_what_every_call_takes() -> None:
    # Four environments that took 2 s to start, and four calls that found them warm: none starts again.
    calls = [call(1, 1.0, 3.0, cold=True)] * 4 + [call(1, 1.0, 1.1)] * 4
    assert judge(calls, 108, workers=4) == pytest.approx(
        sum(each.cost for each in calls) + 100 * (1.1 * 0.01 + 0.001)
    )
    # With ten workers, six more start.
    assert judge(calls, 108, workers=10) - judge(calls, 108, workers=4) == pytest.approx(
        6 * (2.0 - 0.1) * 0.01
    )


def test_items_that_ran_beside_each_other_are_billed_once() -> None:
    # Four items of a tenth of a second in a call of that length.
    one, four = (
        judge([call(4, 0.4, 0.1 if lanes > 1 else 0.4)], 1004, lanes=lanes) for lanes in (1, 4)
    )
    assert four < 0.6 * one


def test_the_first_item_of_a_worker_may_have_imported_what_others_found_there() -> None:
    calls = [call(1, 2.1, 2.3, cold=True)] * 4 + [call(1, 0.1, 0.11)] * 4
    spent = sum(each.cost for each in calls)
    assert judge(calls, 108, workers=4) == pytest.approx(spent + 100 * 0.0011 + 26 * 0.001, rel=0.1)
    assert judge(calls, 108, workers=8) - judge(calls, 108, workers=4) == pytest.approx(
        4 * 2.2 * 0.01,
        rel=0.3,  # more workers also make more calls in the end
    )


def test_no_less_is_expected_than_has_been_spent() -> None:
    assert judge([call(1, 1.0, 1.0)], 1, spent=5.0) == 5.0


def test_what_calls_cost_beyond_their_items_is_what_they_were_charged() -> None:
    dear = Rate(per_second=0.01, per_call=1.0)  # at most: hardly any call costs it
    estimate = from_calls(
        [MeasuredCall(1, 1.0, 1.0, 0.012)], 100, dear, workers=1, batch_seconds=1.0
    )
    assert estimate is not None
    assert estimate.expected == pytest.approx(100 * 0.012)


def test_nothing_is_expected_of_nothing() -> None:
    assert from_calls([], 10, A_CENT_A_SECOND, workers=1, batch_seconds=1.0) is None
    assert from_history([], 10) is None
    assert from_history([EarlierRun(0, 0.0), EarlierRun(5, 0.0)], 10) is None


@pytest.mark.parametrize(
    ("runs", "items", "expected", "basis"),
    [
        ([EarlierRun(100, 1.0)], 200, 2.0, "1 earlier run"),
        ([EarlierRun(100, 1.0), EarlierRun(300, 3.0)], 200, 2.0, "2 earlier runs"),
        ([EarlierRun(100, 1.0), EarlierRun(100, 3.0)], 100, 2.0, "2 earlier runs"),
    ],
)
def test_earlier_runs_say_what_an_item_costs(
    runs: list[EarlierRun], items: int, expected: float, basis: str
) -> None:
    estimate = from_history(runs, items)
    assert estimate is not None
    assert (estimate.expected, estimate.basis) == (pytest.approx(expected), basis)


def test_runs_that_differ_make_a_wide_interval() -> None:
    alike = from_history([EarlierRun(100, 1.0), EarlierRun(100, 1.01), EarlierRun(100, 0.99)], 100)
    apart = from_history([EarlierRun(100, 1.0), EarlierRun(100, 2.0), EarlierRun(100, 0.5)], 100)
    assert alike is not None
    assert apart is not None
    assert alike.high - alike.low < apart.high - apart.low


_calls = st.lists(
    st.builds(
        lambda items, each, start: call(items, items * each, items * each + start),
        st.integers(1, 20),
        st.floats(0, 10),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=12,
)


@given(_calls, st.integers(1, 10_000), st.floats(0, 10), st.integers(1, 1000))
def test_the_expected_lies_inside_the_interval(
    calls: list[MeasuredCall], items: int, spent: float, workers: int
) -> None:
    estimate = from_calls(
        calls, items, A_CENT_A_SECOND, workers=workers, batch_seconds=1.0, spent=spent
    )
    assert estimate is not None
    assert spent <= estimate.low <= estimate.expected <= estimate.high


def test_earlier_runs_of_about_as_many_items_say_how_long_it_takes() -> None:
    runs = [EarlierRun(100, 1.0, 10.0), EarlierRun(100, 1.0, 12.0), EarlierRun(10_000, 90.0, 30.0)]
    estimate = from_history(runs, 200)
    assert estimate is not None
    assert estimate.seconds is not None
    assert estimate.seconds.expected == pytest.approx(22.0)
    assert estimate.seconds.low < 22.0 < estimate.seconds.high
    assert seconds_from_history(runs, 7) is None


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("first", [4, 8, 20])
def test_the_interval_holds_most_bills(sigma: float, first: int) -> None:
    draw = random.Random(first)
    held = 0
    for _ in range(200):
        seconds = [draw.lognormvariate(0.0, sigma) for _ in range(200)]
        calls = [call(1, each, each) for each in seconds[:first]]
        estimate = from_calls(calls, 200, A_CENT_A_SECOND, workers=1, batch_seconds=0.1)
        assert estimate is not None
        held += estimate.low <= sum(seconds) * 0.01 + 200 * 0.001 <= estimate.high
    assert held >= 0.85 * 200


@pytest.mark.parametrize(
    ("dollars", "rounded"), [(0.123, 0.13), (0.12, 0.12), (1.234, 1.3), (123.0, 130.0), (0.0, 0.0)]
)
def test_suggested_budgets_are_round(dollars: float, rounded: float) -> None:
    assert round_up(dollars) == pytest.approx(rounded)


@given(st.floats(0, 10), st.floats(0, 10), st.floats(1e-6, 1), st.none() | st.floats(0, 100))
def test_a_suggested_budget_pays_for_more_than_the_last(
    spent: float, budget: float, at_least: float, expected: float | None
) -> None:
    enough = enough_for(min(spent, budget), budget, at_least, expected)
    assert enough > budget or budget < 1e-300
    assert enough >= min(spent, budget) + at_least
