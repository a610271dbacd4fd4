"""What `--dry-run` shows: what would run, where, and what would travel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from cloudbutton_backend.capture import CaptureReport, explain
from cloudbutton_backend.jobs import JobOptions
from cloudbutton_magic import units
from cloudbutton_magic.display.html import card


@dataclass(frozen=True)
class Plan:
    """A job that was not started."""

    n_items: int | None
    options: JobOptions
    report: CaptureReport

    @classmethod
    def of(cls, call: Callable[[Any], Any], items: Iterable[Any], options: JobOptions) -> Plan:
        """Plan a job; what cannot travel is refused here as it would be in earnest."""
        n_items = len(items) if isinstance(items, (list, range)) else None
        return cls(n_items, options, explain(call))

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
        return f"{self.headline}\n{self.report}"

    def _repr_html_(self) -> str:
        return card(
            f'<div class="cb-head">{escape(self.headline)}</div>'
            f'<pre class="cb-report">{escape(str(self.report))}</pre>',
            tone="running",
            label="Dry run",
        )
