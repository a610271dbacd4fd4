"""A budget that all jobs of a day share: asked for as they go on, never passed, given back in the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost import Rate
from cloudbutton_backend.cost.budgets import portion
from cloudbutton_backend.dispatch.job_budget import JobBudget
from tests.support.scripted_faults import (
    Crash,
    Crashes,
    DearCalls,
    DoubledResults,
    Fault,
    Hang,
    LateCharges,
    LostCharges,
    LostResults,
    Raises,
)
from tests.support.simulator import simulate
from tests.support.worker_startup import Startup
from tests.support.workload import Work, uniform

RATE = Rate(per_second=1e-3, per_call=1e-3)
LIMITS = Limits(workers=4, batch_seconds=1.0, queue_depth=1, rate=RATE, longest_call=60.0)


def run(works: list[Work], per_day: float, **more: Any) -> Any:
    return simulate(works, workers=4, limits=LIMITS, per_day=per_day, **more)


def test_a_job_within_the_day_s_budget_runs_to_its_end() -> None:
    trace = run([Work(seconds=uniform(40, 0.5), by_day=True)], 5.0)
    assert trace.jobs["job"].ends == ("finish",)


def test_a_job_that_the_day_cannot_pay_ends_with_what_it_has() -> None:
    trace = run([Work(seconds=uniform(400, 0.5), by_day=True)], 0.2)
    job = trace.jobs["job"]
    assert job.over_budget
    assert 0 < job.accepted.count(1) < 400
    assert 0.1 < job.spent <= 0.2


@pytest.mark.parametrize("per_day", [0.0015, 0.0036, 0.02])
def test_a_job_that_was_refused_what_a_call_should_have_goes_on_with_what_one_needs(
    per_day: float,
) -> None:
    rate = Rate(per_second=1e-3)
    limits = Limits(workers=2, batch_seconds=0.1, queue_depth=2, rate=rate)
    work = Work(seconds=uniform(400, 0.2), by_day=True)
    job = simulate([work], workers=2, limits=limits, per_day=per_day).jobs["job"]
    assert job.over_budget
    assert per_day - rate.at_most(1.0) - 1e-9 <= job.spent <= per_day, "no call can be had for less"


def test_the_last_dollar_is_spent_once() -> None:
    works = [
        Work(id=name, seconds=uniform(200, 0.5), by_day=True, opens=opens)
        for name, opens in [("a", 0.0), ("b", 0.0), ("c", 3.0)]
    ]
    trace = run(works, 0.3)
    assert sum(job.spent for job in trace.jobs.values()) <= 0.3 + 1e-9
    assert sum(job.accepted.count(1) for job in trace.jobs.values()) > 60


def test_what_a_job_has_not_spent_is_there_for_the_next() -> None:
    works = [
        Work(id="a", seconds=uniform(4, 0.5), by_day=True),
        Work(id="b", seconds=uniform(40, 0.5), by_day=True, opens=100.0),
    ]
    trace = run(works, 0.2)
    assert [job.ends for job in trace.jobs.values()] == [("finish",), ("finish",)]


def test_a_budget_of_its_own_holds_beside_the_day_s() -> None:
    trace = run([Work(seconds=uniform(400, 0.5), by_day=True, budget=0.1)], 5.0)
    assert trace.jobs["job"].over_budget
    assert trace.jobs["job"].spent <= 0.1


def test_a_day_without_money_spends_nothing() -> None:
    trace = run([Work(seconds=uniform(4, 0.5), by_day=True)], 0.0)
    assert trace.jobs["job"].over_budget
    assert trace.jobs["job"].spent == 0.0


def test_it_says_whose_budget_is_used_up() -> None:
    job_budget = JobBudget(RATE, 1.0, 60.0, by_day=True)
    assert job_budget.offer(1.0, 1.0, 4) is None
    assert job_budget.asks is not None
    at_least, wanted = job_budget.asks
    assert at_least == pytest.approx(RATE.at_most(1.0))
    assert wanted == pytest.approx(2 * 4 * RATE.at_most(60.0))
    job_budget.asks, job_budget.is_waiting = None, True
    job_budget.give(0.0)
    assert job_budget.offer(1.0, 1.0, 4) is None
    assert job_budget.is_empty
    assert job_budget.is_short_of_the_day


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 100))
def test_a_portion_is_enough_or_nothing_and_never_more_than_there_is(
    left: float, at_least: float, more: float
) -> None:
    given_ = portion(left, at_least, at_least + more)
    assert given_ == 0.0 or at_least - 1e-9 <= given_ <= left


_faults: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Crash, st.integers(0, 30), st.sampled_from([None, 1]), st.just("item")),
    st.builds(Hang, st.integers(0, 30), st.sampled_from([0.5, 30.0]), st.just(1)),
    st.builds(Raises, st.integers(0, 30), st.sampled_from([None, 1])),
    st.builds(Crashes, st.sampled_from([0.01, 0.1]), st.just("batch")),
    st.builds(LostResults, st.sampled_from([0.05, 0.5])),
    st.builds(DoubledResults, st.just(0.2)),
    st.builds(LostCharges, st.sampled_from([0.1, 1.0])),
    st.builds(LateCharges, st.sampled_from([0.1, 1.0]), st.sampled_from([0.001, 5.0])),
    st.builds(DearCalls, st.sampled_from([0.1, 1.0])),
)
_works = st.lists(
    st.tuples(
        st.lists(st.sampled_from([0.0, 0.05, 2.0, 30.0]), min_size=1, max_size=30),
        st.sampled_from([0.0, 0.001, 4.0]),
        st.none() | st.floats(0, 0.2),
        st.none() | st.just(0.3),
        st.none() | st.sampled_from([0.0, 1.0]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    works=_works,
    faults=st.lists(_faults, max_size=4),
    per_day=st.floats(0, 0.5),
    can_duplicate=st.booleans(),
    start=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 2**16),
)
def test_whatever_happens_all_jobs_together_spend_no_more_than_the_day_s_budget_and_end(
    works: list[tuple[list[float], float, float | None, float | None, float | None]],
    faults: list[Fault],
    per_day: float,
    can_duplicate: bool,
    start: float,
    seed: int,
) -> None:
    jobs = [
        Work(
            id=f"job{number}", seconds=seconds, opens=opens, budget=budget, retry=retry,
            cancel=cancel, by_day=True, stop_on_error=False,
        )
        for number, (seconds, opens, budget, retry, cancel) in enumerate(works)
    ]  # fmt: skip
    limits = Limits(
        workers=4,
        batch_seconds=1.0,
        queue_depth=1,
        can_duplicate=can_duplicate,
        rate=Rate(per_second=1e-3, per_call=1e-3, start_seconds=start),
        longest_call=60.0,
    )
    trace = simulate(
        jobs, workers=4, faults=faults, limits=limits, startup=Startup(billed=start), seed=seed,
        per_day=per_day,
    )  # fmt: skip
    assert all(job.ends for job in trace.jobs.values())
    assert sum(job.spent for job in trace.jobs.values()) <= per_day + 1e-9
