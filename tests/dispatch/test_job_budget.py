"""A job's budget: money set aside for calls in flight, and leases cut from what is left."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.cost import Rate
from cloudbutton_backend.dispatch.job_budget import (
    CANARY_SECONDS,
    GROWTH,
    JobBudget,
    fitting,
    needed,
)

CENT_A_SECOND = Rate(per_second=0.01)


def job_budget(
    budget: float | None, rate: Rate = CENT_A_SECOND, longest: float | None = 900
) -> JobBudget:
    return JobBudget(rate, budget, longest)


def test_without_a_budget_a_call_may_take_as_long_as_the_platform_lets_it() -> None:
    assert job_budget(None).offer(1.0, 1.0, share=1000) == 900
    assert job_budget(None, longest=None).offer(1.0, 1.0, share=1000) == math.inf


def test_where_there_is_plenty_a_lease_is_as_long_as_the_platform_allows() -> None:
    assert job_budget(1e6).offer(1.0, 1.0, share=1000) == 900


def test_otherwise_each_worker_can_count_on_half_its_share() -> None:
    assert job_budget(10.0).offer(1.0, 1.0, share=10) == pytest.approx(50.0)


def test_a_call_gets_what_it_needs_even_beyond_its_share() -> None:
    assert job_budget(10.0).offer(80.0, 1.0, share=10) == pytest.approx(80.0)


def test_a_call_waits_for_those_in_flight_rather_than_run_short() -> None:
    money = job_budget(1.0)
    money.commit(1, 80.0)
    assert money.offer(30.0, 1.0, share=1) is None
    assert money.is_blocked
    assert not money.is_empty
    money.settle(1, 0.1)
    assert not money.is_blocked
    assert money.offer(30.0, 1.0, share=1) == pytest.approx(45.0)


def test_the_last_call_runs_short_if_that_is_still_worth_it() -> None:
    assert job_budget(0.2).offer(30.0, 15.0, share=1) == pytest.approx(20.0)


def test_a_call_that_cannot_be_afforded_empties_the_budget() -> None:
    money = job_budget(0.2)
    assert money.offer(60.0, 30.0, share=1) is None
    assert money.is_empty
    assert money.wanted == pytest.approx(0.3)
    money.top_up(1.0)
    assert money.offer(60.0, 30.0, share=1) is not None


def test_a_call_without_a_charge_counts_in_full() -> None:
    money = job_budget(1.0)
    money.commit(1, 40.0)
    money.close(1)
    assert (money.spent, money.committed) == (pytest.approx(0.4), 0.0)


def test_a_charge_counts_once() -> None:
    money = job_budget(1.0)
    money.commit(1, 40.0)
    money.settle(1, 0.1)
    money.settle(1, 0.1)
    money.close(1)
    assert money.spent == pytest.approx(0.1)


def test_the_first_lease_is_a_guess_and_later_ones_follow_what_was_measured() -> None:
    assert needed(1, None, 0.0, 0.0)[0] == CANARY_SECONDS
    assert needed(10, 2.0, 3.0, 0.0)[0] == 100.0
    assert needed(1, 0.01, 60.0, 0.0)[0] == 60.0


def test_an_item_that_was_cut_off_needs_far_more_than_it_had_or_at_least_half_as_much_again() -> (
    None
):
    assert needed(1, 0.01, 0.01, GROWTH * 10) == (40.0, 15.0)


def test_a_short_lease_is_given_few_items() -> None:
    assert fitting(100, 15.0, 1.0) == 10
    assert fitting(100, 0.1, 1.0) == 1
    assert fitting(100, math.inf, 1.0) == 100
    assert fitting(100, 15.0, None) == 100


_rates = st.builds(
    Rate,
    per_second=st.floats(1e-6, 0.01),
    per_call=st.sampled_from([0.0, 2e-7, 0.001]),
    start_seconds=st.sampled_from([0.0, 0.5, 10.0]),
    step=st.sampled_from([0.0, 0.001]),
)
_moves = st.lists(
    st.tuples(
        st.sampled_from(["call", "charge", "lose"]),
        st.floats(0, 1),
        st.floats(0.01, 100),
        st.integers(1, 100),
    ),
    max_size=60,
)


@given(_rates, st.floats(0, 1), _moves)
def test_whatever_is_charged_or_lost_the_budget_is_kept(
    rate: Rate, budget: float, moves: list[tuple[str, float, float, int]]
) -> None:
    money = JobBudget(rate, budget, 900.0)
    flying: dict[int, float] = {}
    for number, (move, part, need, share) in enumerate(moves):
        if move == "call":
            lease = money.offer(need, need / 3, share)
            if lease is not None:
                assert need / 3 <= lease <= 900.0
                money.commit(number, lease)
                flying[number] = lease
        elif flying:
            call, lease = flying.popitem()
            if move == "charge":
                money.settle(call, part * rate.at_most(lease))
            money.close(call)
        assert money.spent + money.committed <= budget + 1e-9
        assert money.is_blocked <= bool(flying)
        assert money.committed >= 0
