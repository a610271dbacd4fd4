"""Jobs as the journal knows them, of all kernels: listed, and one of them shown."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Final

from cloudbutton_backend import units
from cloudbutton_backend.journal import JobRow
from cloudbutton_magic.display.rendering import Table, html_of, text_of
from cloudbutton_magic.display.view_model import view_of

_HEADER: Final = ("id", "name", "state", "items", "time", "cost", "where")


class JobListing:
    """A job of another kernel, or of an earlier one: it can be looked at."""

    def __init__(self, row: JobRow, now: float) -> None:
        self.row = row
        self._view = view_of(row.progress(now))

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
