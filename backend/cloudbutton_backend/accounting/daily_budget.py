"""The daily budget, shared by all kernels of a user through the journal and never exceeded.

A job is granted money in portions, each in one transaction that sees all other grants, so two
kernels cannot both have the last dollar. A portion counts in full until the job has ended, then as what
was spent of it. That of a process that died counts in full for a day, as its calls may go on.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from cloudbutton_backend import settings
from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost.budgets import portion
from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.journal import daily_grants


class DailyBudgetGrant:
    """One job's grant of the daily budget. Its methods return at once; a thread accesses the files.

    Parameters
    ----------
    home
        Where the journal is.
    per_day
        Dollars that all jobs of a day may spend.
    clock
        Unix time.
    """

    def __init__(
        self,
        home: Path,
        job_id: str,
        per_day: float,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.per_day = per_day
        self._home, self._job_id, self._clock = home, job_id, clock
        self._key = ""
        self._executor: Executor | None = None

    def renew(self) -> None:
        """Take the limit from today's settings: the job is run again."""
        per_day = settings.resolve().budget_per_day
        self.per_day = math.inf if per_day is None else per_day

    def ask(self, at_least: float, wanted: float, answer: Callable[[float], None]) -> None:
        """Call `answer` with the dollars that the job gets: 0 where there are too few."""

        def act() -> None:
            dollars = 0.0
            try:
                dollars = self.take(at_least, wanted)
            except (JournalError, sqlite3.Error, OSError):
                pass  # what cannot be recorded is not granted
            finally:
                answer(dollars)

        self._later(act)

    def settle(self, spent: float) -> None:
        """Record that the job has ended and what it spent in all."""
        self._later(lambda: self.close(spent))

    def _later(self, act: Callable[[], None]) -> None:
        """Run `act` on the thread, in order."""
        try:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, f"cloudbutton-money-{self._job_id}")
            self._executor.submit(act)
        except RuntimeError:  # the interpreter is about to end, and starts no thread any more
            act()

    def take(self, at_least: float, wanted: float) -> float:
        """Take dollars of the day's budget for the job and return how many."""
        key = self._key or f"{self._job_id}/{os.urandom(4).hex()}"
        dollars = daily_grants.grant(
            self._home,
            key,
            self._clock(),
            lambda taken: portion(self.per_day - taken, at_least, wanted),
        )
        if dollars > 0:
            self._key = key
        return dollars

    def close(self, spent: float) -> None:
        """Return what was not spent of all the job's grants, those to a kernel that died included."""
        if self._key:
            daily_grants.settle(self._home, self._job_id, spent)
            self._key = ""  # a job that is run again gets new grants


def budget_grant_of(home: Path, job_id: str, limits: Limits) -> DailyBudgetGrant | None:
    """Return what limits a job to the day's budget; None where none is set, or its calls cost nothing."""
    if limits.rate is None or limits.emulated:
        return None
    per_day = settings.resolve().budget_per_day
    return None if per_day is None else DailyBudgetGrant(home, job_id, per_day)
