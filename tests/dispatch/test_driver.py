"""The driver between imaginary workers and jobs: our own faults stay where they are, none is waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloudbutton_backend.backends.protocol import (
    BatchCall,
    BatchEnded,
    Charged,
    Event,
    JobSpec,
    Limits,
    Results,
    Warned,
)
from cloudbutton_backend.cost import Rate
from cloudbutton_backend.dispatch.actions import AskForMoney
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.item_source import SequenceSource
from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.job_model import JobState
from tests.support.scripted_faults import Crash, Fault
from tests.support.simulated_backend import PATIENCE, SimulatedBackend
from tests.support.workload import Work, uniform

RATE = Rate(per_second=0.001, per_call=0.0)
FREE = Limits(workers=2, can_revoke=True)
BILLED = Limits(workers=2, queue_depth=1, rate=RATE, longest_call=900.0)


class Watched:
    """What a driver told of one job."""

    known_classes: frozenset[str] = frozenset()

    def __init__(self, work: Work) -> None:
        self.source: Any = SequenceSource(range(len(work.seconds)))
        self.work = work
        self.accepted: list[int] = []
        self.failed: list[int] = []
        self.warnings: list[str] = []
        self.failure: BaseException | None = None
        self.states: list[JobState] = []
        self.has_ended = threading.Event()

    def on_accept(self, results: Results, skip: frozenset[int]) -> None:
        items = range(results.first, results.first + results.count)
        self.accepted += [item for item in items if item not in skip]

    def on_fail_item(self, index: int, kind: str, cause: str, attempts: int) -> None:
        self.failed.append(index)

    def on_batch_lost(self, lost: Any) -> None: ...

    def on_running(self, state: JobState, items: int, workers: int, retried: int) -> None: ...

    def on_charged(self, charged: Charged) -> None: ...

    def on_spent(self, dollars: float, committed: float) -> None: ...

    def on_over_budget(self, over: Any) -> None: ...

    def on_asks(self, asks: AskForMoney, answer: Callable[[float], None]) -> None:
        answer(asks.at_least)

    def warn(self, line: str) -> None:
        self.warnings.append(line)

    def on_broken(self, error: BaseException) -> None:
        self.failure = error

    def on_lacking(self, error: BaseException) -> None:
        self.failure = error

    def on_finish(self, state: JobState) -> None:
        self.states.append(state)
        self.has_ended.set()

    @property
    def spec(self) -> JobSpec:
        return JobSpec(
            id=self.work.id, payload=b"", blobs=(), seed=0, guard="off", timeout=None, memory=None,
            results="", cwd="", environment={}, path=(), displays=False,
        )  # fmt: skip

    def wait(self) -> JobState:
        assert self.has_ended.wait(PATIENCE), "who waits for the job hears nothing"
        return self.states[-1]


@contextmanager
def driven(backend: SimulatedBackend, *jobs: Watched) -> Iterator[Driver]:
    driver = Driver(backend, clock=backend.clock)
    try:
        for job in jobs:
            driver.open(job.spec, job.work.plan(), job)
        backend.go()
        yield driver
    finally:
        driver.close()


# -- work that gets lost


def loses_first(kind: type, times: int = 1) -> Callable[[BatchCall | Event], bool]:
    left = [times]

    def loses(what: BatchCall | Event) -> bool:
        left[0] -= isinstance(what, kind)
        return isinstance(what, kind) and left[0] >= 0

    return loses


LOSSES = {
    "a batch on its way": (BatchCall, 1),
    "all that was sent at first": (BatchCall, 4),
    "the end of a batch": (BatchEnded, 1),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_what_gets_lost_is_run_again_within_seconds_and_at_no_attempts_cost(
    lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(seconds=uniform(200, 0.01))
    job = Watched(work)
    backend = SimulatedBackend([work], limits=FREE, loses=loses_first(*LOSSES[lost]))
    with driven(backend, job):
        assert job.wait() is JobState.DONE
    assert sorted(job.accepted) == list(range(200))
    assert backend.now < 5.0
    assert any("runs again" in line for line in job.warnings)
    assert any("got lost" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("limits", "times"), [(BILLED, 1), (FREE, 10**6)], ids=["billed", "lost again and again"]
)
def test_where_running_again_costs_money_or_is_in_vain_the_job_ends_with_the_reason(
    limits: Limits, times: int
) -> None:
    work = Work(seconds=uniform(20, 0.01))
    job = Watched(work)
    backend = SimulatedBackend([work], limits=limits, loses=loses_first(BatchCall, times))
    with driven(backend, job):
        assert job.wait() is JobState.FAILED
    assert isinstance(job.failure, BackendError)
    assert "got lost" in str(job.failure) and "retry_failed" in str(job.failure)
    assert backend.now < 10.0


def test_an_item_that_takes_long_is_not_taken_for_lost() -> None:
    work = Work(seconds=[3600.0, 0.01])
    job = Watched(work)
    with driven(SimulatedBackend([work], limits=FREE), job):
        assert job.wait() is JobState.DONE
    assert not job.warnings


# -- our own errors


class Broken(Exception):
    pass


def breaks(thing: Any, method: str, only: Callable[..., bool]) -> None:
    """Have a method raise when its first arguments are such."""
    real = getattr(thing, method)

    def act(*args: Any, **options: Any) -> Any:
        if only(*args):
            raise Broken(method)
        return real(*args, **options)

    setattr(thing, method, act)


LISTENER = ("on_accept", "on_fail_item", "on_batch_lost", "on_running", "warn", "on_finish")
METERED = ("on_charged", "on_spent", "on_over_budget", "on_asks")
SOURCE = ("items", "describe", "want", "release", "close")
BACKEND = ("open_job", "submit", "interrupt", "close_job")
OURS = ("open", "supply", "cancel", "weigh", "take")


def break_one(where: str, method: str, bad: Watched, backend: Any, driver: Driver) -> None:
    if where == "job":
        breaks(bad, method, lambda *_: True)
    elif where == "source":
        breaks(bad.source, method, lambda *_: True)
    else:

        def is_of_bad(about: Any, *_: Any) -> bool:
            about = _[0] if method == "interrupt" else about
            of = getattr(about, "id", None) or getattr(about, "job_id", about)
            if isinstance(about, Event) and isinstance(about, (Results, BatchEnded)):
                of = driver._scheduler.job_of(about)
            return bool(getattr(of, "job_id", of) == "bad")

        breaks(backend if where == "backend" else driver._scheduler, method, is_of_bad)


CASES = [
    *(("job", method) for method in (*LISTENER, *METERED)),
    *(("source", method) for method in SOURCE),
    *(("backend", method) for method in BACKEND),
    *(("scheduler", method) for method in OURS),
]


@pytest.mark.parametrize(("where", "method"), CASES, ids=[f"{a}.{b}" for a, b in CASES])
def test_an_error_in_handling_one_job_ends_that_job_and_reaches_no_other(
    where: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    is_stream = method in ("supply", "want")
    works = [
        Work(
            seconds=uniform(100, 0.01),
            id=name,
            stop_on_error=False,
            budget=0.00005 if method == "on_over_budget" else None,
            by_day=method == "on_asks",
            chunk=50 if name == "bad" and is_stream else None,
        )
        for name in ("bad", "good")
    ]
    bad, good = map(Watched, works)
    faults: list[Fault] = [Crash(7, job="bad", known="nothing")]
    backend = SimulatedBackend(works, limits=BILLED if method in METERED else FREE, faults=faults)
    backend.at(0.05, backend.report, Warned("bad", "a line"))
    with pytest.MonkeyPatch.context():
        driver = Driver(backend, clock=backend.clock)
        break_one(where, method, bad, backend, driver)
        try:
            for job in (bad, good):
                driver.open(job.spec, job.work.plan(), job)
            if is_stream:
                driver.supply("bad", 50, False)
            if method in ("cancel", "interrupt"):
                backend.at(0.1, driver.cancel, "bad")
            backend.go()
            if method == "on_over_budget":
                assert good.wait() is JobState.FAILED
            else:
                assert good.wait() is JobState.DONE
                assert sorted(good.accepted) == list(range(100))
            if method != "on_finish":
                assert bad.wait().is_final
                assert len(bad.states) == 1
            assert driver.is_alive and driver.broken is None
            again = Watched(Work(seconds=uniform(100, 0.01), id="good"))
            driver.open(again.spec, again.work.plan(), again)
            assert again.wait() is JobState.DONE
        finally:
            driver.close()


def test_a_job_that_cannot_be_run_again_says_why_and_leaves_the_others_alone() -> None:
    works = [Work(seconds=uniform(100, 0.01), id=name) for name in ("bad", "good")]
    bad, good = map(Watched, works)
    with driven(SimulatedBackend(works), good) as driver:
        driver.retry(bad.spec, bad)
        assert (bad.wait(), good.wait()) == (JobState.FAILED, JobState.DONE)
    assert "%cloud attach bad" in str(bad.failure)


def test_what_waits_behind_a_long_item_of_a_full_job_goes_to_an_idle_worker() -> None:
    slow = Watched(Work(seconds=[3600.0], id="slow", workers=1))
    quick = Watched(Work(seconds=uniform(200, 0.001), id="quick"))
    ended_at = []
    backend = SimulatedBackend([slow.work, quick.work], limits=FREE)
    on_finish = quick.on_finish

    def note(state: JobState) -> None:
        ended_at.append(backend.now)
        on_finish(state)

    quick.on_finish = note  # type: ignore[method-assign]
    with driven(backend, slow, quick):
        assert quick.wait() is JobState.DONE
        assert slow.wait() is JobState.DONE
    assert ended_at[0] < 5.0
