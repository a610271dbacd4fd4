"""What a few items tell of the rest: bounds that hold, and how often they do."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.cost.duration_samples import Samples, expectation, quantile, samples_of

Kind = Callable[[random.Random], float]

KINDS: dict[str, Kind] = {
    "equal": lambda chance: 1.0,
    "uniform": lambda chance: chance.uniform(0.5, 1.5),
    "exponential": lambda chance: chance.expovariate(1.0),
    "log-normal, 0.5": lambda chance: chance.lognormvariate(0.0, 0.5),
    "log-normal, 1": lambda chance: chance.lognormvariate(0.0, 1.0),
    "log-normal, 1.5": lambda chance: chance.lognormvariate(0.0, 1.5),
    "three in ten five times as long": lambda chance: 5.0 if chance.random() < 0.3 else 1.0,
    "Pareto, 2.5": lambda chance: chance.paretovariate(2.5),
}
DURATIONS = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=30)


def interval_of_total(samples: Samples, items: int) -> tuple[float, float]:
    found = expectation(
        samples.middle.total(items), (sample.total(items) for sample in samples.draws)
    )
    assert found.low <= found.expected <= found.high
    return found.low, found.high


def held(kind: Kind, first: int, runs: int = 100, items: int = 200) -> float:
    """Return in which part of runs the total of the rest lay in the interval, give or take a twentieth."""
    chance = random.Random(first)
    hits = 0
    for _ in range(runs):
        seconds = [kind(chance) for _ in range(items)]
        low, high = interval_of_total(samples_of(seconds[:first], 200), items - first)
        hits += 0.95 * low <= sum(seconds[first:]) <= 1.05 * high
    return hits / runs


@pytest.mark.parametrize("first", [3, 4, 8, 16])
def test_the_interval_holds_most_totals_over_many_kinds_of_durations(first: int) -> None:
    shares = {name: held(kind, first) for name, kind in KINDS.items()}
    assert sum(shares.values()) / len(shares) >= 0.85, shares


@pytest.mark.parametrize("kind", ["equal", "uniform", "exponential", "log-normal, 1"])
@pytest.mark.parametrize("first", [4, 8, 16])
def test_the_interval_holds_most_totals_of_each_usual_kind(kind: str, first: int) -> None:
    assert held(KINDS[kind], first) >= 0.85


def test_more_items_make_the_interval_narrower() -> None:
    chance = random.Random(0)
    seconds = [chance.lognormvariate(0.0, 0.5) for _ in range(64)]
    widths = []
    for first in (2, 8, 64):
        low, high = interval_of_total(samples_of(seconds[:first]), 1000)
        widths.append(high / low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 1.5


def test_one_item_tells_little() -> None:
    low, high = interval_of_total(samples_of([1.0]), 100)
    assert low < 70 < 140 < high


@given(DURATIONS, st.integers(1, 10_000))
def test_a_total_is_positive_and_no_less_than_its_longest_item_may_be_expected(
    seconds: list[float], items: int
) -> None:
    samples = samples_of(seconds, 50)
    for sample in (samples.middle, *samples.draws):
        assert 0 < sample.total(items) < float("inf")
        assert 0 < sample.longest(items) < float("inf")
        assert sample.longest(items) <= sample.longest(10 * items)
    assert samples.middle.total(items) == pytest.approx(items * sum(seconds) / len(seconds))


@given(DURATIONS, st.floats(1e-3, 1e3))
def test_the_unit_of_time_does_not_matter(seconds: list[float], scale: float) -> None:
    one = samples_of(seconds, 20).draws
    other = samples_of([scale * each for each in seconds], 20).draws
    assert [sample.mean * scale for sample in one] == pytest.approx(
        [sample.mean for sample in other], rel=1e-6
    )


def test_the_same_sample_gives_the_same_draws() -> None:
    assert samples_of([1.0, 2.0, 4.0]) == samples_of([1.0, 2.0, 4.0])
    assert samples_of([1.0, 2.0, 4.0], seed=1) != samples_of([1.0, 2.0, 4.0])


def test_items_that_take_no_time_stay_so() -> None:
    assert interval_of_total(samples_of([0.0, 0.0]), 100) == (0.0, 0.0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_quantiles_are_in_order_and_among_the_values(values: list[float]) -> None:
    ordered = sorted(values)
    found = [quantile(ordered, share) for share in (0.0, 0.05, 0.5, 0.95, 1.0)]
    slack = 1e-9 * max(values)
    assert all(one <= other + slack for one, other in itertools.pairwise(found))
    assert (found[0], found[-1]) == (ordered[0], ordered[-1])
