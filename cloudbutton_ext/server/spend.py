"""What was spent, and what a cell may cost: pure sums, and the two endpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any, Final

from cloudbutton_backend import settings, units
from cloudbutton_backend.cost.accuracy import accuracy
from cloudbutton_backend.cost.job_estimate import EarlierRun, from_history
from cloudbutton_backend.job_model import BackendIdentity, Expectation
from cloudbutton_backend.journal import queries
from cloudbutton_backend.journal.queries import JudgedEstimate, Spending
from cloudbutton_ext.server import arguments
from cloudbutton_ext.server.handler import Handler, endpoint

MOST_DAYS: Final = 366


class SpendHandler(Handler):
    """`GET spend`."""

    @endpoint
    async def get(self) -> Any:
        days = arguments.integer("days", self.argument("days"), 31, low=1, high=MOST_DAYS)
        today = datetime.fromtimestamp(self.context.clock()).date()
        first = min(today.replace(day=1), today - timedelta(days=days - 1))
        found, judged, per_day = await self.run_in_thread(self._since, first)
        estimates = {
            "money": accuracy_summary(judged.money),
            "seconds": accuracy_summary(judged.seconds),
        }
        report = spend_report(found, today=today, days=days, per_day=per_day)
        return report | {"estimates": estimates}

    def _since(self, first: date) -> tuple[list[Spending], JudgedEstimate, float | None]:
        per_day = settings.resolve(self.context.settings_sources()).budget_per_day
        midnight = datetime(first.year, first.month, first.day).timestamp()
        with self.context.reader().snapshot() as connection:
            if connection is None:
                return [], JudgedEstimate([], []), per_day
            return (
                queries.spending(connection, midnight),
                queries.judged(connection, midnight),
                per_day,
            )


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


def spend_report(
    found: Sequence[Spending], *, today: date, days: int, per_day: float | None = None
) -> dict[str, Any]:
    """Return spending by day and backend, this month's by backend and in all, and today's.

    Parameters
    ----------
    per_day
        What all jobs of a day may spend together.
    """
    first_of_month = today.replace(day=1).isoformat()
    first = (today - timedelta(days=days - 1)).isoformat()
    month: dict[BackendIdentity, dict[str, float]] = {}
    for each in found:
        if each.date >= first_of_month:
            sums = month.setdefault(each.ran_on, {"spend": 0.0, "estimate": 0.0, "jobs": 0})
            sums["spend"] += each.spend
            sums["estimate"] += each.estimate
            sums["jobs"] += each.jobs
    return {
        "days": [each._asdict() for each in found if each.date >= first],
        "month": [
            {"backend": backend.name, "emulated": backend.emulated, **sums}
            for backend, sums in month.items()
        ],
        # Bills of a stand-in are shown, and paid by nobody.
        "total": math.fsum(
            sums["spend"] for backend, sums in month.items() if not backend.emulated
        ),
        "today": {
            "spend": math.fsum(
                each.spend for each in found if each.date == today.isoformat() and not each.emulated
            ),
            "budget": per_day,
        },
    }


def accuracy_summary(found: Sequence[tuple[Expectation, float]]) -> dict[str, Any] | None:
    """Return how good estimates were, by each with what came; None where nothing tells."""
    how_good = accuracy(found)
    return None if how_good is None else asdict(how_good)


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
