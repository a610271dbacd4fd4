"""The budget of a day, shared by all kernels of a user through the journal: given out, settled, never passed.

A job is given money in portions, each in one transaction that sees what all others have been given, so two
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
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

from cloudbutton_backend import settings
from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost.budgets import portion
from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.journal import database

_OPEN_FOR: Final = 86_400.0
"""Seconds for which a portion counts that nobody has settled."""

#: What is taken of the day's budget: portions of today, those of before that may still be spent, and
#: what jobs of today have cost and may cost that were started without such a budget.
_TAKEN: Final = """
    SELECT
        (SELECT total(amount) FROM allowances WHERE day = :day OR (NOT settled AND granted > :open))
        + (SELECT total(spend + committed) FROM jobs WHERE created >= :midnight
            AND NOT emulated
            AND NOT EXISTS (SELECT 1 FROM allowances WHERE substr(job_id, 1, length(jobs.id)) = jobs.id))
"""


class DailyBudgetGrant:
    """What one job is given of the day's budget. Its methods return at once; files are for a thread.

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
        """The job is run again: what the settings say now holds."""
        per_day = settings.resolve().budget_per_day
        self.per_day = math.inf if per_day is None else per_day

    def ask(self, at_least: float, wanted: float, answer: Callable[[float], None]) -> None:
        """Have `answer` called with the dollars that the job gets; with 0 where there are too few."""

        def act() -> None:
            dollars = 0.0
            try:
                dollars = self.take(at_least, wanted)
            except (JournalError, sqlite3.Error, OSError):
                pass  # what nobody can write down is not spent
            finally:
                answer(dollars)

        self._later(act)

    def settle(self, spent: float) -> None:
        """The job has ended, and has spent so much in all."""
        self._later(lambda: self.close(spent))

    def _later(self, act: Callable[[], None]) -> None:
        """Have something done on the thread, one after the other."""
        try:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, f"cloudbutton-money-{self._job_id}")
            self._executor.submit(act)
        except RuntimeError:  # the interpreter is about to end, and starts no thread any more
            act()

    def take(self, at_least: float, wanted: float) -> float:
        """Take dollars of the day's budget for the job and return how many."""
        now = self._clock()
        today = datetime.fromtimestamp(now)
        day = today.date().isoformat()
        with closing(self._open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                values = {
                    "day": day,
                    "open": now - _OPEN_FOR,
                    "midnight": datetime(today.year, today.month, today.day).timestamp(),
                }
                taken = connection.execute(_TAKEN, values).fetchone()[0]
                dollars = portion(self.per_day - taken, at_least, wanted)
                if dollars > 0:
                    self._key = self._key or f"{self._job_id}/{os.urandom(4).hex()}"
                    key = f"{self._key}/{day}"
                    connection.execute(
                        "INSERT INTO allowances VALUES (?, ?, ?, ?, 0) ON CONFLICT (job_id) "
                        "DO UPDATE SET amount = amount + excluded.amount, granted = excluded.granted",
                        (key, day, now, dollars),
                    )
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        return dollars

    def close(self, spent: float) -> None:
        """Give back what was not spent of it: of all that the job has been given, by a kernel that died, too.

        Earlier portions count as spent first.
        """
        if not self._key:
            return
        prefix, left = f"{self._job_id}/", spent
        with closing(self._open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            portions = connection.execute(
                "SELECT job_id, amount FROM allowances WHERE substr(job_id, 1, ?) = ? "
                "ORDER BY day, settled DESC",
                (len(prefix), prefix),
            ).fetchall()
            for key, amount in portions:
                used = min(amount, left)
                left -= used
                connection.execute(
                    "UPDATE allowances SET amount = ?, settled = 1 WHERE job_id = ?", (used, key)
                )
            connection.execute("COMMIT")
        self._key = ""  # should it be run again, it is given anew

    def _open(self) -> sqlite3.Connection:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection, _notice = database.open_for_writing(self._home)
        return connection


def allowance_of(home: Path, job_id: str, limits: Limits) -> DailyBudgetGrant | None:
    """Return what limits a job to the day's budget; None where none is set, or nobody pays for its calls."""
    if limits.rate is None or limits.emulated:
        return None
    per_day = settings.resolve().budget_per_day
    return None if per_day is None else DailyBudgetGrant(home, job_id, per_day)
