"""The budget of a day: what jobs of several kernels are given of it, through the journal on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloudbutton_backend import settings
from cloudbutton_backend.accounting.daily_budget import DailyBudgetGrant, budget_grant_of
from cloudbutton_backend.backends.local import LocalBackend
from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost import Rate
from cloudbutton_backend.errors import DayBudgetReached
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.support.metered_backend import MeteredBackend

NOON = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def budget_for(home: Path, job: str, per_day: float, clock: Clock) -> DailyBudgetGrant:
    return DailyBudgetGrant(home, job, per_day, clock=clock)


def test_a_job_gets_what_it_wants_but_half_of_what_is_left_at_most(
    tmp_path: Path, clock: Clock
) -> None:
    budget = budget_for(tmp_path, "aaaa2222", 10.0, clock)
    assert budget.take(0.1, 1.0) == 1.0
    assert budget.take(0.1, 100.0) == pytest.approx(4.5)
    assert budget.take(4.5, 100.0) == pytest.approx(4.5)
    assert budget.take(0.01, 1.0) == 0.0


def test_what_was_not_spent_is_there_for_others(tmp_path: Path, clock: Clock) -> None:
    one, other = (budget_for(tmp_path, job, 10.0, clock) for job in ("aaaa2222", "bbbb2222"))
    assert one.take(10.0, 10.0) == 10.0
    assert other.take(1.0, 1.0) == 0.0
    one.close(2.5)
    assert other.take(7.5, 7.5) == 7.5


def test_two_kernels_never_get_more_than_there_is(tmp_path: Path, clock: Clock) -> None:
    barrier = threading.Barrier(4)

    def kernel(number: int) -> float:
        budget = budget_for(tmp_path, f"job{number}2345", 1.0, clock)
        barrier.wait(10.0)
        return sum(budget.take(0.01, 0.3) for _ in range(20))

    with ThreadPoolExecutor(4) as kernels:
        taken = sum(kernels.map(kernel, range(4)))
    assert 0.98 < taken <= 1.0 + 1e-9


def test_tomorrow_is_another_day(tmp_path: Path, clock: Clock) -> None:
    budget = budget_for(tmp_path, "aaaa2222", 10.0, clock)
    budget.take(10.0, 10.0)
    budget.close(10.0)
    clock.now += 86_400.0
    assert budget_for(tmp_path, "bbbb2222", 10.0, clock).take(10.0, 10.0) == 10.0


def test_what_a_job_of_yesterday_may_still_spend_counts_today(tmp_path: Path, clock: Clock) -> None:
    budget_for(tmp_path, "aaaa2222", 10.0, clock).take(6.0, 6.0)
    clock.now += 43_200.0 + 60.0
    other = budget_for(tmp_path, "bbbb2222", 10.0, clock)
    assert other.take(5.0, 5.0) == 0.0
    assert other.take(4.0, 4.0) == 4.0
    clock.now += 86_400.0  # its calls have long ended, whatever became of its kernel
    assert budget_for(tmp_path, "cccc2222", 10.0, clock).take(6.0, 6.0) == 6.0


def test_a_job_over_midnight_is_counted_on_both_days(tmp_path: Path, clock: Clock) -> None:
    budget = budget_for(tmp_path, "aaaa2222", 10.0, clock)
    budget.take(6.0, 6.0)
    clock.now += 43_200.0 + 60.0
    assert budget.take(4.0, 4.0) == 4.0
    budget.close(7.0)  # six yesterday, one today
    assert budget_for(tmp_path, "bbbb2222", 10.0, clock).take(9.0, 9.0) == 9.0


def test_a_job_that_goes_on_elsewhere_is_not_counted_twice(tmp_path: Path, clock: Clock) -> None:
    first = budget_for(tmp_path, "aaaa2222", 10.0, clock)
    first.take(6.0, 6.0)
    first.close(6.0)
    again = budget_for(tmp_path, "aaaa2222", 10.0, clock)
    assert again.take(4.0, 4.0) == 4.0
    again.close(8.0)
    assert budget_for(tmp_path, "bbbb2222", 10.0, clock).take(2.0, 2.0) == 2.0


def test_who_goes_on_with_a_killed_kernel_s_job_settles_what_that_was_given(
    tmp_path: Path, clock: Clock
) -> None:
    budget_for(tmp_path, "aaaa2222", 10.0, clock).take(6.0, 6.0)
    again = budget_for(tmp_path, "aaaa2222", 10.0, clock)
    again.take(1.0, 1.0)
    again.close(2.0)
    assert budget_for(tmp_path, "bbbb2222", 10.0, clock).take(8.0, 8.0) == 8.0


@pytest.fixture
def _per_day() -> Iterator[None]:
    settings.use(budget_per_day=0.004)
    yield
    settings.forget_used()


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_jobs_stop_at_the_day_s_budget_and_go_on_with_a_higher_one(_per_day: None) -> None:
    rate = Rate(per_second=0.001, per_call=0.0001)
    place = TaskPlace(MeteredBackend(LocalBackend(workers=2), rate))
    try:
        jobs = [place.start(nap, [0.05] * 60) for _ in range(2)]
        for job in jobs:
            with pytest.raises(DayBudgetReached, match=r"Today's budget of \$0.004"):
                job.results()
            assert job.state is JobState.FAILED
        assert 0 < sum(job.cost for job in jobs) <= 0.004
        assert all(job.partial() for job in jobs)
        settings.use(budget_per_day=5.0)
        assert jobs[0].retry_failed().results() == [0.05] * 60
    finally:
        place.session.close()


@pytest.mark.parametrize("emulated", [False, True])
def test_only_money_that_is_paid_is_limited(tmp_path: Path, _per_day: None, emulated: bool) -> None:
    priced = Limits(workers=1, rate=Rate(per_second=1.0), emulated=emulated)
    assert (budget_grant_of(tmp_path, "aaaa2222", priced) is None) == emulated
    assert budget_grant_of(tmp_path, "aaaa2222", Limits(workers=1)) is None


def test_without_the_setting_nothing_is_limited(tmp_path: Path) -> None:
    priced = Limits(workers=1, rate=Rate(per_second=1.0))
    assert budget_grant_of(tmp_path, "aaaa2222", priced) is None
