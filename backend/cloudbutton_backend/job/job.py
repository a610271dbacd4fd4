"""`Job`: the user's handle of a run, while it goes on and after."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from cloudbutton_backend.backends.capabilities import MakesDaskFutures
from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.capture import CaptureReport
from cloudbutton_backend.errors import JobCancelled, UsageError
from cloudbutton_backend.job.listener import tell
from cloudbutton_backend.job.run_state import RunState
from cloudbutton_backend.job_model import (
    BatchRecord,
    Estimate,
    ItemOutcome,
    JobOptions,
    JobRecord,
    JobState,
    Progress,
)
from cloudbutton_backend.results.log_records import handle_records
from cloudbutton_backend.results.result_ranges import ResultRange

if TYPE_CHECKING:
    from cloudbutton_backend.result_cache import JobCache

_LOOK_EVERY: Final = 1.0
"""Seconds between checks whether the job is still driven, while it is awaited."""


class JobRunner(Protocol):
    """What runs a job: a driver in this process, or another process."""

    @property
    def ends_with_us(self) -> bool:
        """Whether the job cannot go on when this process ends."""

    @property
    def backend(self) -> Backend | None:
        """The backend, None unless this process drives the job."""

    def cancel(self) -> None:
        """Stop it; safe to repeat, and when it has ended."""

    def retry(self, budget: float | None) -> None:
        """Run again what failed or was never run, in a job that has ended."""

    def forget(self) -> None:
        """Drop what is kept for running it again."""


class Job:
    """A run of a function over items.

    Results are available as they arrive; what has arrived is never lost to a failed item, a dead worker
    or a cancellation.

    Attributes
    ----------
    id, name : str
    """

    def __init__(
        self, run_state: RunState, runner: JobRunner, report: Callable[[], CaptureReport]
    ) -> None:
        self._run_state = run_state
        self._runner = runner
        self._result_store = run_state.result_store
        self._make_report: Callable[[], CaptureReport] | None = report
        self._report: CaptureReport
        self.cache: JobCache | None = None
        """What it takes from the cache and gives to it, if that was asked for."""

    def __repr__(self) -> str:
        run_state = self._run_state
        of = "" if self.n_items is None else f" of {self.n_items}"
        failed = f", {run_state.failed} failed" if run_state.failed else ""
        return (
            f"<Job {self.id} {self.name!r}: {self.state.value}, {run_state.done}{of} done{failed}>"
        )

    def prefill(self, runs: Sequence[ResultRange]) -> None:
        """Count the items of `runs` as done: they have results from before the job is launched.

        They must be disjoint and without failed items, are delivered first, and are not written to
        result files again. The plan's `done` has to name the same items (see `ranges_of`).
        """
        self._run_state.prefill(runs)

    # -- what it is

    @property
    def record(self) -> JobRecord:
        """The record of the job."""
        return self._run_state.record

    @property
    def options(self) -> JobOptions:
        """The options of the job."""
        return self._run_state.options

    @property
    def id(self) -> str:
        """The job's id, as `%cloud show` takes it."""
        return self.record.id

    @property
    def name(self) -> str:
        """The name that the user or the cell gave it."""
        return self.record.name

    @property
    def state(self) -> JobState:
        """The state of the job."""
        return self._run_state.state

    @property
    def n_items(self) -> int | None:
        """The number of items, None while it is unknown."""
        return self._run_state.items.n_items

    @property
    def cost(self) -> float:
        """US dollars billed so far; 0 where work is free.

        A call whose price is not known counts for the most that it can have cost.
        """
        return self._run_state.cost

    @property
    def estimate(self) -> Estimate | None:
        """The expected cost when it began, with a 90 % interval.

        None where work is free, and until its first calls have told: earlier runs of the same code
        give it at once.
        """
        return self._run_state.estimate

    @property
    def progress(self) -> Progress:
        """A snapshot of the progress."""
        return self._run_state.progress

    @property
    def ends_with_us(self) -> bool:
        """Whether it ends when this process does: not if another one runs it, or a cloud does."""
        return self._runner.ends_with_us

    @property
    def failure(self) -> BaseException | None:
        """The reason why it could not go on: its budget, its backend, its items; None if it could."""
        return self._run_state.broken

    def timeline(self) -> tuple[BatchRecord, ...]:
        """Return the batches so far: worker, items, start and end."""
        return tuple(self._run_state.notes.batches)

    def explain(self) -> CaptureReport:
        """Return what was captured, how large it is and how it travelled."""
        make = self._make_report
        if make is not None:
            self._report = make()
            self._make_report = None  # it holds the user's large values; the report does not
        return self._report

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write an HTML file about the job, to keep or to share; return where it is.

        It says what ran, when and where, and what came of it: timeline, durations, memory, errors and
        cost. It needs nothing else, and leaves out paths of this machine and what looks like a secret.

        Parameters
        ----------
        path
            A file or a directory; None for `cloudbutton-<id>.html` in the working directory.

        Raises
        ------
        UsageError
            It cannot be written there.
        """
        from cloudbutton_backend.report import report_of_job  # most jobs have none

        return report_of_job(self, path)

    # -- waiting for it

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; return whether it has within `timeout` seconds."""
        return self._result_store.wait(timeout)

    def results(self) -> list[Any]:
        """Wait for all items; return their results in the order of the items.

        With ``errors="keep"`` a failed item's place holds its exception. Interrupting the wait
        (Ctrl-C, ■) cancels the job, unless it is one that goes on without this process.

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
            self._interrupted()
            raise
        handle_records(self.shown())
        self._raise_if_failed()
        values = self._result_store.values(keep_errors=self.options.errors == "keep")
        self._run_state.note_read()
        return values

    def _interrupted(self) -> None:
        """The caller no longer waits: stop a job of this process; one that others run goes on."""
        if self._runner.ends_with_us:
            self.cancel()

    def _raise_if_failed(self) -> None:
        failed = self.errors() if self.options.errors == "raise" and self._run_state.failed else {}
        if self.state is JobState.FAILED and failed:
            index, error = min(failed.items())
            self._annotate(error, index)
            raise error
        if self.failure is not None:
            raise self.failure
        if self.state is JobState.CANCELLED:
            raise JobCancelled(self.id, self._run_state.done, self.n_items)

    def _annotate(self, error: BaseException, index: int) -> None:
        """Note on the exception which item it was, how many failed alike and what is kept."""
        same = self._run_state.failed - 1
        item = getattr(error, "cloud_item", "")
        text = f"item {index + self._run_state.before}" + (
            f" ({item})" if item and not item.startswith("item") else ""
        )
        if same:
            text += f"; {same} more failed: `job.errors()`"
        text += f"; {self._run_state.done} finished are kept: job {self.id}, `job.partial()`"
        if hasattr(error, "add_note") and text not in getattr(error, "__notes__", ()):
            error.add_note(text)

    def outcomes(self) -> Iterator[ItemOutcome]:
        """Yield what each item left behind, in the order of the items, as they become available.

        Ends with the job; items that never ran are left out.
        """
        for run in self._result_store.in_order():
            yield from run.outcomes()
        self._run_state.note_read()

    def shown(self) -> Iterator[ItemOutcome]:
        """Yield what items printed or displayed, in the order of the items, without their values.

        Costs nothing for items that showed nothing; ends with the job.
        """
        for run in self._result_store.in_order():
            yield from run.outputs()

    def as_completed(self) -> Iterator[tuple[int, Any]]:
        """Yield ``(index, result)`` of each item as it finishes.

        Raises
        ------
        Exception
            With ``errors="raise"``, a failed item's exception, after the results before it; with
            ``errors="keep"`` the exception takes the result's place.
        """
        for outcome in self.new_results():
            handle_records((outcome,))
            if outcome.error is None:
                yield outcome.index, outcome.value
            elif self.options.errors == "keep":
                yield outcome.index, outcome.error
        self._raise_if_failed()

    def new_results(self) -> Iterator[ItemOutcome]:
        """Yield what each item left behind, failed ones included, in the order in which they end.

        Interrupting the wait for the next one (Ctrl-C, ■) cancels the job, as with `results`.
        """
        seen = 0
        while True:
            try:
                fresh = self._result_store.arrived_since(seen)
            except KeyboardInterrupt:
                self._interrupted()
                raise
            if not fresh:
                self._run_state.note_read()
                return
            seen += len(fresh)
            for run in fresh:
                yield from run.outcomes()

    def partial(self) -> dict[int, Any]:
        """Return the results so far by index, failed items left out."""
        runs = self._result_store.so_far()
        values = {o.index: o.value for run in runs for o in run.outcomes() if o.error is None}
        self._run_state.note_read()
        return values

    def errors(self) -> dict[int, BaseException]:
        """Return the exceptions of failed items so far, by index."""
        runs = self._result_store.so_far()
        return dict(error for run in runs for error in run.errors())

    def futures(self) -> list[Any]:
        """Return Dask's futures of the items, in their order, once it has ended; failed ones raise.

        Raises
        ------
        UsageError
            It did not run on Dask.
        """
        backend = self._runner.backend
        if backend is None or not isinstance(backend, MakesDaskFutures):
            raise UsageError(
                f"Job {self.id} ran on the {self.record.ran_on} backend, which has no futures of "
                f'Dask\'s: `--backend dask` (`backend="dask"`) has. Its values are in `job.results()`.'
            )
        self.wait()
        outcomes = ((each.index, each.value, each.error) for each in self.outcomes())
        return backend.futures_of(self.id, outcomes)

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
            while not future.done():
                await asyncio.wait([future], timeout=_LOOK_EVERY)
                self.wait(0)  # raises when nothing drives the job any more
        except asyncio.CancelledError:
            self._interrupted()
            raise
        return self.results()

    def add_done_callback(self, callback: Callable[[Job], None]) -> None:
        """Call `callback` with the job when it has ended, at once if it has."""
        run_state = self._run_state
        with run_state.lock:
            if not run_state.state.is_final:
                run_state.callbacks.append(lambda: callback(self))
                return
        tell([lambda: callback(self)], self.id)

    # -- acting on it

    def cancel(self) -> None:
        """Stop it; what has finished is kept. Safe to repeat, and when it has ended."""
        self._runner.cancel()

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
        self._runner.retry(budget)
        return self


# Friends of `Job`: what they reach is for code that runs jobs, not for users.


def run_state_of(job: Job) -> RunState:
    """Return the state of a job, for code that runs it."""
    return job._run_state  # noqa: SLF001


def runner_of(job: Job) -> JobRunner:
    """Return the runner of a job."""
    return job._runner  # noqa: SLF001


def run_with(job: Job, runner: JobRunner) -> None:
    """Replace what runs a job."""
    job._runner = runner  # noqa: SLF001


def check_budget(budget: float | None) -> None:
    """Refuse a budget that makes no sense.

    Raises
    ------
    UsageError
        If it is below zero, or no finite number.
    """
    if budget is not None and not 0 <= budget < math.inf:
        raise UsageError(f"`budget` must be 0 US dollars or more, not {budget:g}.")
