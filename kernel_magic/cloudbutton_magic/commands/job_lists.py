"""Jobs as the journal knows them, of all kernels: listed, and one of them shown."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from cloudbutton_backend import units
from cloudbutton_backend.job_model import Estimate, Progress
from cloudbutton_backend.journal import JobRow
from cloudbutton_magic.display.rendering import Table, html_of, text_of
from cloudbutton_magic.display.view_model import view_of

_HEADER = ("id", "name", "state", "items", "time", "cost", "where")


def progress_of(row: JobRow, now: float) -> Progress:
    """Return a journal's row as the snapshot that views draw."""
    return Progress(
        job_id=row.id,
        name=row.name,
        backend=row.backend,
        emulated=row.emulated,
        state=row.state,
        total=row.n_items,
        done=row.done,
        failed=row.failed,
        running=row.running,
        workers=row.workers,
        elapsed=row.elapsed(now),
        eta=None,
        task_seconds=row.task_seconds,
        spend=row.spend,
        expected_spend=row.expected_spend,
        budget=row.budget,
        estimate=_estimate(row),
        retried=row.retried,
        lost_workers=row.lost_workers,
        first_error=row.error,
        warnings=row.warnings,
    )


def _estimate(row: JobRow) -> Estimate | None:
    if row.estimate is None:
        return None
    low = row.estimate if row.estimate_low is None else row.estimate_low
    high = row.estimate if row.estimate_high is None else row.estimate_high
    return Estimate(row.estimate, low, high, basis="")


class JobListing:
    """A job of another kernel, or of an earlier one: it can be looked at."""

    def __init__(self, row: JobRow, now: float) -> None:
        self.row = row
        self._view = view_of(progress_of(row, now))

    def __repr__(self) -> str:
        return text_of(self._view)

    def _repr_html_(self) -> str:
        return html_of(self._view)


def jobs_table(rows: Iterable[JobRow], now: float | None = None) -> Table:
    """Return a table of jobs, the latest first."""
    moment = time.time() if now is None else now
    lines = [_line(row, moment) for row in rows]
    if not lines:
        return Table("No jobs yet.")
    return Table("The latest jobs", _HEADER, lines, ["`%cloud show ID` shows one of them."])


def _line(row: JobRow, now: float) -> tuple[str, ...]:
    total = "?" if row.n_items is None else f"{row.n_items:,}"
    items = f"{row.done:,}/{total}"
    if row.failed:
        items += f", {row.failed:,} failed"
    where = "this kernel" if row.pid == os.getpid() else (row.notebook or f"process {row.pid}")
    return (
        row.id,
        units.clipped(row.name, 30),
        row.state.value,
        items,
        units.seconds(row.elapsed(now)),
        units.dollars(row.spend) if row.spend else "",
        os.path.basename(where),
    )
