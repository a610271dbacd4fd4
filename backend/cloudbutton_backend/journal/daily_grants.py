"""Grants of a day's budget: each is recorded in one transaction that sees all others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from cloudbutton_backend.journal import database
from cloudbutton_backend.storage.sqlite import transaction

_OPEN_FOR: Final = 86_400.0
"""Seconds for which a grant counts that was not settled."""

#: What is taken of the day's budget: grants of today, earlier ones that may still be spent, and
#: what jobs of today have cost and may cost that were started without such a budget.
_TAKEN: Final = """
    SELECT
        (SELECT total(amount) FROM allowances WHERE day = :day OR (NOT settled AND granted > :open))
        + (SELECT total(spend + committed) FROM jobs WHERE created >= :midnight
            AND NOT emulated
            AND NOT EXISTS (SELECT 1 FROM allowances WHERE substr(job_id, 1, length(jobs.id)) = jobs.id))
"""


def grant(home: Path, key: str, now: float, amount: Callable[[float], float]) -> float:
    """Record a grant of today and return its dollars.

    Parameters
    ----------
    key
        The job's id, a slash, and what tells its runs apart.
    now
        Unix time.
    amount
        Returns the dollars to grant, given those that are taken of today's budget.
    """
    today = datetime.fromtimestamp(now)
    day = today.date().isoformat()
    midnight = datetime(today.year, today.month, today.day).timestamp()
    values = {"day": day, "open": now - _OPEN_FOR, "midnight": midnight}
    with _written(home) as connection:
        dollars = amount(connection.execute(_TAKEN, values).fetchone()[0])
        if dollars > 0:
            connection.execute(
                "INSERT INTO allowances VALUES (?, ?, ?, ?, 0) ON CONFLICT (job_id) "
                "DO UPDATE SET amount = amount + excluded.amount, granted = excluded.granted",
                (f"{key}/{day}", day, now, dollars),
            )
    return dollars


def settle(home: Path, job_id: str, spent: float) -> None:
    """Reduce all grants of a job to the dollars that it spent; earlier ones count as spent first."""
    prefix = f"{job_id}/"
    with _written(home) as connection:
        grants = connection.execute(
            "SELECT job_id, amount FROM allowances WHERE substr(job_id, 1, ?) = ? "
            "ORDER BY day, settled DESC",
            (len(prefix), prefix),
        ).fetchall()
        for key, amount in grants:
            used = min(amount, spent)
            spent -= used
            connection.execute(
                "UPDATE allowances SET amount = ?, settled = 1 WHERE job_id = ?", (used, key)
            )


@contextmanager
def _written(home: Path) -> Iterator[sqlite3.Connection]:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection, _notice = database.open_for_writing(home)
    with closing(connection), transaction(connection):
        yield connection
