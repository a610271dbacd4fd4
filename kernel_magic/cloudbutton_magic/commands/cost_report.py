"""`%cloud cost`: what was spent by day, backend and notebook, and how good the estimates were."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from cloudbutton_backend import units
from cloudbutton_backend.accounting.spending import (
    Accuracy,
    SpendingReport,
    billed,
    spending_report,
)
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.journal.queries import Spending
from cloudbutton_backend.settings import resolve
from cloudbutton_magic.display.rendering import Table, card, table

DAYS: Final = 31
"""That are looked at by default."""


@dataclass(frozen=True, repr=False)
class CostReport:
    """The displayed report of the spending in the latest days."""

    report: SpendingReport

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON-ready data."""
        report = self.report
        return {
            "days": report.days,
            "total": billed(report.by_day),
            "today": report.spent_today,
            "budget_per_day": report.per_day,
            "by_day": [each._asdict() for each in self._paid],
            "by_notebook": [each._asdict() for each in report.by_notebook],
            "estimates": report.estimates,
        }

    @property
    def _paid(self) -> list[Spending]:
        """Days and backends that cost something."""
        return [each for each in self.report.by_day if each.spend]

    def tables(self) -> list[Table]:
        """Return the tables, one below the other."""
        shown = [self._days()]
        if self.report.by_notebook:
            shown.append(self._notebooks())
        return shown

    def _days(self) -> Table:
        report, paid = self.report, self._paid
        of = "" if report.per_day is None else f" of {units.limit(report.per_day)}"
        spent = units.dollars(billed(report.by_day))
        head = f"{spent} spent in {units.count(report.days, 'day')}, "
        rows = [
            (
                each.date,
                str(each.ran_on),
                units.count(each.jobs),
                units.dollars(each.spend),
                units.dollars(each.estimate) if each.estimate else "",
            )
            for each in paid
        ]
        notes = [_accuracy_note("bills", report.money), _accuracy_note("times", report.seconds)]
        if any(each.emulated for each in paid):
            notes.append("Emulated jobs cost nothing and are in no sum.")
        return Table(
            f"{head}{units.dollars(report.spent_today)}{of} today",
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
            for each in self.report.by_notebook
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
    return CostReport(
        spending_report(
            JournalReader() if reader is None else reader,
            days,
            now=time.time() if now is None else now,
            per_day=resolve().budget_per_day,
        )
    )
