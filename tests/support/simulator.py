"""Runs the dispatcher against imaginary workers on a virtual clock: a million items in seconds.

A run depends on its arguments alone, so that a seed which fails, fails again::

    trace = simulate([Work(seconds=uniform(1000, 0.01))], workers=8, faults=[Crash(7)], seed=3)
    assert trace.jobs["job"].failed == {7: "lost"}
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.backends.protocol import Event, Limits
from cloudbutton_backend.dispatch.actions import (
    Accept,
    AskForMoney,
    Finish,
    Interrupt,
    Kill,
    OverBudget,
    Revoke,
    Submit,
)
from cloudbutton_backend.dispatch.scheduler import Scheduler
from tests.support.fake_backend import FakeWorkers
from tests.support.fake_budget import FakeDailyBudget
from tests.support.invariants import BrokenPromise, InvariantChecker
from tests.support.scripted_faults import Fault
from tests.support.worker_startup import Startup
from tests.support.workload import Work, ideal_makespan

LATENCY: Final = 0.0001
"""Seconds that a message takes, as between processes of one machine."""


@dataclass(frozen=True, kw_only=True)
class JobTrace:
    """What became of one job."""

    ends: tuple[str, ...]
    """Steps by which it ended: finish, fail or stopped; more than one if it was retried."""
    accepted: bytes
    """1 for each item whose result was accepted."""
    failed: dict[int, str]
    """Failed items, and the kind of failure."""
    attempts: dict[int, int]
    """Attempts that failed items were said to have had."""
    runs: tuple[int, ...]
    """How often each item was begun."""
    spent: float
    """Dollars charged, calls whose charge never came at the most they can have cost."""
    over_budget: bool
    """Whether it ended because its next call could not be paid for."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What happened in a simulated run."""

    jobs: dict[str, JobTrace]
    makespan: float
    """Virtual seconds from the first job's start to the last one's end."""
    ideal: float
    """What handing out single items in order without any overhead would have taken, with the workers
    there when they are."""
    work: float
    """Seconds that all items take, one after the other."""
    batches: int
    actions: int
    steps: int
    """Calls of the dispatcher."""
    most_workers: int
    faults: dict[str, int]
    """How often each kind of fault has happened."""
    host_seconds: float
    """CPU time that the dispatcher took."""

    @property
    def n_items(self) -> int:
        return sum(len(job.runs) for job in self.jobs.values())

    @property
    def slowdown(self) -> float:
        """Makespan over the ideal."""
        return self.makespan / self.ideal if self.ideal else 1.0

    @property
    def host_seconds_per_item(self) -> float:
        return self.host_seconds / max(1, self.n_items)


def simulate(
    works: Sequence[Work],
    *,
    workers: int = 2,
    faults: Iterable[Fault] = (),
    limits: Limits | None = None,
    startup: Startup | None = None,
    latency: float = LATENCY,
    turn: float = 0.0,
    seed: int = 0,
    max_steps: int | None = None,
    per_day: float = math.inf,
) -> Trace:
    """Run jobs to their ends.

    Parameters
    ----------
    limits
        What the imaginary backend can do; None for what local workers can.
    turn
        Seconds that one turn of the dispatcher takes: what arrives meanwhile it gets in one go, as
        when so many workers report that it is never idle.
    max_steps
        Calls of the dispatcher after which the run counts as endless.
    per_day
        Dollars that all jobs may spend together which are limited `by_day`.

    Raises
    ------
    BrokenPromise
        If the dispatcher does what it must not, or does not come to an end.
    """
    limits = limits or Limits(workers=workers, can_revoke=True)
    run = _Run(tuple(works), workers, tuple(faults), limits, startup, latency, turn, seed, per_day)
    return run.run(max_steps)


class _Run:
    def __init__(
        self,
        works: tuple[Work, ...],
        workers: int,
        faults: tuple[Fault, ...],
        limits: Limits,
        startup: Startup | None,
        latency: float,
        turn: float,
        seed: int,
        per_day: float,
    ) -> None:
        self._daily_budget = FakeDailyBudget(per_day, seed)
        self.now = 0.0
        self._turn = turn
        self._turn_ends = math.inf
        self._works = works
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = 0
        self._events: list[Event] = []
        self._scheduler = Scheduler(limits, seed=seed)
        self._invariant_checker = InvariantChecker(works, limits, per_day)
        self._n_workers = workers
        self._startup = startup or Startup()
        self._pool = FakeWorkers(
            self,
            works,
            faults,
            startup=self._startup,
            latency=latency,
            seed=seed,
            rate=limits.rate,
        )
        self._retried: set[str] = set()
        self._unfinished = len(works)
        self._most_workers = self._batches = self._actions = self._steps = 0
        self._host = 0.0
        self._wake: float | None = None
        self._ended = 0.0

    # -- what the workers need

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        self._numbers += 1
        heapq.heappush(self._agenda, (when, self._numbers, act, args))

    def report(self, event: Event) -> None:
        if not self._events:
            self._turn_ends = self.now + self._turn
        self._events.append(event)

    # -- the run

    def run(self, max_steps: int | None) -> Trace:
        items = sum(len(work.seconds) for work in self._works)
        limit = max_steps or 10_000 + 200 * items
        self._pool.start(self._n_workers)
        for work in self._works:
            self.at(work.opens, self._open, work)
            if work.cancel is not None:
                self.at(work.cancel, self._cancel, work.id)
        while self._unfinished:
            self._step()
            if self._steps > limit:
                raise BrokenPromise(f"no end after {limit} steps: {self._unfinished} jobs left")
        return self._trace()

    def _step(self) -> None:
        """Go to the next time at which something happens."""
        agenda, wake = self._agenda, math.inf if self._wake is None else self._wake
        if not agenda and not self._events and wake == math.inf:
            open_jobs = [id for id, job in self._scheduler.jobs.items() if not job.state.is_final]
            raise BrokenPromise(f"nothing will happen any more, and {open_jobs} have not ended")
        while agenda and agenda[0][0] <= min(wake, self._turn_ends):
            self.now, _, act, args = heapq.heappop(agenda)
            act(*args)
            wake = math.inf if self._wake is None else self._wake  # a job may have been opened
        if wake < self._turn_ends:
            self.now = max(self.now, wake)
            self._decide(lambda: self._scheduler.tick(self.now))
        elif self._events:
            self.now = self._turn_ends
            self._turn_ends = math.inf
            events, self._events = self._events, []
            for event in events:
                self._invariant_checker.hear(event)
            self._decide(lambda: self._scheduler.handle(events, self.now))
            self._most_workers = max(self._most_workers, self._scheduler.n_workers)

    def _decide(self, call: Callable[[], None]) -> None:
        """Have the dispatcher decide, and carry that out."""
        begin = time.thread_time()
        call()
        actions = self._scheduler.drain()
        self._wake = self._scheduler.next_wake()
        self._host += time.thread_time() - begin
        self._steps += 1
        self._actions += len(actions)
        pool = self._pool
        for action in actions:
            self._invariant_checker.see(action)
            if isinstance(action, Submit):
                self._batches += 1
                pool.submit(
                    action.worker,
                    action.batch,
                    action.job_id,
                    action.first,
                    action.count,
                    action.lease,
                )
            elif isinstance(action, (Accept, OverBudget)):
                continue
            elif isinstance(action, Revoke):
                pool.revoke(action.worker, action.keep)
            elif isinstance(action, Interrupt):
                pool.interrupt(action.worker, action.job_id)
            elif isinstance(action, Kill):
                pool.kill(action.worker, action.reason)
            elif isinstance(action, AskForMoney):
                self.at(self.now + self._daily_budget.takes(), self._give, action)
            elif isinstance(action, Finish):
                self._finish(action)

    # -- jobs

    def _open(self, work: Work) -> None:
        self._decide(lambda: self._scheduler.open(work.plan(), self.now))
        if work.chunk is not None:
            self._supply(work, 0)

    def _supply(self, work: Work, ready: int) -> None:
        assert work.chunk is not None
        total = len(work.seconds)
        account = self._invariant_checker.accounts[work.id]
        if account.ends:
            return  # the source was closed
        account.ready = ready = min(total, ready + work.chunk)
        self._decide(lambda: self._scheduler.supply(work.id, ready, ready == total, self.now))
        if ready < total:
            self.at(self.now + work.pause, self._supply, work, ready)

    def _cancel(self, job_id: str) -> None:
        account = self._invariant_checker.accounts[job_id]
        if job_id in self._scheduler.jobs and account.is_open:
            account.cancelled = True
        self._decide(lambda: self._scheduler.cancel(job_id, self.now))

    def _give(self, asks: AskForMoney) -> None:
        dollars = self._daily_budget.give(asks)
        self._decide(lambda: self._scheduler.give(asks.job_id, dollars, self.now))

    def _finish(self, action: Finish) -> None:
        self._ended = self.now
        self._daily_budget.settle(
            action.job_id, self._invariant_checker.accounts[action.job_id].at_most
        )
        (work,) = [work for work in self._works if work.id == action.job_id]
        retry = work.retry is not None and action.step != "finish"
        if retry and work.id not in self._retried:
            self._retried.add(work.id)
            assert work.retry is not None
            self.at(self.now + work.retry, self._retry, work)
        else:
            self._unfinished -= 1

    def _retry(self, work: Work) -> None:
        self._invariant_checker.accounts[work.id].reopen()
        self._decide(lambda: self._scheduler.retry(work.id, self.now, work.more))

    def _trace(self) -> Trace:
        jobs = {
            job_id: JobTrace(
                ends=tuple(account.ends),
                accepted=bytes(account.accepted),
                failed=dict(account.failed),
                attempts=dict(account.attempts),
                runs=tuple(self._pool.runs[job_id]),
                spent=account.at_most,
                over_budget=account.over_budget,
            )
            for job_id, account in self._invariant_checker.accounts.items()
        }
        seconds = [takes for work in self._works for takes in work.seconds]
        return Trace(
            jobs=jobs,
            makespan=self._ended - min((work.opens for work in self._works), default=0.0),
            ideal=ideal_makespan(seconds, [*map(self._startup.ready, range(self._n_workers))]),
            work=sum(seconds),
            batches=self._batches,
            actions=self._actions,
            steps=self._steps,
            most_workers=self._most_workers,
            faults=self._pool.faults,
            host_seconds=self._host,
        )
