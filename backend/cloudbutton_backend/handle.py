"""`Job`: what the user holds of a run, while it goes on and after."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.backends.protocol import Charged, JobSpec, Results
from cloudbutton_backend.bill import Bill
from cloudbutton_backend.capture import Captured, CaptureReport
from cloudbutton_backend.cost.budgets import enough_for
from cloudbutton_backend.dispatch.actions import BatchLost, OverBudget
from cloudbutton_backend.dispatch.source import Source
from cloudbutton_backend.errors import (
    BackendError,
    BudgetReached,
    JobCancelled,
    JobFailed,
    TaskTimeout,
    UsageError,
    WorkerLost,
)
from cloudbutton_backend.harvest import Harvest
from cloudbutton_backend.jobs import (
    LIFE_CYCLE,
    BatchRecord,
    Estimate,
    ItemOutcome,
    JobOptions,
    JobRecord,
    JobState,
    Progress,
)
from cloudbutton_backend.journal import Journal
from cloudbutton_backend.recorder import Recorder
from cloudbutton_backend.results import tag
from cloudbutton_backend.runs import Run, runs_of

if TYPE_CHECKING:
    from cloudbutton_backend.dispatch.driver import Driver

_LOG: Final = logging.getLogger(__name__)
_TELL_EVERY: Final = 0.05
"""Seconds between snapshots for the journal."""


class Job:
    """A run of a function over items.

    Results are available as they arrive; what has arrived is never lost to a failed item, a dead worker
    or a cancellation.

    Attributes
    ----------
    id, name : str
    source : Source
        Where the items come from.
    """

    def __init__(
        self,
        record: JobRecord,
        options: JobOptions,
        captured: Captured,
        driver: Driver,
        journal: Journal,
        results: Path | None,
        bill: Bill | None = None,
        before: int = 0,
    ) -> None:
        self.record = record
        self.options = options
        self.source: Source
        self._spec: JobSpec
        self.known_classes = captured.classes
        self._captured: Captured | None = captured
        self._report: CaptureReport
        self._driver = driver
        self._journal = journal
        self._state = JobState.RUNNING
        self._lock = threading.Lock()
        self._harvest = Harvest(self._lock, functools.partial(_check_alive, driver, record))
        self._done = self._failed = 0
        self._running = self._workers = self._retried = 0
        self._begun = False
        self._mean: float | None = None
        self._task_seconds = self._waited = 0.0
        self._before = before
        self._recorder = Recorder(record.id, journal, results, before)
        self._bill = bill
        self._broken: BaseException | None = None
        self._items_error: JobFailed | None = None
        self._started = self._told = time.monotonic()
        self._ended: float | None = None
        self._callbacks: list[Callable[[Job], None]] = []

    def __repr__(self) -> str:
        of = "" if self.n_items is None else f" of {self.n_items}"
        failed = f", {self._failed} failed" if self._failed else ""
        return f"<Job {self.id} {self.name!r}: {self.state.value}, {self._done}{of} done{failed}>"

    def prefill(self, runs: Sequence[Run]) -> None:
        """Count the items of `runs` as done: they have results from before the job is launched.

        They must be disjoint and without failed items, are delivered first, and are not written to
        result files again. The plan's `done` has to name the same items (see `ranges_of`).
        """
        with self._lock:
            self._done += sum(run.stop - run.first for run in runs)
            self._harvest.add(runs)
        self._harvest.ring()

    # -- what it is

    @property
    def id(self) -> str:
        """The job's id, as `%cloud show` takes it."""
        return self.record.id

    @property
    def name(self) -> str:
        """What the user or the cell calls it."""
        return self.record.name

    @property
    def state(self) -> JobState:
        """Where it is in its life."""
        return self._state

    @property
    def n_items(self) -> int | None:
        """How many items it has, None while that is not known."""
        return self.source.n_items

    @property
    def cost(self) -> float:
        """US dollars billed so far; 0 where work is free.

        A call whose price is not known counts for the most that it can have cost.
        """
        return 0.0 if self._bill is None else self._bill.spend

    @property
    def estimate(self) -> Estimate | None:
        """What it was expected to cost when it began, with a 90 % interval.

        None where work is free, and until its first calls have told: earlier runs of the same code
        give it at once.
        """
        return None if self._bill is None else self._bill.estimate

    @property
    def progress(self) -> Progress:
        """How far it is, as a snapshot."""
        total = self.n_items
        finished = self._done + self._failed
        elapsed = (self._ended or time.monotonic()) - self._started
        eta = None
        if self._state.is_final:
            eta = 0.0
        elif total is not None and self._mean is not None and self._workers:
            eta = max(0, total - finished) * self._mean / self._workers
        return Progress(
            job_id=self.id,
            name=self.name,
            backend=self.record.backend,
            state=self._state,
            total=total,
            done=self._done,
            failed=self._failed,
            running=self._running,
            workers=self._workers,
            elapsed=elapsed,
            eta=eta,
            task_seconds=self._task_seconds,
            waited=self._waited,
            spend=self.cost,
            expected_spend=self._expected_cost(total),
            budget=self.options.budget,
            estimate=self.estimate,
            retried=self._retried,
            lost_workers=self._recorder.lost_workers,
            last_lines=tuple(self._recorder.last_lines),
            first_error=self._recorder.first_error or self._what_broke_it(),
            warnings=tuple(self._recorder.warnings),
        )

    def _expected_cost(self, total: int | None) -> float | None:
        if self._bill is None:
            return None
        if self._state.is_final:
            return self._bill.spend
        return self._bill.expected(total, self._done)

    @property
    def failure(self) -> BaseException | None:
        """Why it could not go on: its budget, its backend, its items; None if nothing is in its way."""
        return self._broken

    def _what_broke_it(self) -> str | None:
        """Return one line about why it could not go on."""
        if self._broken is None:
            return None
        if isinstance(self._broken, BudgetReached):
            return self._broken.summary
        return f"{type(self._broken).__name__}: {str(self._broken).splitlines()[0]}"

    def timeline(self) -> tuple[BatchRecord, ...]:
        """Return the batches so far: worker, items, start and end."""
        return tuple(self._recorder.batches)

    def explain(self) -> CaptureReport:
        """Return what was captured, how large it is and how it travelled."""
        captured = self._captured
        if captured is not None:
            self._report = captured.report
            self._captured = None  # it holds the user's large values; the report does not
        return self._report

    # -- waiting for it

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; return whether it has within `timeout` seconds."""
        return self._harvest.wait(timeout)

    def results(self) -> list[Any]:
        """Wait for all items; return their results in the order of the items.

        With ``errors="keep"`` a failed item's place holds its exception. Interrupting the wait
        (Ctrl-C, ■) cancels the job.

        Raises
        ------
        Exception
            With ``errors="raise"``, what the first failed item raised, with its original type.
        JobCancelled, JobFailed
            If it ended before all items had.
        """
        try:
            self.wait()
        except KeyboardInterrupt:
            self.cancel()
            raise
        self._raise_if_failed()
        return self._harvest.values(keep_errors=self.options.errors == "keep")

    def _raise_if_failed(self) -> None:
        failed = self.errors() if self.options.errors == "raise" and self._failed else {}
        if self._state is JobState.FAILED and failed:
            index, error = min(failed.items())
            self._annotate(error, index)
            raise error
        if self._broken is not None:
            raise self._broken
        if self._state is JobState.CANCELLED:
            raise JobCancelled(self.id, self._done, self.n_items)

    def _annotate(self, error: BaseException, index: int) -> None:
        """Say on the exception which item it was, how many failed alike and what is kept."""
        same = self._failed - 1
        item = getattr(error, "cloud_item", "")
        text = f"item {index + self._before}" + (
            f" ({item})" if item and not item.startswith("item") else ""
        )
        if same:
            text += f"; {same} more failed: `job.errors()`"
        text += f"; {self._done} finished are kept: job {self.id}, `job.partial()`"
        if hasattr(error, "add_note") and text not in getattr(error, "__notes__", ()):
            error.add_note(text)

    def outcomes(self) -> Iterator[ItemOutcome]:
        """Yield what each item left behind, in the order of the items, as they become available.

        Ends with the job; items that never ran are left out.
        """
        for run in self._harvest.in_order():
            yield from run.outcomes()

    def shown(self) -> Iterator[ItemOutcome]:
        """Yield what items printed or displayed, in the order of the items, without their values.

        Costs nothing for items that showed nothing; ends with the job.
        """
        for run in self._harvest.in_order():
            yield from run.outputs()

    def as_completed(self) -> Iterator[tuple[int, Any]]:
        """Yield ``(index, result)`` of each item as it finishes.

        Raises
        ------
        Exception
            With ``errors="raise"``, a failed item's exception, after the results before it; with
            ``errors="keep"`` the exception takes the result's place.
        """
        for outcome in self.arrivals():
            if outcome.error is None:
                yield outcome.index, outcome.value
            elif self.options.errors == "keep":
                yield outcome.index, outcome.error
        self._raise_if_failed()

    def arrivals(self) -> Iterator[ItemOutcome]:
        """Yield what each item left behind, failed ones included, in the order in which they end.

        Interrupting the wait for the next one (Ctrl-C, ■) cancels the job.
        """
        seen = 0
        while True:
            try:
                fresh = self._harvest.arrived_since(seen)
            except KeyboardInterrupt:
                self.cancel()
                raise
            if not fresh:
                return
            seen += len(fresh)
            for run in fresh:
                yield from run.outcomes()

    def partial(self) -> dict[int, Any]:
        """Return the results so far by index, failed items left out."""
        runs = self._harvest.so_far()
        return {o.index: o.value for run in runs for o in run.outcomes() if o.error is None}

    def errors(self) -> dict[int, BaseException]:
        """Return the exceptions of failed items so far, by index."""
        runs = self._harvest.so_far()
        return dict(error for run in runs for error in run.errors())

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> list[Any]:
        import asyncio  # 20 ms that most processes need not spend

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        def announce(_job: Job) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(wake)

        self.add_done_callback(announce)
        try:
            await future
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.results()

    def add_done_callback(self, callback: Callable[[Job], None]) -> None:
        """Call `callback` with the job when it has ended, at once if it has."""
        with self._lock:
            if not self._state.is_final:
                self._callbacks.append(callback)
                return
        self._tell(callback)

    # -- acting on it

    def cancel(self) -> None:
        """Stop it; what has finished is kept. Safe to repeat, and when it has ended."""
        self._driver.cancel(self.id)

    def retry_failed(self, *, budget: float | None = None) -> Job:
        """Run again what failed or was never run; return this job.

        Parameters
        ----------
        budget
            US dollars that it may cost in all, what it has cost so far included; None to leave its
            budget as it is.

        Raises
        ------
        UsageError
            While it is running, or if nothing of it can be run again, or for a budget below zero.
        """
        check_budget(budget)
        with self._lock:
            if not self._state.is_final:
                raise UsageError(f"Job {self.id} is still running; wait for it or cancel it first.")
            if (self._state, "retry") not in LIFE_CYCLE:
                raise UsageError(f"All {self._done} items of job {self.id} are done.")
            if self.record.kind == "executor":
                raise UsageError(f"Job {self.id} is an executor's: submit its calls anew.")
            self._broken = self._never_produced()
            self._harvest.reopen()
            self._state = JobState.RUNNING
            self._failed = 0
            self._recorder.forget_errors()
            self._started, self._ended = time.monotonic(), None
        self._journal.update_job(self.id, state=JobState.RUNNING.value, failed=0)
        if budget is not None:
            self.options = replace(self.options, budget=budget)
            self._journal.update_job(self.id, budget=budget)
            self._spec.extra["budget"] = True
        self._driver.retry(self._spec, self, budget)
        return self

    def _never_produced(self) -> BaseException | None:
        """Return what is to be said at the end if the items' iterator did not come to its end."""
        if self._items_error is not None or self.source.n_items is not None:
            return self._items_error
        return JobFailed(
            f"The iterator that gave the items of job {self.id} was stopped when the job ended: what"
            " it had given by then is in `job.partial()`, the rest was never asked for."
        )

    # -- what the driver reports (on its thread)

    def on_accept(self, results: Results, skip: frozenset[int]) -> None:
        """Record results on disk, then announce them."""
        meta = results.meta
        self._name_items(results.first, meta.get("errors") or {})
        seconds = max(0.0, meta.get("dt", 0.0) - meta.get("delay", 0.0))
        cost = self._bill.work(results.batch, results.count, seconds) if self._bill else 0.0
        entry = self._recorder.accept(results, skip, cost)
        runs = runs_of(entry, skip)
        failed = sum(len(run.failed()) for run in runs)
        with self._lock:
            self._failed += failed
            self._done += results.count - len(skip) - failed
            self._task_seconds += seconds
            self._waited += meta.get("delay", 0.0)
            self._harvest.add(runs)
        self._harvest.ring()

    def _name_items(self, first: int, errors: dict[int, dict[str, Any]]) -> None:
        """Say which items failed where the worker could not: it has them only while they run."""
        for offset, packed in errors.items():
            if packed["kind"] in ("load", "item", "unsendable"):
                errors[offset] = {**packed, "item": self.source.describe(first + offset)}

    def on_fail_item(self, index: int, kind: str, cause: str, attempts: int) -> None:
        """An item has failed for good without an exception of its own."""
        item = self.source.describe(index)
        error: BaseException
        if kind == "timeout":
            error = TaskTimeout(item[:1].upper() + item[1:], self.options.timeout or 0.0)
        else:
            error = WorkerLost(item, cause, attempts)
        tag(error, index + self._before, item)
        self._recorder.note_error(index, item, type(error).__name__, str(error))
        run = Run(index, index + 1, None, error)
        with self._lock:
            self._failed += 1
            self._harvest.add([run])
        self._harvest.ring()

    def on_batch_lost(self, lost: BatchLost) -> None:
        """A worker went down with a batch."""
        cost = self._bill.price_of_lost(lost.batch) if self._bill else 0.0
        self._recorder.lose(lost, cost)

    def on_charged(self, charged: Charged) -> None:
        """A call has its price."""
        if self._bill is not None:
            self._bill.charge(charged)

    def on_spent(self, dollars: float) -> None:
        """It has spent so much by now."""
        if self._bill is not None:
            self._bill.spend = dollars
            self._bill.judge(self.n_items)

    def warn(self, line: str) -> None:
        """Have a line shown with this job, once."""
        self._recorder.warn(line)

    def on_over_budget(self, over: OverBudget) -> None:
        """It ends because its next call cannot be paid for."""
        total = self.n_items
        expected = None if self._bill is None else self._bill.expected(total, self._done)
        self._broken = BudgetReached(
            self.id,
            over.spent,
            over.budget,
            over.at_least,
            enough_for(over.spent, over.budget, over.at_least, expected),
            self._done,
            total,
        )

    def on_running(self, items: int, workers: int, retried: int, mean: float | None) -> None:
        """The driver has sent or received something."""
        self._running, self._retried, self._mean = items, retried, mean
        self._workers = max(workers, self._workers)
        now = time.monotonic()
        begins = items > 0 and not self._begun  # there may be no other news for a long time
        if begins or now - self._told >= _TELL_EVERY:
            self._begun = self._begun or begins
            self._told = now
            self._journal.update_progress(self.progress)

    def on_broken(self, error: BaseException) -> None:
        """The job cannot go on, or its items ended in an error."""
        if isinstance(error, BackendError):
            self._broken = error
        else:
            failure = JobFailed(
                f"The items of job {self.id} could not all be produced: "
                f"{type(error).__name__}: {error}\n"
                "Those that came before are kept: `job.partial()`."
            )
            failure.__cause__ = error
            self._broken = self._items_error = failure

    def on_finish(self, step: str) -> None:
        """It has ended."""
        self._recorder.close()
        state = LIFE_CYCLE.get((self._state, step), JobState.CANCELLED)
        if self._broken is not None:
            state = JobState.FAILED
        elif self._state is JobState.RUNNING and step == "stopped":
            state = JobState.CANCELLED
        if state is JobState.DONE:  # it will not be run again: let go of what that would need
            self.source.forget()
            self._spec = replace(self._spec, payload=b"", blobs=())
        with self._lock:
            self._state = state
            self._harvest.end()
            self._running = 0
            self._ended = time.monotonic()
            callbacks, self._callbacks = self._callbacks, []
        self._harvest.ring()
        self._journal.update_progress(self.progress)
        self._journal.update_job(self.id, state=state.value, n_items=self.n_items)
        for callback in callbacks:
            self._tell(callback)

    def _tell(self, callback: Callable[[Job], None]) -> None:
        """Call a callback; what it raises is logged, as by futures, and stops nobody."""
        try:
            callback(self)
        except Exception:
            _LOG.exception("a callback of job %s raised", self.id)


def _check_alive(driver: Driver, record: JobRecord) -> None:
    """Refuse to wait for a driver that is gone."""
    if not driver.is_alive:
        raise BackendError(
            f"The thread that drives the {record.backend} backend is gone"
            f" ({driver.broken or 'the session was closed'}); what job {record.id} had"
            " finished is in `job.partial()`."
        )


def check_budget(budget: float | None) -> None:
    """Refuse a budget that makes no sense.

    Raises
    ------
    UsageError
        If it is below zero, or no finite number.
    """
    if budget is not None and not 0 <= budget < math.inf:
        raise UsageError(f"`budget` must be 0 US dollars or more, not {budget:g}.")
