"""What users see of a price: jobs of real workers whose calls are charged for by an imaginary meter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any

import pytest

from cloudbutton_backend.accounting.job_cost import JobCost
from cloudbutton_backend.backends.local import LocalBackend
from cloudbutton_backend.backends.protocol import Backend, Charged
from cloudbutton_backend.cost import Rate
from cloudbutton_backend.errors import BudgetReached, UsageError
from cloudbutton_backend.job_model import Estimate, JobRecord, JobState
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.session import session as session_module
from cloudbutton_backend.testing.conformance import JobConformance, TaskPlace
from cloudbutton_backend.testing.priced_suite import PricedConformance
from cloudbutton_ext.integrations.executor import Executor
from tests.support.metered_backend import MeteredBackend

RATE = Rate(per_second=0.001, per_call=0.0001)


class TestMeteredJobs(JobConformance):
    """A backend with prices keeps the promises of all backends."""

    @classmethod
    def new_backend(cls) -> Backend:
        return MeteredBackend(LocalBackend(workers=2), RATE, first_wave=1)


class TestMeteredProtocol(PricedConformance):
    """Its charges come when they must, and its leases end calls."""

    @classmethod
    def new_backend(cls) -> Backend:
        return MeteredBackend(LocalBackend(workers=2), RATE)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return MeteredBackend(LocalBackend(workers=2), RATE, first_wave=2)


@pytest.fixture(scope="module")
def place(backend: Backend) -> Iterator[TaskPlace]:
    place = TaskPlace(backend)
    yield place
    place.session.close()


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def row(place: TaskPlace, job_id: str) -> Any:
    place.session.journal.flush(10.0)
    return JournalReader().job(job_id)


def test_a_job_knows_what_it_has_cost(place: TaskPlace, backend: MeteredBackend) -> None:
    before = len(backend.charges)
    job = place.start(nap, [0.01] * 40)
    job.results()
    charged = sum(charge.cost for charge in backend.charges[before:])
    assert job.cost == pytest.approx(charged)
    assert job.progress.spend == pytest.approx(charged)
    assert job.progress.expected_spend == pytest.approx(charged)
    assert not job.progress.at_most


@pytest.mark.parametrize("before", [0.0, 0.5])
def test_a_call_whose_price_never_came_makes_the_bill_a_most(
    place: TaskPlace, backend: MeteredBackend, before: float
) -> None:
    record = JobRecord(
        id="k7m2abcd", name="f", kind="map", backend="metered", n_items=9, created=0.0, pid=1,
        host="here", estimate=1.0, estimate_low=0.8, estimate_high=1.3,
    )  # fmt: skip
    bill = JobCost(record, place.session.journal, backend.limits, 2)
    bill.before = before
    bill.charge(Charged("k7m2abcd", 0, 0.1, 3.0))
    bill.spend = before + 0.1
    assert not bill.at_most
    bill.spend += 0.2  # the second call's, of which nothing was heard
    assert bill.at_most


def test_each_batch_has_its_price(place: TaskPlace) -> None:
    job = place.start(nap, [0.01] * 40)
    job.results()
    assert sum(batch.cost for batch in job.timeline()) == pytest.approx(job.cost)


def test_the_bill_and_the_estimate_are_in_the_journal(place: TaskPlace) -> None:
    job = place.start(nap, [0.02] * 60)
    job.results()
    found = row(place, job.id)
    assert found.spend == pytest.approx(job.cost)
    assert isinstance(job.estimate, Estimate)
    assert found.estimate == pytest.approx(job.estimate.expected)
    assert (found.estimate_low, found.estimate_high) == (job.estimate.low, job.estimate.high)
    assert job.estimate.low <= job.estimate.expected <= job.estimate.high


def test_the_same_code_is_estimated_by_its_earlier_runs_at_once(place: TaskPlace) -> None:
    def slow(x: int) -> float:
        return nap(0.01) + x

    first = place.start(slow, range(40))
    first.results()
    place.session.journal.flush(10.0)
    again = place.start(slow, range(80))
    estimate = again.estimate
    again.results()
    assert estimate is not None
    assert estimate.basis == "1 earlier run"
    assert estimate.low <= 2 * first.cost <= estimate.high
    assert again.estimate is estimate


def test_free_work_has_no_price() -> None:
    place = TaskPlace(LocalBackend(workers=1))
    try:
        job = place.start(lambda x: x, [1, 2], budget=0.01)
        assert job.results() == [1, 2]
        assert (job.cost, job.estimate, job.progress.expected_spend) == (0.0, None, None)
    finally:
        place.session.close()


def test_a_job_stops_at_its_budget_and_goes_on_with_a_higher_one(place: TaskPlace) -> None:
    job = place.start(nap, [0.05] * 100, budget=0.0045)
    with pytest.raises(BudgetReached) as caught:
        job.results()
    assert job.state is JobState.FAILED
    assert 0 < job.cost <= 0.0045
    error = caught.value
    done = len(job.partial())
    assert (error.done, error.total, error.budget) == (done, 100, 0.0045)
    assert 0 < done < 100
    assert f"budget={error.enough:g}" in str(error)
    assert row(place, job.id).error == error.summary
    assert job.retry_failed(budget=1.0).results() == [0.05] * 100
    assert row(place, job.id).budget == 1.0


def test_the_budget_that_is_suggested_is_enough(place: TaskPlace) -> None:
    job = place.start(nap, [0.02] * 60, budget=0.003)
    with pytest.raises(BudgetReached) as caught:
        job.results()
    assert job.retry_failed(budget=caught.value.enough).results() == [0.02] * 60


def test_calls_of_an_executor_do_not_wait_for_money_that_never_comes(
    place: TaskPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_current", place.session)
    options: dict[str, Any] = {"backend": place.backend.name, "budget": 0.003}
    with Executor(**options) as executor:
        calls = [executor.submit(nap, 0.02) for _ in range(60)]
        failures = [call.exception(timeout=30.0) for call in calls]
    assert failures[0] is None
    assert isinstance(failures[-1], BrokenExecutor)
    assert "has spent" in str(failures[-1])


@pytest.mark.parametrize("budget", [-1.0, float("inf"), float("nan")])
def test_a_budget_that_makes_no_sense_is_refused(place: TaskPlace, budget: float) -> None:
    with pytest.raises(UsageError, match="budget"):
        place.start(nap, [0.0], budget=budget)


def test_a_budget_of_nothing_spends_nothing(place: TaskPlace) -> None:
    job = place.start(nap, [0.0], budget=0.0)
    with pytest.raises(BudgetReached):
        job.results()
    assert job.cost == 0.0


def test_a_price_that_may_be_wrong_is_said_with_the_job() -> None:
    rate = Rate(per_second=0.001, note="prices in region xx-nowhere-1 are not known")
    place = TaskPlace(MeteredBackend(LocalBackend(workers=1), rate))
    try:
        job = place.start(lambda x: x, [1])
        job.results()
        assert job.progress.warnings == (rate.note,)
    finally:
        place.session.close()


def test_an_item_that_a_lease_cut_off_is_run_again_for_longer() -> None:
    backend = MeteredBackend(LocalBackend(workers=2), Rate(per_second=1.0))
    place = TaskPlace(backend)
    try:
        assert place.session.warm_up(backend.name, timeout=30.0)
        items = [0.0] * 6 + [1.6] + [0.005] * 40
        job = place.start(nap, items, budget=5.6)  # each worker can count on a second at first
        assert job.results() == items
        cut, whole = [charge.seconds for charge in backend.charges if charge.seconds > 0.9]
        assert cut < 1.6 <= whole
        assert job.progress.lost_workers == 0
        assert job.cost <= 5.6
    finally:
        place.session.close()
