"""Handles the driver's reports on a job: writes them to disk first, then announces them."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from cloudbutton_backend.accounting.job_cost import JobAccounting
from cloudbutton_backend.backends.protocol import Backend, Charged, JobSpec, Results
from cloudbutton_backend.cost.budgets import enough_for
from cloudbutton_backend.dispatch.actions import AskForMoney, BatchLost, OverBudget
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.item_source import ItemSource
from cloudbutton_backend.errors import (
    BackendError,
    BudgetReached,
    DayBudgetReached,
    JobFailed,
    JournalError,
    TaskTimeout,
    WorkerLost,
)
from cloudbutton_backend.job.recorder import JobRecorder
from cloudbutton_backend.job.run_state import RunState
from cloudbutton_backend.job_model import JobRecord, JobState, Progress
from cloudbutton_backend.journal import Journal
from cloudbutton_backend.journal.ownership import keep
from cloudbutton_backend.results.result_ranges import ResultRange, runs_of
from cloudbutton_backend.results.result_record import tag
from cloudbutton_backend.worker.failures import PackedError, message_of

if TYPE_CHECKING:
    from cloudbutton_backend.result_cache import JobCache

_LOG: Final = logging.getLogger(__name__)


_JUDGE_EVERY: Final = 0.05
"""Seconds between estimates of what the job will take."""


class OnDisk(Protocol):
    """What a job writes to disk so that it can be resumed."""

    def ended(self, state: JobState) -> None:
        """The job has ended. On the driver's thread."""


class JobListener:
    """Listens to the driver of one job. All but the constructor is called on the driver's thread.

    Attributes
    ----------
    source : Source
        Where the items come from.
    known_classes : frozenset of str
        Classes of the notebook that travelled with the function; items refer to them.
    """

    def __init__(
        self,
        run_state: RunState,
        recorder: JobRecorder,
        accounting: JobAccounting,
        journal: Journal,
        spec: JobSpec,
        known_classes: frozenset[str] = frozenset(),
    ) -> None:
        self.source: ItemSource
        self.known_classes = known_classes
        self.spec = spec
        self.left_on_disk: OnDisk | None = None
        self.cache: JobCache | None = None
        """Keeps its results to be found by later jobs, if that was asked for."""
        self.lacking: JobFailed | None = None
        """The closing message if items of it are no longer available."""
        self.retried_before = 0
        self.stop_for: Callable[[BaseException], None] = lambda error: None
        """Stops the job because it cannot go on; set by what runs it."""
        self._run_state = run_state
        self._recorder = recorder
        self._job_cost, self._eta = accounting.cost, accounting.eta
        self._daily_grant = accounting.daily_grant
        self._journal = journal
        self._is_telling = False
        self._judged = time.monotonic()

    def give(self, source: ItemSource) -> None:
        """Set the source of the items, before the job is launched."""
        self.source = self._run_state.items = source

    # -- running again

    def begin_again(self, budget: float | None) -> None:
        """Run what failed or was never run again, within another budget if one is given."""
        run_state = self._run_state
        if run_state.state in (JobState.FAILED, JobState.CANCELLED):
            self._keep()
        with run_state.lock:
            run_state.reopen()
            run_state.broken = self._never_produced()
        self._recorder.clear_errors()
        if self._daily_grant is not None:
            self._daily_grant.renew()
        self._journal.update_job(run_state.record.id, state=JobState.RUNNING.value, failed=0)
        if budget is not None:
            run_state.options = replace(run_state.options, budget=budget)
            self._journal.update_job(run_state.record.id, budget=budget)
            self.spec = replace(self.spec, has_budget=True)

    def _keep(self) -> None:
        """Ensure that no other process has taken the job over, or does so now."""
        with contextlib.suppress(JournalError):  # the job matters more than its record
            keep(self._journal.home, self.spec.id)

    def _never_produced(self) -> BaseException | None:
        """Return the closing message if the items' iterator was not exhausted."""
        if self.lacking is not None or self.source.n_items is not None:
            return self.lacking
        return JobFailed(
            f"The iterator that gave the items of job {self.spec.id} was stopped when the job ended: what"
            " it had given by then is in `job.partial()`, the rest was never asked for."
        )

    # -- what is reported

    def on_accept(self, results: Results, skip: frozenset[int]) -> None:
        """Record results on disk, then announce them."""
        run_state, meta = self._run_state, results.meta
        self._name_items(results.first, meta.errors)
        seconds = max(0.0, meta.seconds - meta.delay)
        cost = 0.0
        if self._job_cost is not None:
            cost = self._job_cost.work(results)
        elif self._eta is not None:
            self._eta.work(results.count, meta.seconds)
        entry = self._recorder.accept(results, skip, cost)
        runs = runs_of(entry, skip)
        failed = sum(len(run.failed()) for run in runs)
        with run_state.lock:
            run_state.failed += failed
            run_state.done += results.count - len(skip) - failed
            run_state.task_seconds += seconds
            run_state.waited += meta.delay
            run_state.result_store.add(runs)
        run_state.result_store.notify()
        if self.cache is not None:
            self.cache.accept(results, entry, runs)
        if run_state.broken is None and (why := self._recorder.memory_is_short()):
            self.stop_for(
                JobFailed(
                    f"{why}: job {self.spec.id} was stopped before they are lost with this process. They"
                    " are in `job.partial()`. Make room on the disk, with `cloudbutton gc` for example;"
                    " then `job.retry_failed()` goes on."
                )
            )

    def _name_items(self, first: int, errors: dict[int, PackedError]) -> None:
        """Name the items that failed where the worker could not: it has them only while they run."""
        for offset, packed in errors.items():
            if packed["kind"] in ("load", "item", "unsendable"):
                errors[offset] = {**packed, "item": self.source.describe(first + offset)}

    def on_fail_item(self, index: int, kind: str, cause: str, attempts: int) -> None:
        """An item has failed for good without an exception of its own."""
        run_state, item = self._run_state, self.source.describe(index)
        error: BaseException
        if kind == "timeout":
            error = TaskTimeout(item[:1].upper() + item[1:], run_state.options.timeout or 0.0)
        else:
            error = WorkerLost(item, cause, attempts)
        tag(error, index + run_state.before, item)
        self._recorder.note_error(index, item, type(error).__name__, message_of(error))
        with run_state.lock:
            run_state.failed += 1
            run_state.result_store.add([ResultRange(index, index + 1, None, error)])
        run_state.result_store.notify()

    def on_batch_lost(self, lost: BatchLost) -> None:
        """A worker went down with a batch."""
        cost = self._job_cost.price_of_lost(lost.batch) if self._job_cost else 0.0
        self._recorder.record_lost_batch(lost, cost)

    def on_charged(self, charged: Charged) -> None:
        """A call has its price."""
        if self._job_cost is not None:
            self._job_cost.charge(charged)

    def on_spent(self, dollars: float, committed: float) -> None:
        """Record the dollars spent by now, and what calls in flight can cost in addition."""
        self._run_state.committed = committed
        if self._job_cost is not None:
            self._job_cost.spend = dollars
            self._job_cost.judge(self.source.n_items, time.monotonic() - self._run_state.started)

    def on_asks(self, asks: AskForMoney, answer: Callable[[float], None]) -> None:
        """Ask for some of the daily budget."""
        if self._daily_grant is None:
            answer(0.0)
        else:
            self._daily_grant.ask(asks.at_least, asks.wanted, answer)

    def warn(self, line: str) -> None:
        """Show a line with this job, once."""
        self._recorder.warn(line)

    def on_over_budget(self, over: OverBudget) -> None:
        """Record that it ends because its next call cannot be paid for."""
        run_state, total = self._run_state, self.source.n_items
        if over.of_day and self._daily_grant is not None:
            run_state.broken = DayBudgetReached(
                run_state.record.id,
                over.spent,
                self._daily_grant.per_day,
                over.at_least,
                run_state.done,
                total,
            )
            return
        expected = (
            None if self._job_cost is None else self._job_cost.expected(total, run_state.done)
        )
        run_state.broken = BudgetReached(
            run_state.record.id,
            over.spent,
            over.budget,
            over.at_least,
            enough_for(over.spent, over.budget, over.at_least, expected),
            run_state.done,
            total,
        )

    def on_running(self, state: JobState, items: int, workers: int, retried: int) -> None:
        """The driver has sent or received something."""
        run_state = self._run_state
        if not state.is_final:  # its end is told when all of it is written
            run_state.state = state
        run_state.running = items
        run_state.retried = self.retried_before + retried
        run_state.workers = max(workers, run_state.workers)
        if not self._is_telling:
            self._is_telling = True
            self._journal.update_latest(self.spec.id, self._tell)
        now = time.monotonic()
        if self._eta is not None and now - self._judged >= _JUDGE_EVERY:
            self._judged = now
            finished, elapsed = run_state.done + run_state.failed, now - run_state.started
            self._eta.judge(self.source.n_items, finished, run_state.workers, elapsed)

    def _tell(self) -> Progress:
        """Return how far it is, for the journal, on whose thread this is called."""
        self._is_telling = False  # first: what comes from here on is told once more
        return self._run_state.progress

    def on_broken(self, error: BaseException) -> None:
        """The job cannot go on."""
        self._run_state.broken = error

    def on_lacking(self, error: BaseException) -> None:
        """Its items ended in an error."""
        failure = JobFailed(
            f"The items of job {self.spec.id} could not all be produced: "
            f"{type(error).__name__}: {message_of(error)}\n"
            "Those that came before are kept: `job.partial()`."
        )
        failure.__cause__ = error
        self._run_state.broken = self.lacking = failure

    def on_finish(self, state: JobState) -> None:
        """End the job: its waiters go on, whatever becomes of the records."""
        run_state = self._run_state
        if state is JobState.DONE:  # it will not be run again: drop what that would need
            self._try(self.source.forget)
            self.spec = replace(self.spec, payload=b"", blobs=())
            self._try(functools.partial(self._recorder.record_done, self.source.n_items))
        self._try(self._recorder.close)
        if self._daily_grant is not None:
            self._try(functools.partial(self._daily_grant.settle, run_state.cost))
        record = functools.partial(self._try, functools.partial(self._record_end, state))
        callbacks = run_state.end(state, record)
        if self.left_on_disk is not None:
            self._try(functools.partial(self.left_on_disk.ended, state))
        tell(callbacks, self.spec.id)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:
            _LOG.exception("a part of the end of job %s failed", self.spec.id)

    def _record_end(self, state: JobState) -> None:
        self._journal.update_progress(self._run_state.progress)
        self._journal.update_job(self.spec.id, state=state.value, n_items=self.source.n_items)


def tell(callbacks: list[Callable[[], None]], job_id: str) -> None:
    """Call the callbacks; what one raises is logged, as by futures, and the others are called."""
    for callback in callbacks:
        try:
            callback()
        except Exception:
            _LOG.exception("a callback of job %s raised", job_id)


class LocalRunner:
    """Runs a job in this process: a driver and its listener."""

    def __init__(self, driver: Driver, reporter: JobListener) -> None:
        self.driver = driver
        self.reporter = reporter
        reporter.stop_for = functools.partial(driver.break_job, reporter.spec.id)

    @property
    def ends_with_us(self) -> bool:
        """Whether the job cannot go on when this process ends."""
        return not (self.reporter.spec.detached and self.driver.backend.limits.can_outlive)

    @property
    def backend(self) -> Backend:
        """The identity of its backend."""
        return self.driver.backend

    def cancel(self) -> None:
        """Stop the job; safe to repeat."""
        self.driver.cancel(self.reporter.spec.id)

    def retry(self, budget: float | None) -> None:
        """Run again what failed or was never run.

        Raises
        ------
        UsageError
            While it runs, or if nothing of it can be run again.
        """
        self.reporter.begin_again(budget)
        self.driver.retry(self.reporter.spec, self.reporter, budget)

    def forget(self) -> None:
        """Drop what is kept for running it again."""
        self.driver.forget(self.reporter.spec.id)


def check_alive(driver: Driver, record: JobRecord) -> None:
    """Refuse to wait for a driver that is gone."""
    if not driver.is_alive:
        raise BackendError(
            f"The thread that drives the {record.ran_on} backend is gone"
            f" ({driver.broken or 'the session was closed'}); what job {record.id} had"
            " finished is in `job.partial()`."
        )
