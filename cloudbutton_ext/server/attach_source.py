"""The line that a notebook runs to attach to a job. Pure."""

from __future__ import annotations

import contextlib
from typing import Final

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.journal import JobRow
from cloudbutton_magic.cells.header import MapHeader, parse_header

_MAGIC: Final = "%%cloud"


def line_for(row: JobRow) -> str | None:
    """Return the line that brings a job's results into a notebook; None where none ever will.

    Parameters
    ----------
    row
        With all its columns.
    """
    if row.kind == "executor":
        return None
    if row.kind in ("button", "run"):  # the cell's own variables come back
        return f"%cloud attach {row.id}"
    return f"%cloud attach {row.id} -> {', '.join(names_for(row))}"


def names_for(row: JobRow) -> tuple[str, ...]:
    """Return the names that a job's results were to have, or one that no notebook has yet."""
    line, _, _ = (row.source or "").partition("\n")
    if line.startswith(_MAGIC):
        with contextlib.suppress(UsageError):  # the syntax of another version
            header = parse_header(line.removeprefix(_MAGIC).lstrip())
            if isinstance(header, MapHeader) and header.results:
                return header.results
    return (f"results_{row.id}",)
