"""What `--dry-run` shows: what would run, where, for how long and how much, and what would travel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from cloudbutton_backend.capture import CaptureReport, explain
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_magic import units
from cloudbutton_magic.cells.estimate_table import EstimateTable
from cloudbutton_magic.display.rendering import card


@dataclass(frozen=True)
class MapPlan:
    """A job that was not started."""

    n_items: int | None
    options: JobOptions
    report: CaptureReport
    estimates: EstimateTable

    @classmethod
    def of(cls, call: Callable[[Any], Any], items: Iterable[Any], options: JobOptions) -> MapPlan:
        """Plan a job; what cannot travel is refused here as it would be in earnest."""
        report = explain(call)
        estimates = EstimateTable.of(call, items, options)
        return cls(estimates.forecast.n_items, options, report, estimates)

    @property
    def headline(self) -> str:
        """One sentence."""
        items = "items of unknown number"
        if self.n_items is not None:
            items = units.count(self.n_items, "item")
        where = self.options.backend
        if self.options.workers:
            where += f", at most {units.count(self.options.workers, 'worker')}"
        return f"Dry run, nothing started: {items} on {where}."

    def __repr__(self) -> str:
        return "\n".join([self.headline, "", repr(self.estimates), "", str(self.report)])

    def _repr_html_(self) -> str:
        return card(
            f'<div class="cb-head">{escape(self.headline)}</div>'
            f"{self.estimates.to_html()}"
            f'<pre class="cb-report">{escape(str(self.report))}</pre>',
            tone="running",
            label="Dry run",
        )
