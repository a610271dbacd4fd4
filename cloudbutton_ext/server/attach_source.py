"""What a notebook is to run to take hold of a job, and which jobs it can take hold of. Pure."""

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


def can_attach(row: JobRow, *, is_gone: bool) -> bool:
    """Return whether another kernel can bring a job's results, and go on with what is missing.

    An executor's calls came one by one, from a program. What runs in a kernel that is there is that
    kernel's, unless it was detached; so is a cell that was pressed there, also when its job has ended.
    """
    if row.kind == "executor":
        return False
    if row.kind == "button":
        return is_gone
    return row.state.is_final or is_detached(row)


def is_detached(row: JobRow) -> bool:
    """Return whether a job was to go on without the process that started it."""
    return bool(row.options.get("detach"))


def names_for(row: JobRow) -> tuple[str, ...]:
    """Return the names that a job's results were to have, or one that no notebook has yet."""
    line, _, _ = (row.source or "").partition("\n")
    if line.startswith(_MAGIC):
        with contextlib.suppress(UsageError):  # the syntax of another version
            header = parse_header(line.removeprefix(_MAGIC).lstrip())
            if isinstance(header, MapHeader) and header.results:
                return header.results
    return (f"results_{row.id}",)
