"""What `--dry-run` shows: what would run, where, and what would travel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from cloudbutton_backend import session
from cloudbutton_backend.capture import CaptureReport, explain
from cloudbutton_backend.jobs import Estimate, JobOptions
from cloudbutton_magic import units
from cloudbutton_magic.display.html import card


@dataclass(frozen=True)
class Plan:
    """A job that was not started."""

    n_items: int | None
    options: JobOptions
    report: CaptureReport
    estimate: Estimate | None = None
    """By earlier runs; None where work is free or nothing is known."""

    @classmethod
    def of(cls, call: Callable[[Any], Any], items: Iterable[Any], options: JobOptions) -> Plan:
        """Plan a job; what cannot travel is refused here as it would be in earnest."""
        n_items = len(items) if isinstance(items, (list, range)) else None
        report = explain(call)
        return cls(n_items, options, report, session.current().estimate(call, n_items, options))

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

    @property
    def price(self) -> str:
        """One sentence, or nothing."""
        if self.estimate is None:
            return ""
        return f"By {self.estimate.basis}, it will cost {units.price(self.estimate)}."

    def __repr__(self) -> str:
        return "\n".join(filter(None, [self.headline, self.price, str(self.report)]))

    def _repr_html_(self) -> str:
        return card(
            f'<div class="cb-head">{escape(" ".join([self.headline, self.price]).strip())}</div>'
            f'<pre class="cb-report">{escape(str(self.report))}</pre>',
            tone="running",
            label="Dry run",
        )
