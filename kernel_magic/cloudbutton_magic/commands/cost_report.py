"""`%cloud cost`: what was spent by day, backend and notebook, and how good the estimates were."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any, Final

from cloudbutton_backend import units
from cloudbutton_backend.cost.accuracy import Accuracy, accuracy
from cloudbutton_backend.journal import JournalReader, queries
from cloudbutton_backend.journal.queries import Spending
from cloudbutton_backend.settings import resolve
from cloudbutton_magic.display.rendering import Table, card, table

DAYS: Final = 31
"""That are looked at unless somebody says otherwise."""
_NOTEBOOKS: Final = 10
"""That are listed, the dearest ones."""


@dataclass(frozen=True, slots=True)
class NotebookCost:
    """What the jobs of one notebook cost."""

    notebook: str | None
    """None for those of scripts."""
    jobs: int
    spend: float


@dataclass(frozen=True, repr=False)
class CostReport:
    """What was spent in the latest days, and how good the estimates were."""

    days: int
    by_day: tuple[Spending, ...]
    """Those that cost something, the latest first."""
    by_notebook: tuple[NotebookCost, ...]
    money: Accuracy | None
    """How good the estimates of bills were; None where there was none."""
    seconds: Accuracy | None
    """The same of times."""
    today: float
    """Dollars spent today, what nobody pays left out."""
    per_day: float | None
    """Dollars that may be."""

    @property
    def total(self) -> float:
        """Dollars, what nobody pays left out."""
        return sum(each.spend for each in self.by_day if not each.emulated)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON-ready data."""
        return {
            "days": self.days,
            "total": self.total,
            "today": self.today,
            "budget_per_day": self.per_day,
            "by_day": [each._asdict() for each in self.by_day],
            "by_notebook": [
                {"notebook": each.notebook, "jobs": each.jobs, "spend": each.spend}
                for each in self.by_notebook
            ],
            "estimates": {
                name: None
                if found is None
                else {
                    "jobs": found.jobs,
                    "median_error": found.median_error,
                    "within": found.within,
                }
                for name, found in (("money", self.money), ("seconds", self.seconds))
            },
        }

    def tables(self) -> list[Table]:
        """Return the tables, one below the other."""
        shown = [self._days()]
        if self.by_notebook:
            shown.append(self._notebooks())
        return shown

    def _days(self) -> Table:
        of = "" if self.per_day is None else f" of {units.limit(self.per_day)}"
        head = f"{units.dollars(self.total)} spent in {units.count(self.days, 'day')}, "
        rows = [
            (
                each.date,
                str(each.ran_on),
                units.count(each.jobs),
                units.dollars(each.spend),
                units.dollars(each.estimate) if each.estimate else "",
            )
            for each in self.by_day
        ]
        notes = [_accuracy_note("bills", self.money), _accuracy_note("times", self.seconds)]
        if any(each.emulated for each in self.by_day):
            notes.append("What was emulated is paid by nobody, and in no sum.")
        return Table(
            f"{head}{units.dollars(self.today)}{of} today",
            ("day", "backend", "jobs", "spent", "estimated"),
            rows,
            [note for note in notes if note],
        )

    def _notebooks(self) -> Table:
        rows = [
            (
                "scripts" if each.notebook is None else os.path.basename(each.notebook),
                units.count(each.jobs),
                units.dollars(each.spend),
            )
            for each in self.by_notebook
        ]
        return Table("By notebook", ("notebook", "jobs", "spent"), rows)

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self.tables()))

    def _repr_html_(self) -> str:
        parts = []
        for each in self.tables():
            parts.append(f'<div class="cb-head">{escape(each.title)}</div>')
            if each.rows:
                parts.append(table(each.header, each.rows))
            parts += [f'<div class="cb-muted">{escape(note)}</div>' for note in each.notes]
        return card("\n".join(parts), tone="running", label="Costs")


def _accuracy_note(what: str, found: Accuracy | None) -> str:
    if found is None:
        return ""
    return (
        f"Estimates of {what}: {found.within:.0%} of {units.count(found.jobs, 'job')} within the interval"
        f" that is to hold 90 %; off by {found.median_error:.0%} (median)."
    )


def costs(
    days: int = DAYS, *, reader: JournalReader | None = None, now: float | None = None
) -> CostReport:
    """Read what was spent in the latest days, today among them."""
    reader = JournalReader() if reader is None else reader
    today = datetime.fromtimestamp(time.time() if now is None else now).date()
    first = today - timedelta(days=days - 1)
    midnight = datetime(first.year, first.month, first.day).timestamp()
    found: Sequence[Spending] = ()
    judged, notebooks = queries.JudgedEstimate([], []), []
    with reader.snapshot() as connection:
        if connection is not None:
            found = [each for each in queries.spending(connection, midnight) if each.spend]
            judged = queries.judged(connection, midnight)
            notebooks = connection.execute(
                "SELECT notebook, count(*), sum(spend) AS spent FROM jobs WHERE created >= ? AND spend > 0 "
                "AND NOT emulated GROUP BY notebook ORDER BY spent DESC LIMIT ?",
                (midnight, _NOTEBOOKS),
            ).fetchall()
    return CostReport(
        days,
        tuple(found),
        tuple(NotebookCost(*row) for row in notebooks),
        accuracy(judged.money),
        accuracy(judged.seconds),
        sum(each.spend for each in found if each.date == today.isoformat() and not each.emulated),
        resolve().budget_per_day,
    )
