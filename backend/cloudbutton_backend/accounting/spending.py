"""Spending and the accuracy of estimates: one report for cells, terminals and the panel."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from cloudbutton_backend.job_model import Expectation
from cloudbutton_backend.journal import JournalReader, queries
from cloudbutton_backend.journal.queries import NotebookSpending, Spending

_NOTEBOOKS: Final = 10
"""That are listed, the most expensive ones."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of many estimates."""

    jobs: int
    median_error: float
    """Half of them were wrong by less than this part of what came: 0.07 is 7 %."""
    within: float
    """The share of them whose interval held what came."""


@dataclass(frozen=True, kw_only=True)
class SpendingReport:
    """Spending in the latest days and in this month."""

    today: date
    days: int
    spent: tuple[Spending, ...]
    """By day and backend, the latest day first: of the latest days, and of the whole month."""
    by_notebook: tuple[NotebookSpending, ...]
    """In the latest days, the most expensive first."""
    money: Accuracy | None
    """How good the estimates of bills were in the latest days; None where there was none."""
    seconds: Accuracy | None
    """The same of times."""
    per_day: float | None
    """US dollars that all jobs of a day may spend together."""

    @property
    def by_day(self) -> list[Spending]:
        """Spending by day in the latest days, today included."""
        first = (self.today - timedelta(days=self.days - 1)).isoformat()
        return [each for each in self.spent if each.date >= first]

    @property
    def this_month(self) -> list[Spending]:
        first = self.today.replace(day=1).isoformat()
        return [each for each in self.spent if each.date >= first]

    @property
    def spent_today(self) -> float:
        return billed(each for each in self.spent if each.date == self.today.isoformat())

    @property
    def estimates(self) -> dict[str, Any]:
        """The accuracy of the estimates, as JSON-ready data."""
        return {
            name: None if found is None else asdict(found)
            for name, found in (("money", self.money), ("seconds", self.seconds))
        }


def billed(found: Iterable[Spending]) -> float:
    """Return US dollars; emulated jobs cost nothing."""
    return math.fsum(each.spend for each in found if not each.emulated)


def spending_report(
    reader: JournalReader, days: int, *, now: float, per_day: float | None
) -> SpendingReport:
    """Read what was spent in the latest days, today among them, and in this month.

    Parameters
    ----------
    now
        Unix time.
    """
    today = datetime.fromtimestamp(now).date()
    first = today - timedelta(days=days - 1)
    since, month = _midnight(first), _midnight(today.replace(day=1))
    with reader.snapshot() as connection:
        if connection is None:
            spent, notebooks, judged = [], [], queries.JudgedEstimate([], [])
        else:
            spent = queries.spending(connection, min(since, month))
            notebooks = queries.spending_by_notebook(connection, since, limit=_NOTEBOOKS)
            judged = queries.judged(connection, since)
    return SpendingReport(
        today=today,
        days=days,
        spent=tuple(spent),
        by_notebook=tuple(notebooks),
        money=accuracy(judged.money),
        seconds=accuracy(judged.seconds),
        per_day=per_day,
    )


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day).timestamp()


def accuracy(found: Iterable[tuple[Expectation, float]]) -> Accuracy | None:
    """Return how good estimates were, by each with what came; None where there is nothing to judge by.

    What cost nothing, or took no time, is left out: nothing can be wrong by a part of nothing.
    """
    judged = [(estimate, came) for estimate, came in found if came > 0]
    if not judged:
        return None
    return Accuracy(
        jobs=len(judged),
        median_error=statistics.median(
            abs(estimate.expected - came) / came for estimate, came in judged
        ),
        within=sum(estimate.holds(came) for estimate, came in judged) / len(judged),
    )
