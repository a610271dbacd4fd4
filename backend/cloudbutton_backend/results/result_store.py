"""The results of a job so far, and waiting for more: the driver adds, users take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Any, Final

from cloudbutton_backend.errors import ResultNotSendable
from cloudbutton_backend.results.result_ranges import ResultRange, only_done

_PATIENCE: Final = 1.0
"""Seconds between checks whether the driver is still alive, while waiting for it."""


class ResultStore:
    """The runs of one job.

    Parameters
    ----------
    lock
        The job's: what is counted and what is held change together. Held by the caller of `add`.
    check_alive
        Raises if nothing will come any more though the job has not ended. It must not hold the job,
        whose large results would then wait for the garbage collector.
    """

    def __init__(self, lock: Lock, check_alive: Callable[[], None]) -> None:
        self._lock = lock
        self.check_alive = check_alive
        self._is_over = False
        self._condition = InterruptibleCondition()
        self._runs: dict[int, ResultRange] = {}
        self._order: list[ResultRange] = []

    def add(self, runs: Iterable[ResultRange]) -> None:
        """Add results that have arrived. `notify` wakes waiting threads."""
        for run in runs:
            self._runs[run.first] = run
            self._order.append(run)

    def end(self) -> None:
        """Mark the end of the job. `notify` wakes waiting threads."""
        self._is_over = True

    def notify(self) -> None:
        """Wake waiting threads: something has changed."""
        self._condition.notify_all()

    def reopen(self) -> None:
        """The failed items are tried again."""
        self._is_over = False
        self._order = only_done(self._order)
        self._runs = {run.first: run for run in self._order}

    # -- contents

    def so_far(self) -> list[ResultRange]:
        """Return all runs, in the order of the items."""
        with self._lock:
            return sorted(self._runs.values(), key=lambda run: run.first)

    def values(self, *, keep_errors: bool) -> list[Any]:
        """Return the results of a job that has ended, in the order of the items.

        Raises
        ------
        ResultNotSendable
            If a result cannot be unpickled, unless errors are kept in their items' places.
        """
        out: list[Any] = [None] * sum(run.stop - run.first for run in self._runs.values())
        for run in list(self._runs.values()):
            if run.entry is not None and not run.entry.meta.errors:
                values = run.entry.values()
                if run.entry.meta.ends is not None and not keep_errors:
                    _raise_unreadable(values)
                offset = run.first - run.entry.first
                out[run.first : run.stop] = values[offset : offset + run.stop - run.first]
            else:
                for outcome in run.outcomes():
                    value = outcome.value if outcome.error is None else outcome.error
                    out[outcome.index] = value
        return out

    # -- waiting

    def wait(self, timeout: float | None) -> bool:
        """Wait until the job has ended; return whether it has within `timeout` seconds."""
        limit = None if timeout is None else time.monotonic() + timeout
        while not self._is_over:
            self.check_alive()
            patience = _PATIENCE
            if limit is not None:
                patience = min(patience, limit - time.monotonic())
                if patience <= 0:
                    return False
            self._condition.wait(lambda: self._is_over, patience)
        return True

    def in_order(self) -> Iterator[ResultRange]:
        """Yield runs in the order of the items, as far as there is no gap until the job has ended."""
        cursor = 0
        while (run := self._await_run(cursor)) is not None:
            cursor = run.stop
            yield run
        for run in sorted(self._runs.values(), key=lambda run: run.first):
            if run.first >= cursor:
                yield run

    def _await_run(self, first: int) -> ResultRange | None:
        """Wait for the run that starts at item `first`; return None if it never comes."""
        while True:
            over = self._is_over  # before the look, or the last run could be missed
            run = self._runs.get(first)
            if run is not None or over:
                return run
            self.check_alive()
            self._condition.wait(lambda: first in self._runs or self._is_over, _PATIENCE)

    def arrived_since(self, seen: int) -> list[ResultRange]:
        """Wait for runs after the first `seen`; return none if no more come."""

        def has_news() -> bool:
            return self._is_over or len(self._order) > seen

        while not has_news():
            self.check_alive()
            self._condition.wait(has_news, _PATIENCE)
        return self._order[seen:]


def _raise_unreadable(values: list[Any]) -> None:
    """Raise for a result that could not be unpickled: an error like any other."""
    for value in values:
        if type(value) is ResultNotSendable:
            raise value


class InterruptibleCondition:
    """A condition variable that Ctrl-C may interrupt at any moment.

    Unlike with a `threading.Condition`, a waiter holds no lock that a notifier needs: an interrupt that
    lands while one is being acquired or released would leave it locked for ever.
    """

    def __init__(self) -> None:
        self._waiting: list[threading.Lock] = []

    def notify_all(self) -> None:
        """Wake all waiters. What they wait for must have been changed before."""
        waiting, self._waiting = self._waiting, []
        for sleeper in waiting:
            sleeper.release()

    def wait(self, is_over: Callable[[], bool], timeout: float) -> None:
        """Wait until notified, `is_over` holds already or `timeout` seconds have passed."""
        sleeper = threading.Lock()
        sleeper.acquire(blocking=False)
        self._waiting.append(sleeper)
        # Only now: a notification from before this one waits would not wake it.
        if not is_over():
            sleeper.acquire(timeout=timeout)
