"""What a place makes of items: each term of time and money, and the number of calls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost import Rate
from cloudbutton_backend.cost.duration_samples import samples_of
from cloudbutton_backend.cost.run_model import (
    CostModel,
    Prediction,
    UncertainValue,
    n_calls,
    predict,
)
from tests.support.simulator import simulate
from tests.support.workload import Work, uniform

A_CENT = Rate(per_second=0.01, per_call=0.001)
SECONDS = [1.0] * 8


def predicted(items: int = 100, *, started: int = 0, **terms: Any) -> Prediction:
    given = {"backend": "there", "workers": 1, "rate": A_CENT, "batch_seconds": 1.0, **terms}
    return predict(samples_of(SECONDS), items, CostModel(**given), started=started)


def dollars(items: int = 100, **terms: Any) -> float:
    return predicted(items, **terms).dollars.expected


def seconds(items: int = 100, **terms: Any) -> float:
    return predicted(items, **terms).seconds.expected


# -- money


def test_items_cost_what_they_take_and_calls_what_they_are() -> None:
    assert dollars() == pytest.approx(100 * 0.01 + 100 * 0.001)


def test_what_is_free_costs_nothing() -> None:
    found = predicted(rate=None)
    assert (found.dollars.low, found.dollars.expected, found.dollars.high) == (0.0, 0.0, 0.0)


def test_each_environment_starts_once_and_other_calls_are_warm() -> None:
    more = dollars(workers=10, start=UncertainValue(2.0), warm=UncertainValue(0.5)) - dollars(
        workers=10
    )
    assert more == pytest.approx(0.01 * (10 * 2.0 + 90 * 0.5))


def test_environments_that_are_up_do_not_start_again() -> None:
    more = dollars(workers=10, start=UncertainValue(2.0), started=10) - dollars(workers=10)
    assert more == pytest.approx(0.0)


def test_a_slower_place_costs_more() -> None:
    assert dollars(pace=UncertainValue(3.0)) == pytest.approx(300 * 0.01 + 100 * 0.001)


def test_items_that_run_beside_each_other_share_what_is_billed() -> None:
    few = {"batch_seconds": 4.0, "rate": Rate(per_second=0.01)}
    assert dollars(1000, lanes=2, **few) == pytest.approx(0.5 * dollars(1000, **few), rel=0.01)
    assert dollars(1000, lanes=8, **few) == pytest.approx(0.25 * dollars(1000, **few), rel=0.02)
    alone = {"batch_seconds": 1.0}  # one item to a call: nothing is beside it
    assert dollars(lanes=2, **alone) == pytest.approx(dollars(**alone))


def test_items_that_differ_leave_lanes_idle() -> None:
    terms = CostModel(backend="there", workers=1, rate=A_CENT, batch_seconds=8.0, lanes=2)
    even, uneven = samples_of([1.0] * 4), samples_of([0.25, 0.25, 0.5, 3.0])
    assert predict(uneven, 1000, terms).dollars.expected > (
        1.1 * predict(even, 1000, terms).dollars.expected
    )


def test_half_a_step_of_each_call_is_rounding() -> None:
    step = Rate(per_second=0.01, per_call=0.001, step=0.1)
    assert dollars(rate=step) - dollars() == pytest.approx(100 * 0.05 * 0.01)


def test_what_is_gone_is_the_least_that_it_will_be() -> None:
    terms = CostModel(backend="there", workers=1, rate=A_CENT)
    found = predict(samples_of(SECONDS), 0, terms, spent=5.0, elapsed=7.0)
    assert (found.dollars.low, found.dollars.high) == (5.0, 5.0)
    assert (found.seconds.low, found.seconds.high) == (7.0, 7.0)


def test_what_is_not_known_of_a_place_widens_both_intervals() -> None:
    sure, unsure = predicted(), predicted(pace=UncertainValue(1.0, 0.5))
    assert unsure.dollars.high / unsure.dollars.low > 2 * sure.dollars.high / sure.dollars.low
    assert unsure.seconds.high / unsure.seconds.low > 2 * sure.seconds.high / sure.seconds.low


# -- time


def test_workers_share_the_work() -> None:
    assert seconds() == pytest.approx(100.5, rel=0.01)
    assert seconds(workers=10) == pytest.approx(10.5, rel=0.01)


def test_no_more_workers_help_than_there_are_items() -> None:
    assert seconds(workers=100) == seconds(workers=10_000)


def test_the_first_wave_is_awaited() -> None:
    assert seconds(workers=100, first_wave=8) - seconds(workers=100) == pytest.approx(1.0)


def test_environments_that_come_one_after_the_other_make_it_longer() -> None:
    at_once, slowly = (
        seconds(10_000, workers=5000),
        seconds(10_000, workers=5000, burst=1000, per_second=100.0),
    )
    assert slowly - at_once == pytest.approx(20.0, rel=0.05)


def test_the_longest_item_is_the_least_that_it_takes() -> None:
    samples = samples_of([0.1, 0.1, 0.1, 30.0])
    found = predict(samples, 100, CostModel(backend="there", workers=1000))
    assert found.seconds.high > 30.0


@given(
    st.lists(st.floats(1e-4, 100), min_size=1, max_size=12),
    st.integers(0, 10_000),
    st.integers(1, 2000),
    st.integers(1, 6),
)
def test_what_is_expected_lies_in_its_interval(
    sample: list[float], items: int, workers: int, lanes: int
) -> None:
    terms = CostModel(backend="there", workers=workers, rate=A_CENT, lanes=lanes, batch_seconds=1.5)
    found = predict(samples_of(sample, 20), items, terms)
    for each in (found.seconds, found.dollars):
        assert 0 <= each.low <= each.expected <= each.high < float("inf")


# -- calls


@pytest.mark.parametrize(
    ("items", "each", "workers"),
    [
        (40, 0.01, 4), (1000, 0.01, 4), (1000, 0.1, 4), (300, 1.0, 4), (10_000, 0.01, 100),
        (10_000, 0.1, 1000), (100_000, 0.0001, 4), (200, 0.5, 4), (30, 0.2, 4), (5000, 0.3, 50),
    ],
)  # fmt: skip
def test_calls_are_counted_about_as_the_dispatcher_makes_them(
    items: int, each: float, workers: int
) -> None:
    limits = Limits(
        workers=workers, batch_seconds=1.5, queue_depth=1, first_wave=8, rate=A_CENT,
        longest_call=900.0,
    )  # fmt: skip
    trace = simulate([Work(seconds=uniform(items, each))], workers=workers, limits=limits)
    counted = n_calls(items, each, workers, 1.5, first_wave=8)
    assert 0.7 * trace.batches <= counted <= 1.3 * trace.batches


@given(
    st.integers(0, 10**7), st.floats(0, 1000), st.integers(1, 10_000), st.floats(0.001, 100),
    st.none() | st.integers(1, 20),
)  # fmt: skip
def test_there_is_at_least_one_call_and_at_most_one_for_each_item(
    items: int, each: float, workers: int, batch_seconds: float, wave: int | None
) -> None:
    calls = n_calls(items, each, workers, batch_seconds, first_wave=wave)
    assert min(items, 1) <= calls <= items
