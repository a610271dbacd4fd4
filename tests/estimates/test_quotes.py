"""Which place to take, and how much memory it must have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.backends.aws_lambda import cost_model
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost.measurements import (
    HEADROOM,
    Measurement,
    fits,
    lanes_of,
    memory_needed,
    power_of,
    sizes_for,
)
from cloudbutton_backend.cost.overhead import CallOverhead, overhead_of
from cloudbutton_backend.cost.quotes import Quote, advise
from cloudbutton_backend.job_model import Expectation


def around(value: float) -> Expectation:
    return Expectation(value, 0.8 * value, 1.2 * value)


def offer(backend: str, seconds: float, dollars: float, **more: Any) -> Quote:
    return Quote(
        backend=backend, workers=1, seconds=around(seconds), dollars=around(dollars), **more
    )


def test_what_is_soon_done_for_free_is_done_for_free() -> None:
    assert advise([offer("local", 20, 0), offer("lambda", 2, 0.1)]).offer == offer("local", 20, 0)


def test_what_takes_long_is_worth_money() -> None:
    found = advise([offer("local", 600, 0), offer("lambda", 10, 0.2)])
    assert found.offer == offer("lambda", 10, 0.2)
    assert found.why.startswith("60 times as fast as local")


def test_what_is_hardly_faster_is_not() -> None:
    assert advise([offer("local", 600, 0), offer("lambda", 400, 0.2)]).offer == offer(
        "local", 600, 0
    )


def test_the_cheapest_of_those_about_as_fast_is_taken() -> None:
    dear, cheap, slow = (
        offer("lambda", 10, 0.9), offer("lambda", 11, 0.3), offer("lambda", 40, 0.1),
    )  # fmt: skip
    assert advise([dear, cheap, slow]).offer == cheap


def test_what_may_cost_more_than_the_budget_is_not_recommended() -> None:
    offers = [offer("local", 600, 0), offer("lambda", 10, 0.2)]
    assert advise(offers, budget=0.23).offer == offers[0]
    assert advise(offers, budget=0.25).offer == offers[1]
    assert advise(offers[1:], budget=0.1).offer is None


def test_what_stands_in_for_another_place_is_taken_only_alone() -> None:
    emulated = replace(offer("lambda", 1, 0.1), emulated=True)
    assert advise([emulated, offer("local", 600, 0)]).offer == offer("local", 600, 0)
    assert advise([emulated]).offer == emulated


@given(
    st.lists(
        st.builds(
            offer,
            st.sampled_from(["local", "lambda", "dask"]),
            st.floats(0.1, 1e5),
            st.sampled_from([0.0, 0.01, 5.0]),
            is_roomy=st.booleans(),
            notes=st.sampled_from([(), ("not deployed",)]),
        ),
        max_size=6,
    ),
    st.none() | st.floats(0, 10),
)
def test_never_one_whose_memory_may_not_suffice_or_that_may_cost_too_much(
    offers: list[Quote], budget: float | None
) -> None:
    found = advise(offers, budget).offer
    if found is not None:
        assert found.is_roomy
        assert budget is None or found.dollars.high <= budget
    else:
        assert not any(each.is_roomy and each.is_free for each in offers if not each.notes)


# -- memory and power


def test_a_vcpu_comes_with_1769_mib_and_less_with_less() -> None:
    assert power_of(1769) == power_of(10_240) == 1.0
    assert power_of(885) == pytest.approx(0.5, rel=0.01)
    assert [lanes_of(size) for size in (512, 1769, 3538, 10_240)] == [1, 1, 2, 5]


@given(st.integers(0, 20 << 30), st.sampled_from(cost_model.SIZES))
def test_what_fits_has_room_for_the_peak_and_headroom(peak: int, size: int) -> None:
    if fits(size, peak):
        assert lanes_of(size) * HEADROOM * peak <= size << 20
    for each in sizes_for(peak, cost_model.SIZES, 1769):
        assert fits(each, peak)
        assert memory_needed(peak, lanes_of(each)) <= each


def test_less_power_makes_work_longer_and_waiting_no_longer() -> None:
    work, wait = (
        Measurement(seconds=(1.0,), basis=""),
        Measurement(seconds=(1.0,), basis="", cpu_share=0.0),
    )
    assert work.pace(0.5) == 2.0
    assert wait.pace(0.5) == 1.0


@pytest.mark.parametrize("memory", cost_model.SIZES)
def test_lambda_says_which_sizes_are_too_small(memory: int) -> None:
    measured = Measurement(seconds=(1.0,), basis="", memory_peak=600 << 20)
    limits = Limits(workers=100, batch_seconds=1.5, first_wave=8)
    function = cost_model.PricedFunction(LambdaSettings(), "us-east-1", "lambda", limits, cpus=2)
    found = cost_model.cost_model_of(function, measured, CallOverhead(), 100, memory)
    assert found.is_roomy == fits(memory, 600 << 20)
    assert found.is_roomy == (not any("too small" in note for note in found.notes))


def test_what_earlier_calls_took_on_top_is_learned() -> None:
    found = overhead_of([0.4, 0.5, 0.5, 3.0, 3.2, 3.1, 0.45, 2.9], [0.01] * 9 + [5.0])
    assert found.start is not None
    assert 0.4 < found.start.median < 3.2
    assert found.start.spread > 0.5  # some of them have imported much, others nothing
    assert found.warm is not None
    assert found.warm.median == pytest.approx(0.01)
    assert overhead_of([0.4], []) == CallOverhead()
