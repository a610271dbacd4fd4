"""The dispatcher with calls that have a price: leases, the budget, the first wave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudbutton_backend.backends.protocol import BatchEnded, Charged, Limits, WorkerDown
from cloudbutton_backend.cost import Rate
from cloudbutton_backend.dispatch.actions import Action, FailItem, Finish, OverBudget, Submit
from tests.support.scripted_faults import (
    Crash,
    Crashes,
    DearCalls,
    DoubledResults,
    Fault,
    Hang,
    LateCharges,
    LateResults,
    LostCharges,
    LostResults,
    Raises,
    Slow,
    Stubborn,
    Unreadable,
)
from tests.support.simulator import simulate
from tests.support.worker_startup import Startup
from tests.support.workload import Work, heavy_tail, log_normal, uniform

from .conftest import Stage, result

NewStage = Callable[..., Stage]
CENT_A_SECOND = Rate(per_second=0.01)


@pytest.fixture
def priced(stage: NewStage) -> Callable[..., Stage]:
    def new(
        workers: int = 2, rate: Rate = CENT_A_SECOND, longest: float = 900.0, **limits: Any
    ) -> Stage:
        limits = {"queue_depth": 1, "batch_seconds": 1.0, **limits}
        return stage(workers, rate=rate, longest_call=longest, **limits)

    return new


def only(kind: type[Any], actions: list[Action]) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def sent(actions: list[Action]) -> list[Submit]:
    return only(Submit, actions)


def charged(call: Submit, cost: float, seconds: float = 1.0) -> Charged:
    return Charged(call.job_id, call.batch, cost, seconds)


def done(call: Submit, cost: float, seconds: float = 1.0) -> list[Any]:
    """All that a backend reports of a call that ran its items in `seconds` each."""
    return [
        charged(call, cost, seconds),
        result(call, call.first, call.count, None, seconds),
        BatchEnded(call.worker, call.batch, call.count),
    ]


def expired(call: Submit, ran: int = 0, cost: float = 0.01) -> list[Any]:
    """All that a backend reports of a call that its lease ended."""
    events: list[Any] = [charged(call, cost)]
    if ran:
        events.append(result(call, call.first, ran, None, 0.5))
    return [*events, BatchEnded(call.worker, call.batch, ran, expired=True)]


# -- leases


def test_work_that_is_free_has_no_lease(stage: NewStage) -> None:
    (first, *_) = sent(stage(workers=1).open(10))
    assert first.lease is None


def test_without_a_budget_a_call_has_what_the_platform_allows(priced: NewStage) -> None:
    (first, *_) = sent(priced(workers=1).open(10))
    assert first.lease == 900.0


def test_leases_in_flight_never_cost_more_than_the_budget(priced: NewStage) -> None:
    calls = sent(priced(workers=20).open(100, budget=1.0))
    assert sum(CENT_A_SECOND.at_most(call.lease or 0.0) for call in calls) <= 1.0
    assert [call.lease for call in calls] == [10.0] * 10


def test_a_charge_makes_room_for_the_next_call(priced: NewStage) -> None:
    play = priced(workers=20)
    calls = sent(play.open(100, budget=1.0))
    assert len(calls) == 10
    more = sent(play.happen(*done(calls[0], 0.01)))
    assert [call.first for call in more] == [10]


def test_measured_items_get_what_they_need_and_headroom(priced: NewStage) -> None:
    play = priced(workers=1)
    (first,) = sent(play.open(1000, budget=0.5))
    (second,) = sent(play.happen(*done(first, 0.01, 0.5)))
    assert second.lease is not None
    assert second.lease >= 5 * 0.5 * second.count


# -- calls that their lease ended


def test_what_a_lease_cut_off_is_run_again_alone_and_for_longer(priced: NewStage) -> None:
    play = priced(workers=1)
    (first,) = sent(play.open(100, budget=3.0))
    (again,) = sent(play.happen(*expired(first)))
    assert (again.first, again.count) == (0, 1)
    assert first.lease is not None
    assert again.lease is not None
    assert again.lease >= 1.5 * first.lease


def test_items_behind_one_that_was_cut_off_are_run_meanwhile(priced: NewStage) -> None:
    play = priced(workers=2, first_wave=1)
    (first,) = sent(play.open(100, budget=100.0))
    second, third = sent(play.happen(*done(first, 0.01, 0.1)))
    assert second.count > 1
    again, *_ = sent(play.happen(*expired(second, ran=1)))
    assert (again.first, again.count) == (second.first + 1, 1)
    assert [call.first for call in sent(play.happen(*done(third, 0.01, 0.1)))] == [second.first + 2]


def test_being_cut_off_costs_no_attempt(priced: NewStage) -> None:
    play = priced(workers=1, longest=1e6, lost_attempts=1)
    (call,) = sent(play.open(1, budget=1000.0))
    actions = play.happen(*expired(call))
    assert only(FailItem, actions) == []
    (call,) = sent(actions)
    assert play.happen(*done(call, 0.01))[-1] == Finish("job", "finish")


def test_a_worker_that_went_down_with_its_lease_costs_no_attempt_either(priced: NewStage) -> None:
    play = priced(workers=2, first_wave=1)
    (call,) = sent(play.open(1, budget=5.0))
    (again,) = sent(
        play.happen(charged(call, 0.1), WorkerDown("w1", "lease", call.batch, 0, "lease"))
    )
    assert again.lease is not None
    assert call.lease is not None
    assert again.lease > call.lease


def test_an_item_that_takes_longer_than_any_call_may_fails_after_three(priced: NewStage) -> None:
    play = priced(workers=1, longest=60.0)
    (call,) = sent(play.open(1))
    for _ in range(2):
        (call,) = sent(play.happen(*expired(call)))
        assert call.lease == 60.0
    (failure,) = only(FailItem, play.happen(*expired(call)))
    assert failure.kind == "lost"
    assert "60 s" in failure.cause


def test_an_item_that_cannot_be_paid_to_its_end_stops_the_job(priced: NewStage) -> None:
    play = priced(workers=1)
    (call,) = sent(play.open(1, budget=1.0))
    actions: list[Action] = []
    for _ in range(6):
        actions = play.happen(*expired(call, cost=CENT_A_SECOND.at_most(call.lease or 0.0)))
        if only(Finish, actions):
            break
        (call,) = sent(actions)
    assert only(FailItem, actions) == []
    (over,) = only(OverBudget, actions)
    assert over.spent <= over.budget < over.spent + over.at_least
    assert actions[-1] == Finish("job", "fail")


# -- the end of the money


def test_what_runs_is_awaited_before_the_job_ends_for_want_of_money(priced: NewStage) -> None:
    play = priced(workers=2)
    first, second = sent(play.open(100, budget=0.2))
    assert not {OverBudget, Finish} & set(map(type, play.happen(*done(first, 0.1))))
    ends = play.happen(*done(second, 0.1))
    assert only(OverBudget, ends) == [
        OverBudget("job", pytest.approx(0.2), 0.2, pytest.approx(0.015))
    ]
    assert ends[-1] == Finish("job", "fail")


def test_a_budget_below_one_call_is_said_before_anything_is_spent(priced: NewStage) -> None:
    actions = priced(workers=1).open(10, budget=0.001)
    assert sent(actions) == []
    assert only(OverBudget, actions) == [OverBudget("job", 0.0, 0.001, pytest.approx(0.01))]


def test_what_was_spent_before_counts(priced: NewStage) -> None:
    assert only(OverBudget, priced().open(10, budget=1.0, spent=1.0))
    assert only(Submit, priced().open(10, budget=2.0, spent=1.0))


def test_a_higher_budget_continues(priced: NewStage) -> None:
    play = priced(workers=1)
    (call,) = sent(play.open(2, budget=0.1))
    ends = play.happen(*done(call, 0.1))
    assert only(OverBudget, ends)
    play.machine.retry("job", play.now, 1.0)
    (call,) = sent(play.machine.drain())
    assert call.first == 1
    assert play.happen(*done(call, 0.1))[-1] == Finish("job", "finish")


def test_a_retry_with_the_same_budget_ends_at_once(priced: NewStage) -> None:
    play = priced(workers=1)
    (call,) = sent(play.open(2, budget=0.1))
    play.happen(*done(call, 0.1))
    assert only(OverBudget, play.retry())


def test_a_second_copy_is_not_made_with_money_that_is_not_there(priced: NewStage) -> None:
    play = priced(workers=2, can_duplicate=True, first_wave=2)
    first, second = sent(play.open(2, budget=0.2))
    play.now = 5.0
    assert sent(play.happen(*done(first, 0.05))) == []
    assert sent(play.wait(500.0)) == []
    job_budget = play.machine.jobs["job"].job_budget
    assert job_budget is not None
    job_budget.top_up(100.0)
    (copy,) = sent(play.wait(1.0))
    assert (copy.first, copy.lease) == (second.first, second.lease)


# -- the first wave


def test_few_workers_get_items_until_there_are_results(priced: NewStage) -> None:
    play = priced(workers=10, first_wave=3)
    calls = sent(play.open(100))
    assert len(calls) == 3
    assert len(sent(play.happen(*done(calls[0], 0.01)))) == 8


def test_code_that_fails_at_once_is_not_sent_to_all(priced: NewStage) -> None:
    play = priced(workers=1000, first_wave=3)
    calls = sent(play.open(100_000))
    actions = play.happen(
        charged(calls[0], 0.01), result(calls[0], 0, 1, [0]), BatchEnded("w1", calls[0].batch, 1)
    )
    assert sent(actions) == []


# -- anything that can happen

_items = st.integers(0, 40)
_times = st.sampled_from([None, 1, 2])
_known = st.sampled_from(["item", "batch", "nothing"])
_faults: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Crash, _items, _times, _known),
    st.builds(Hang, _items, st.sampled_from([0.5, 30.0]), _times),
    st.builds(Slow, _items, st.sampled_from([10.0, 1000.0]), _times),
    st.builds(Raises, _items, _times),
    st.builds(Unreadable, _items, _times),
    st.builds(Stubborn, _items),
    st.builds(Crashes, st.sampled_from([0.01, 0.1]), _known),
    st.builds(LostResults, st.sampled_from([0.05, 0.5])),
    st.builds(DoubledResults, st.just(0.2)),
    st.builds(LateResults, st.just(0.3), st.sampled_from([0.001, 0.06])),
    st.builds(LostCharges, st.sampled_from([0.1, 1.0])),
    st.builds(LateCharges, st.sampled_from([0.1, 1.0]), st.sampled_from([0.001, 5.0])),
    st.builds(DearCalls, st.sampled_from([0.1, 1.0])),
)
_seconds = st.one_of(
    st.lists(st.sampled_from([0.0, 0.001, 0.05, 2.0, 60.0]), max_size=40),
    st.builds(log_normal, st.integers(1, 60), st.sampled_from([0.01, 1.0]), st.just(1.5)),
)
_rates = st.builds(
    Rate,
    per_second=st.sampled_from([1e-5, 1e-3]),
    per_call=st.sampled_from([0.0, 1e-3]),
    start_seconds=st.sampled_from([0.0, 0.5]),
    step=st.sampled_from([0.0, 0.001]),
)
_limits = st.builds(
    Limits,
    workers=st.just(4),
    batch_seconds=st.sampled_from([0.05, 5.0]),
    can_revoke=st.booleans(),
    can_duplicate=st.booleans(),
    queue_depth=st.integers(1, 2),
    retry_delay=st.sampled_from([0.0, 0.1]),
    first_wave=st.none() | st.integers(1, 3),
    rate=_rates,
    longest_call=st.sampled_from([5.0, 900.0]),
)
_anything = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_anything
@given(
    seconds=_seconds,
    faults=st.lists(_faults, max_size=5),
    workers=st.integers(1, 4),
    limits=_limits,
    budget=st.none() | st.floats(0, 0.2),
    more=st.none() | st.floats(0, 0.4),
    retry=st.none() | st.just(0.1),
    cancel=st.none() | st.sampled_from([0.0, 0.3, 20.0]),
    stop_on_error=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_whatever_happens_no_more_is_spent_than_the_budget_and_it_ends(
    seconds: list[float],
    faults: list[Fault],
    workers: int,
    limits: Limits,
    budget: float | None,
    more: float | None,
    retry: float | None,
    cancel: float | None,
    stop_on_error: bool,
    seed: int,
) -> None:
    work = Work(
        seconds=seconds,
        stop_on_error=stop_on_error,
        budget=budget,
        more=None if more is None or budget is None else budget + more,
        retry=retry,
        cancel=cancel,
    )
    startup = Startup(billed=limits.rate.start_seconds if limits.rate else 0.0)
    trace = simulate(
        [work], workers=workers, faults=faults, limits=limits, startup=startup, seed=seed
    )
    job = trace.jobs["job"]  # the referee has watched what each call can cost
    assert job.ends
    if budget is not None:
        assert job.spent <= budget + (more or 0.0) + 1e-9


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_nearly_all_of_a_budget_is_used_before_the_job_ends(part: float) -> None:
    rate = Rate(per_second=3e-5, per_call=2e-7, step=0.001)
    limits = Limits(
        workers=50, batch_seconds=5.0, queue_depth=1, first_wave=5, rate=rate, longest_call=900.0
    )
    seconds = log_normal(5000, 0.5, 0.8)
    budget = part * rate.cost(sum(seconds))
    trace = simulate([Work(seconds=seconds, budget=budget)], workers=50, limits=limits)
    job = trace.jobs["job"]
    assert job.over_budget
    assert 0.97 * budget < job.spent <= budget
    assert job.accepted.count(1) == pytest.approx(5000 * part, rel=0.1)


def test_a_straggler_is_not_cut_off_where_there_is_money() -> None:
    rate = Rate(per_second=3e-5, per_call=2e-7, step=0.001)
    limits = Limits(workers=50, queue_depth=1, first_wave=5, rate=rate, longest_call=900.0)
    seconds = heavy_tail(1000, 0.1, 300.0, at=500)
    trace = simulate([Work(seconds=seconds, budget=5.0)], workers=50, limits=limits)
    job = trace.jobs["job"]
    assert job.ends == ("finish",)
    assert set(job.runs) == {1}


def test_a_budget_with_room_to_spare_costs_no_time() -> None:
    rate = Rate(per_second=3e-5, per_call=2e-7, step=0.001)
    limits = Limits(workers=100, queue_depth=1, rate=rate, longest_call=900.0)
    work = Work(seconds=uniform(2000, 0.5))
    free = simulate([work], workers=100, limits=limits)
    kept = simulate(
        [Work(seconds=work.seconds, budget=3 * free.jobs["job"].spent)], workers=100, limits=limits
    )
    assert kept.makespan < 1.05 * free.makespan
