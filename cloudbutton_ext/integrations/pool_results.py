"""Results of a pool's asynchronous calls, to be waited for or iterated over."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import TimeoutError
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.errors import JobFailed
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import ItemOutcome, JobState
from cloudbutton_backend.results.log_records import handle_records

if TYPE_CHECKING:
    from cloudbutton_magic.display.task_outputs import OutputReplay

_LOG: Final = logging.getLogger(__name__)
_STEP: Final = 1.0
"""Seconds between looks while waiting, so that Ctrl-C gets through on every system."""

Callback = Callable[[Any], object]


class AsyncResult:
    """The result of a call that may still be under way, as `multiprocessing.pool.AsyncResult`."""

    def __init__(self, callback: Callback | None, error_callback: Callback | None) -> None:
        self._callback, self._error_callback = callback, error_callback
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        state = "under way" if not self.ready() else "failed" if self._error else "done"
        return f"<{type(self).__name__}: {state}>"

    def ready(self) -> bool:
        """Whether the call has ended."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether it has ended without an exception.

        Raises
        ------
        ValueError
            If it has not ended.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call has ended, or for `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._done.wait(_STEP if end is None else min(_STEP, end - time.monotonic())):
            if end is not None and time.monotonic() >= end:
                return

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, or raise what the call has raised.

        Raises
        ------
        multiprocessing.TimeoutError
            If it is not there within `timeout` seconds.
        """
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value

    def resolve(self, value: Any, error: BaseException | None) -> None:
        """Take the result, call the callback, and then wake waiting threads."""
        self._value, self._error = value, error
        callback, told = (self._callback, value) if error is None else (self._error_callback, error)
        self._callback = self._error_callback = None
        if callback is not None:
            try:
                callback(told)
            except Exception:
                _LOG.exception("a callback of a pool raised")
        self._done.set()


class IMapIterator:
    """Yields results as they arrive, or raises in their place what their items have raised."""

    def __init__(self) -> None:
        self._outcomes: deque[ItemOutcome] = deque()
        self._change = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result.

        Raises
        ------
        multiprocessing.TimeoutError
            If it is not there within `timeout` seconds.
        """
        outcome = self._await(timeout)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def _await(self, timeout: float | None) -> ItemOutcome:
        end = None if timeout is None else time.monotonic() + timeout
        with self._change:
            while not self._outcomes:
                if self._ended:
                    error, self._error = self._error, None
                    raise StopIteration if error is None else error
                left = _STEP if end is None else end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._change.wait(min(_STEP, left))
            return self._outcomes.popleft()

    def add(self, outcome: ItemOutcome) -> None:
        """Take what an item has left behind."""
        with self._change:
            self._outcomes.append(outcome)
            self._change.notify()

    def end(self, error: BaseException | None) -> None:
        """Mark the end, with the reason if it is sooner than expected."""
        with self._change:
            self._ended, self._error = True, error
            self._change.notify_all()


def resolve_from_job(job: Job, result: AsyncResult, replay: OutputReplay | None) -> None:
    """Wait for a job, show what it prints, and hand over its results (on a thread of its own)."""
    values: list[Any] | None = None
    error: BaseException | None
    try:
        _show(job.shown(), replay)
        values = job.results()
        error = _first_error(job)
    except BaseException as caught:
        error = _item_error(caught)
    result.resolve(None if error is not None else values, error)


def feed_iterator(
    job: Job, iterator: IMapIterator, ordered: bool, replay: OutputReplay | None
) -> None:
    """Hand over results as they arrive, and show what was printed (on a thread of its own)."""
    error: BaseException | None = None
    try:
        for outcome in job.outcomes() if ordered else job.new_results():
            _show(iter([outcome]), replay)
            iterator.add(outcome)
        if job.state is not JobState.DONE:
            job.results()  # raises if it is not for failed items alone
    except BaseException as caught:
        error = _item_error(caught)
    iterator.end(error)


def _show(outcomes: Iterator[ItemOutcome], replay: OutputReplay | None) -> None:
    for outcome in outcomes:
        if replay is not None and outcome.outputs:
            replay.play(outcome)
        handle_records((outcome,))


def _first_error(job: Job) -> BaseException | None:
    """Return what the first of the failed items has raised."""
    failed = job.errors()
    return failed[min(failed)] if failed else None


def _item_error(error: BaseException) -> BaseException:
    """Return what the items' own iterator has raised, where that is what went wrong."""
    if isinstance(error, JobFailed) and error.__cause__ is not None:
        return error.__cause__
    return error
