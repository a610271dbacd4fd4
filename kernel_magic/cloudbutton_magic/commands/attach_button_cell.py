"""`%cloud attach` of a button cell: it runs again, and takes over what its loops had finished."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from IPython import get_ipython

from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.result_cache import EarlierLoops
from cloudbutton_backend.session import session
from cloudbutton_backend.session.resume import driver_of
from cloudbutton_magic.button.button_magic import run_button
from cloudbutton_magic.cells.cell_context import context_of_cell, transform_below
from cloudbutton_magic.cells.header import parse_header
from cloudbutton_magic.cells.options import parse_options
from cloudbutton_magic.rewriting.worker_side import DONE, LATE, PACKED

_SEARCHED_JOBS: Final = 200
"""Jobs among which those of the cell's other loops are looked for."""


def attach_button_cell(row: JobRow, changes: Mapping[str, Any]) -> None:
    """Run the cell of a button job again, its finished items left out.

    Afterwards the names are those that the plain cell would have left. What its lines need from the
    cells above must be there.

    Parameters
    ----------
    row
        The job of one of the cell's loops, of a kernel that is gone or of this one.
    changes
        Settings that are to be others this time; `budget` as text, for all that the cell spends.

    Raises
    ------
    UsageError
        The cell is running, or it was not kept, or a name from the cells above is missing, or
        the backend is another thing here than it was there.
    """
    line, cell = _cell_of(row)
    if row.state in (JobState.RUNNING, JobState.CANCELLING):
        raise UsageError(
            f"The cell of job {row.id} is still running, in process {row.pid}:"
            f" wait for it, or `%cloud cancel {row.id}` first."
        )
    shell: Any = get_ipython()
    options = parse_options(parse_header(line).options)
    loops = _loops_of_the_cell(row)
    backend = changes.get("backend") or row.backend
    if "backend" not in changes:
        driver_of(row, backend, session.current().driver)
    given = {**options.given, **changes, "backend": backend}
    given["budget"] = remaining_budget(options.resolve().budget, changes.get("budget"), loops)
    options = replace(options, given=given)
    home = session.current().journal.home
    earlier = EarlierLoops(home, loops, is_good=_is_good, spoils=_spoils, may_change=_may_change)
    context = context_of_cell(shell, line, cell, quiet=options.quiet)
    source = transform_below(shell, cell)
    try:
        run_button(
            options,
            source,
            context,
            transform=shell.transform_ast,
            earlier=earlier,
            continues=row.id,
        )
    except NameError as error:
        if not _was_raised_in(error, context.filename) or error.name in context.namespace:
            raise
        raise UsageError(
            f"The cell uses `{error.name}`, which is not defined in this kernel. Run the cells above it"
            f" first, then `%cloud attach {row.id}` again: what its loops had finished is kept."
        ) from None


def _cell_of(row: JobRow) -> tuple[str, str]:
    """Return the options and the body of the cell, as they were."""
    first, newline, cell = (row.source or "").partition("\n")
    if row.kind != "button" or not first.startswith("%%cloud") or not newline:
        raise UsageError(f"Job {row.id} is no loop of a cell, or its cell was not recorded.")
    return first.removeprefix("%%cloud").strip(), cell


def _loops_of_the_cell(row: JobRow) -> list[JobRow]:
    """Return the jobs of the cell's loops in the kernel that is gone, the latest first.

    If it had itself taken over from another one, those of that one follow, and so on.
    """
    reader = JournalReader(session.current().journal.home)
    latest = reader.jobs(_SEARCHED_JOBS)
    found: dict[str, JobRow] = {}
    while row.id not in found:
        found[row.id] = row
        found.update({each.id: each for each in latest if _is_same_run(each, row)})
        before = row.options.get("continues")
        if before:
            try:
                row = reader.job(before)
            except (UnknownName, UsageError):
                break  # it was cleaned away
    return list(found.values())


def remaining_budget(
    own: float | None, overrides: str | None, loops: Sequence[JobRow]
) -> float | None:
    """Return what the cell may cost from now on.

    Parameters
    ----------
    own
        Its budget in all, as it was.
    overrides
        What the budget in all is to be; with a `+`, by how much it is to be higher.
    """
    spent = sum(loop.spend + loop.committed for loop in loops)
    total = own
    if overrides is not None:
        try:
            amount = float(overrides)
        except ValueError:
            amount = math.nan
        if not 0 <= amount < math.inf:
            raise UsageError(
                f"`--budget` must be US dollars like 2.00, or +1.00 for that much more, not {overrides!r}."
            )
        more = overrides.strip().startswith("+")
        total = amount + ((spent if own is None else own) if more else 0.0)
    return None if total is None else max(0.0, total - spent)


def _is_same_run(one: JobRow, other: JobRow) -> bool:
    return one.kind == other.kind and all(
        getattr(one, name) == getattr(other, name)
        for name in ("pid", "token", "host", "source", "cell_id")
    )


def _is_good(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and value[0] in (DONE, PACKED)


def _spoils(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and value[0] == LATE


def _may_change(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and value[0] == PACKED


def _was_raised_in(error: NameError, filename: str) -> bool:
    """Whether a line of the cell itself, or of a function that it defines, asked for the name."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename == filename
