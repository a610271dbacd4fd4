"""Spending, and what a cell may cost: pure sums, and the two endpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloudbutton_backend import settings, units
from cloudbutton_backend.accounting.spending import SpendingReport, billed, spending_report
from cloudbutton_backend.cost.job_estimate import EarlierRun, from_history
from cloudbutton_backend.job_model import BackendIdentity
from cloudbutton_backend.journal import queries
from cloudbutton_ext.server import arguments
from cloudbutton_ext.server.handler import Handler, endpoint

MOST_DAYS: Final = 366


class SpendHandler(Handler):
    """`GET spend`."""

    @endpoint
    async def get(self) -> Any:
        days = arguments.integer("days", self.argument("days"), 31, low=1, high=MOST_DAYS)
        return as_json(await self.run_in_thread(self._report, days))

    def _report(self, days: int) -> SpendingReport:
        per_day = settings.resolve(self.context.settings_sources()).budget_per_day
        now = self.context.clock()
        return spending_report(self.context.reader(), days, now=now, per_day=per_day)


class EstimateHandler(Handler):
    """`GET estimate`."""

    @endpoint
    async def get(self) -> Any:
        backend, notebook, cell_id = (
            arguments.text(name, self.argument(name)) for name in ("backend", "notebook", "cell_id")
        )
        spends = await self.run_in_thread(self._earlier, backend, notebook, cell_id)
        return estimate(spends, backend)

    def _earlier(self, backend: str, notebook: str, cell_id: str) -> dict[str, list[float]]:
        with self.context.reader().snapshot() as connection:
            if connection is None or not (notebook and cell_id):
                return {}
            return queries.earlier_spends(
                connection,
                backend=backend,
                notebooks=self.context.paths.recorded_paths(notebook),
                cell_id=cell_id,
            )


def as_json(report: SpendingReport) -> dict[str, Any]:
    """Return spending by day and backend, this month's by backend and in all, and today's."""
    month: dict[BackendIdentity, dict[str, float]] = {}
    for each in report.this_month:
        sums = month.setdefault(each.ran_on, {"spend": 0.0, "estimate": 0.0, "jobs": 0})
        sums["spend"] += each.spend
        sums["estimate"] += each.estimate
        sums["jobs"] += each.jobs
    return {
        "days": [each._asdict() for each in report.by_day],
        "month": [
            {"backend": backend.name, "emulated": backend.emulated, **sums}
            for backend, sums in month.items()
        ],
        "total": billed(report.this_month),
        "today": {"spend": report.spent_today, "budget": report.per_day},
        "estimates": report.estimates,
    }


def estimate(spends: Mapping[str, Sequence[float]], backend: str) -> dict[str, Any]:
    """Return what a cell may cost, judging by what each of its loops did in earlier runs."""
    if not spends:
        return {
            "expected": None,
            "low": None,
            "high": None,
            "jobs": 0,
            "message": f"This cell has not run to its end on {backend} before: nothing tells its cost.",
        }
    # A run may have cost nothing: a loop of a free backend, or one that was over before it was sent.
    found = [
        from_history([EarlierRun(1, spend) for spend in of_loop], 1) for of_loop in spends.values()
    ]
    known = [each for each in found if each is not None]
    expected, low, high = (
        math.fsum(getattr(each, name) for each in known) for name in ("expected", "low", "high")
    )
    runs = max(len(of_loop) for of_loop in spends.values())
    between = (
        units.dollars(expected)
        if units.dollars(low) == units.dollars(high)
        else f"{units.dollars(low)} to {units.dollars(high)}, mostly about {units.dollars(expected)}"
    )
    return {
        "expected": expected,
        "low": low,
        "high": high,
        "jobs": runs,
        "message": f"{units.count(runs, 'earlier run')} of this cell on {backend} cost {between}.",
    }
