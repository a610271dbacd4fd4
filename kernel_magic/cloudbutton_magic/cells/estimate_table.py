"""A job's estimated time and cost as a table: for people as text and HTML, for code as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from cloudbutton_backend import units
from cloudbutton_backend.cost.quotes import Quote
from cloudbutton_backend.forecast import Forecast, forecast
from cloudbutton_backend.forecast.sampling import WITHIN
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session import session
from cloudbutton_magic.display.rendering import card, marked, table

_HEADER: Final = ("", "where", "time", "cost", "")
_RECOMMENDED: Final = "→"


@dataclass(frozen=True, repr=False)
class EstimateTable:
    """The backends that could run a job, with its time and cost on each; nothing was started."""

    forecast: Forecast

    @classmethod
    def of(
        cls,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        options: JobOptions,
        *,
        backends: Sequence[str] | None = None,
        within: float = WITHIN,
    ) -> EstimateTable:
        """Make the estimates of a job; see `cloudbutton_backend.forecast`."""
        found = forecast(
            session.current(), function, items, options, backends=backends, within=within
        )
        return cls(found)

    @property
    def rows(self) -> tuple[Quote, ...]:
        """The places, each with `backend`, `emulated`, `workers`, `memory`, `seconds` and `dollars`."""
        return self.forecast.rows

    @property
    def recommended(self) -> Quote | None:
        """The one to take."""
        return self.forecast.advice.offer

    @property
    def reason(self) -> str:
        """The reason for the recommendation."""
        return self.forecast.advice.why

    @property
    def basis(self) -> str:
        """The basis of the figures."""
        return self.forecast.basis

    @property
    def headline(self) -> str:
        """The subject of the table, and the source of its figures."""
        if not self.rows:
            return "No estimate."
        items = units.count(self.forecast.n_items or 0, "item")
        return f"What {items} would take, from {self.basis}; nothing was spent."

    @property
    def advice(self) -> str:
        """One sentence, or nothing."""
        if self.recommended is None:
            return f"None recommended: {self.reason}." if self.reason else ""
        return f"Recommended: {where(self.recommended)}; {self.reason}."

    def lines(self) -> list[tuple[str, ...]]:
        """Return the cells of each row."""
        return [
            (
                _RECOMMENDED if row is self.recommended else "",
                where(row),
                units.seconds_between(row.seconds),
                units.dollars_between(row.dollars),
                "; ".join([*(["as asked"] if row.is_asked else []), *row.notes]),
            )
            for row in self.rows
        ]

    def notes(self) -> list[str]:
        """Return what else there is to say, a line each."""
        needed = self.forecast.memory_needed
        sized = needed is not None and any(row.memory is not None for row in self.rows)
        memory = (
            [f"Memory: {needed:,} MiB or more, by what items took and headroom."] if sized else []
        )
        return [*memory, *self.forecast.notes]

    def __repr__(self) -> str:
        drawn = []
        lines = [_HEADER, *self.lines()] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            drawn.append("  ".join(cells).rstrip())
        return "\n".join(filter(None, [self.headline, *drawn, self.advice, *self.notes()]))

    def to_html(self) -> str:
        """Return the table and what belongs to it, without a frame."""
        parts = [f'<div class="cb-head">{escape(self.headline)}</div>']
        if self.rows:
            # A figure and its interval stay on one line.
            whole = ([cell.replace(" ", "\u00a0") for cell in line] for line in self.lines())
            parts.append(table(_HEADER, whole))
        parts += [f"<div>{marked(text)}</div>" for text in filter(None, [self.advice])]
        parts += [f'<div class="cb-muted">{marked(text)}</div>' for text in self.notes()]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        return card(self.to_html(), tone="running", label="Estimate")


def where(offer: Quote) -> str:
    """Return `local, 2 workers` or `lambda, 1,769 MiB × 200`."""
    if offer.memory is None:
        return f"{offer.runs_on}, {units.count(offer.workers, 'worker')}"
    return f"{offer.runs_on}, {offer.memory:,} MiB × {offer.workers:,}"
