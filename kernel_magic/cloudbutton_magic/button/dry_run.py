"""The output of `%%cloud --dry-run` for an ordinary cell: the plan, what would travel, what it took."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from cloudbutton_backend import units
from cloudbutton_backend.capture import explain
from cloudbutton_backend.cost.job_estimate import EarlierRun, from_history
from cloudbutton_backend.errors import CaptureError
from cloudbutton_backend.forecast import forecast_again
from cloudbutton_backend.job_model import Estimate, JobOptions, JobState
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.session import session
from cloudbutton_magic.analysis import Namespace, Parallel, stays_here
from cloudbutton_magic.button import plan
from cloudbutton_magic.cells.cell_context import CellContext
from cloudbutton_magic.cells.estimate_table import EstimateTable
from cloudbutton_magic.display.rendering import card

_SEARCHED_JOBS: Final = 200
"""Jobs of the journal among which earlier runs of the cell are looked for."""


@dataclass(frozen=True)
class ButtonPlan:
    """A cell that was not run."""

    headline: str
    source: str
    """Readable Python of what would happen to each loop, and why."""
    captures: tuple[str, ...]
    """For each loop that would be sent, a table of what its items use."""
    estimate: str
    estimates: EstimateTable | None = None
    """By earlier runs of its loops, wherever they could run."""

    def __repr__(self) -> str:
        table = [] if self.estimates is None else [repr(self.estimates)]
        return "\n\n".join(
            [self.headline, self.source.rstrip(), *self.captures, self.estimate, *table]
        )

    def _repr_html_(self) -> str:
        blocks = "".join(
            f'<pre class="cb-report">{escape(text)}</pre>' for text in (self.source, *self.captures)
        )
        return card(
            f'<div class="cb-head">{escape(self.headline)}</div>{blocks}'
            f'<div class="cb-muted">{escape(self.estimate)}</div>'
            + ("" if self.estimates is None else self.estimates.to_html()),
            tone="running",
            label="Dry run",
        )


def plan_button(tree: ast.Module, context: CellContext, options: JobOptions) -> ButtonPlan:
    """Plan a cell without running any of it."""
    cell = plan(tree, context.namespace)
    parallel = [
        (loop.verdict, loop.loop.names or frozenset())
        for loop in cell.loops
        if isinstance(loop.verdict, Parallel)
    ]
    here = len(cell.loops) + len(cell.refused) - len(parallel)
    if not parallel and not here:
        headline = "Dry run, nothing was run: this cell has no loop; all of it would run here."
    else:
        headline = (
            f"Dry run, nothing was run: {units.count(len(parallel), 'loop')} could run in parallel"
            f" on {options.backend}, {here} here."
        )
    earlier = _earlier_runs(context) if parallel else []
    return ButtonPlan(
        headline,
        cell.source(),
        tuple(_capture_of(verdict, local, context.namespace) for verdict, local in parallel),
        _estimate(earlier, options) if parallel else "It would take as long as the plain cell.",
        _estimates(earlier, options),
    )


def _capture_of(verdict: Parallel, local: Set[str], namespace: Mapping[str, Any]) -> str:
    """Return the report on what one loop's items use, as far as it is there before the cell runs.

    `local` are names of the function around the loop, whatever the notebook has under them.
    """
    names = sorted(name for name in verdict.reads - local if name in namespace)
    missing = sorted(verdict.reads - set(names) - vars(builtins).keys())
    text = f"def line_{verdict.line}(item):\n    return ({', '.join([*names, ''])})"
    scope: dict[str, Any] = dict(namespace)
    exec(compile(text, "<plan>", "exec"), scope)
    try:
        report = str(explain(scope[f"line_{verdict.line}"]))
    except CaptureError as error:
        report = f"line {verdict.line} would run here: {error}"
    except BaseException as error:
        report = f"would run here: {stays_here(error, verdict.line, names, Namespace(namespace))}"
    if missing:
        report += f"\nmade by the cell itself, known when it runs: {', '.join(missing)}"
    return report


def _estimates(earlier: Sequence[JobRow], options: JobOptions) -> EstimateTable | None:
    """Return what the same loops would take and cost wherever they could run."""
    loops = [(job.code_digest, job.done) for job in earlier if job.code_digest]
    if not loops or len(loops) < len(earlier):
        return None
    found = forecast_again(session.current(), loops, options)
    return None if found is None else EstimateTable(found)


def _estimate(earlier: Sequence[JobRow], options: JobOptions) -> str:
    """Return what earlier runs of the same cell tell, one line."""
    cost = _cost(earlier, options)
    if not earlier:
        return (
            "No estimate yet, as this cell has not run on workers before: its first items will run here,"
            f" timed, and the rest is sent if that is sooner. On {options.backend} it {cost}."
        )
    driver = session.current().driver(options.backend)
    workers = options.workers or driver.backend.limits.workers
    serial = sum(job.task_seconds for job in earlier)
    loops = "; ".join(
        f"{job.name}: {units.count(job.done, 'item')}, {units.seconds(job.task_seconds)} of work"
        for job in earlier
    )
    return (
        f"Last time, {loops}. The same again takes about {units.seconds(serial / workers)} on"
        f" {units.count(workers, 'worker')} instead of {units.seconds(serial)}, and {cost}."
    )


def _cost(earlier: Sequence[JobRow], options: JobOptions) -> str:
    """Return what the same again costs, as far as the same backend has told."""
    driver = session.current().driver(options.backend)
    if driver.backend.limits.rate is None:
        return "costs nothing"
    each = [
        from_history([EarlierRun(job.done, job.spend)], job.done)
        for job in earlier
        if job.ran_on == driver.identity
    ]
    known = [estimate for estimate in each if estimate is not None]
    if not known or len(known) < len(earlier):
        return "has a price that its first calls will tell"
    total = Estimate(
        sum(estimate.expected for estimate in known),
        sum(estimate.low for estimate in known),
        sum(estimate.high for estimate in known),
        "",
    )
    return f"costs {units.price(total)}"


def _earlier_runs(context: CellContext) -> list[JobRow]:
    """Return the newest finished job of each loop of the same cell, whatever options it had."""
    session.current().journal.flush(1.0)
    body = _without_first_line(context.text)
    found: dict[str, JobRow] = {}
    for job in JournalReader().jobs(limit=_SEARCHED_JOBS, state=JobState.DONE):
        if (
            job.kind == "button"
            and job.done
            and job.source
            and _without_first_line(job.source) == body
        ):
            found.setdefault(job.name, job)
    return list(reversed(found.values()))


def _without_first_line(text: str) -> str:
    """Return a cell without its first line, which has the options."""
    return text.partition("\n")[2].strip()
