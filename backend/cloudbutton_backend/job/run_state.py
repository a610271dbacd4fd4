"""The state of a running job: how far it is, what came of its items, what stands in its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloudbutton_backend.errors import BudgetReached, UsageError
from cloudbutton_backend.job_model import (
    BatchRecord,
    Estimate,
    JobOptions,
    JobRecord,
    JobState,
    Progress,
)
from cloudbutton_backend.job_model.rules import refusal
from cloudbutton_backend.results.result_ranges import ResultRange
from cloudbutton_backend.results.result_store import ResultStore


class Counted(Protocol):
    """Has a number of items."""

    @property
    def n_items(self) -> int | None:
        """The number of all items; None while it is unknown."""


class Notes(Protocol):
    """What is recorded of a job beside its results."""

    @property
    def batches(self) -> Sequence[BatchRecord]: ...

    @property
    def lost_workers(self) -> int: ...

    @property
    def last_lines(self) -> Sequence[str]: ...

    @property
    def warnings(self) -> Sequence[str]: ...

    @property
    def first_error(self) -> str | None: ...


class Money(Protocol):
    """The cost of a job, where calls have a price."""

    @property
    def spend(self) -> float: ...

    @property
    def at_most(self) -> bool: ...

    @property
    def estimate(self) -> Estimate | None: ...

    def expected(self, total: int | None, done: int) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """A job's record and runner, replaced as a whole when another process goes on with it."""

    record: JobRecord
    options: JobOptions
    notes: Notes
    money: Money | None
    check_alive: Callable[[], None]
    """Raises if nothing will come any more though the job has not ended."""
    before: int = 0
    """How many items of the same loop ran before the job's first; messages count them."""


class RunState:
    """Changed by the thread that drives or follows the job, read by the code that holds it.

    Attributes
    ----------
    lock
        Held while what is counted and what is held change together.
    broken
        Why it cannot go on.
    cached
        Of the items with results, those that other jobs had run.
    """

    def __init__(self, context: RunContext) -> None:
        self.items: Counted
        self.before = context.before
        self.state = JobState.RUNNING
        self.lock = threading.Lock()
        self.result_store = ResultStore(self.lock, context.check_alive)
        self._set(context)
        self.done = self.failed = 0
        self.running = self.workers = self.retried = 0
        self.cached = 0
        self.task_seconds = self.waited = 0.0
        self.committed = 0.0
        self.broken: BaseException | None = None
        self.started = time.monotonic()
        self.ended: float | None = None
        self.callbacks: list[Callable[[], None]] = []
        self.on_read: Callable[[], None] | None = None
        """Called once, when its results are read after it has ended."""

    def note_read(self) -> None:
        """Note that the results so far were read."""
        on_read = self.on_read
        if on_read is not None and self.state.is_final:
            self.on_read = None
            on_read()

    def prefill(self, runs: Sequence[ResultRange]) -> None:
        """Count the items of `runs` as done; they are delivered first."""
        with self.lock:
            self.done += sum(run.stop - run.first for run in runs)
            self.result_store.add(runs)
        self.result_store.notify()

    def continue_as(self, context: RunContext) -> None:
        """Switch to another process that runs the job, and keep the results."""
        with self.lock:
            if self.state.is_final:
                self.reopen()
            self.state = JobState.RUNNING
            self.result_store.check_alive = context.check_alive
            self._set(context)

    def _set(self, context: RunContext) -> None:
        self.record, self.options = context.record, context.options
        self.notes, self.money = context.notes, context.money

    def reopen(self) -> None:
        """Prepare to run what failed or is missing again. `lock` must be held.

        Raises
        ------
        UsageError
            While it runs, or if nothing of it can be run again.
        """
        if reason := refusal("retry", self.record, self.state):
            raise UsageError(reason)
        self.result_store.reopen()
        self.state = JobState.RUNNING
        self.failed = 0
        now = time.monotonic()
        # It has run for as long as before, as its work is that of before, too; the pause does not count.
        self.started, self.ended = now - ((self.ended or now) - self.started), None

    def end(
        self, state: JobState, record: Callable[[], None] = lambda: None
    ) -> list[Callable[[], None]]:
        """End in `state`; return the callbacks to be called.

        `record` is called before anybody who waits goes on: what they then flush, or are killed
        at, has the end of the job.
        """
        with self.lock:
            self.state = state
            self.running = 0
            self.ended = time.monotonic()
            record()
            self.result_store.end()
            callbacks, self.callbacks = self.callbacks, []
        self.result_store.notify()
        return callbacks

    @property
    def cost(self) -> float:
        """US dollars so far."""
        return 0.0 if self.money is None else self.money.spend

    @property
    def estimate(self) -> Estimate | None:
        """The expected cost when it began."""
        return None if self.money is None else self.money.estimate

    @property
    def progress(self) -> Progress:
        """A snapshot of the progress."""
        total = self.items.n_items
        return Progress(
            job_id=self.record.id,
            name=self.record.name,
            backend=self.record.backend,
            emulated=self.record.emulated,
            state=self.state,
            total=total,
            done=self.done,
            failed=self.failed,
            running=self.running,
            workers=self.workers,
            elapsed=(self.ended or time.monotonic()) - self.started,
            task_seconds=self.task_seconds,
            waited=self.waited,
            spend=self.cost,
            at_most=self.money is not None and self.money.at_most,
            committed=0.0 if self.state.is_final else self.committed,
            expected_spend=self._expected_cost(total),
            budget=self.options.budget,
            estimate=self.estimate,
            cached=self.cached,
            continues=self.options.continues is not None,
            retried=self.retried,
            lost_workers=self.notes.lost_workers,
            last_lines=tuple(self.notes.last_lines),
            first_error=self.notes.first_error or self._what_broke_it(),
            warnings=tuple(self.notes.warnings),
        )

    def _expected_cost(self, total: int | None) -> float | None:
        if self.money is None:
            return None
        return self.cost if self.state.is_final else self.money.expected(total, self.done)

    def _what_broke_it(self) -> str | None:
        """Return one line about why it could not go on."""
        if self.broken is None:
            return None
        if isinstance(self.broken, BudgetReached):
            return self.broken.summary
        return f"{type(self.broken).__name__}: {str(self.broken).splitlines()[0]}"
