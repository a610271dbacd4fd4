"""`%%cloud map` and `%%cloud run`: run a parsed header and a body, with results in variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from cloudbutton_backend import units
from cloudbutton_backend.capture import CaptureReport, explain
from cloudbutton_backend.errors import BudgetReached, UsageError
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session import session
from cloudbutton_magic.cells.body_function import (
    function_of_body,
    function_of_cell,
    only_function_name,
    parse_body,
)
from cloudbutton_magic.cells.cell_context import CellContext
from cloudbutton_magic.cells.estimate_table import EstimateTable
from cloudbutton_magic.cells.header import MapHeader, RunHeader
from cloudbutton_magic.cells.item_expression import enumerate_items
from cloudbutton_magic.cells.options import CellOptions
from cloudbutton_magic.display.live_view import Wording, follow
from cloudbutton_magic.display.rendering import Table, card
from cloudbutton_magic.display.view_model import Tone, View

NO_VALUE: Final = "the cell's last line is not an expression; the results are None"


def map_cell(header: MapHeader, options: CellOptions, cell: str, context: CellContext) -> Any:
    """Run a cell's body for each item; return what the cell shows, None if it was assigned."""
    job_options = options.resolve()
    notes: tuple[str, ...] = ()
    call: Callable[[Any], Any]
    if header.maps_a_function:
        call = _defined_function(cell, context)
        name = call.__name__
    else:
        made = function_of_body(
            cell, header.targets, context.namespace, filename=context.filename, flags=context.flags
        )
        call = made.call
        notes = () if made.has_value else (NO_VALUE,)
        name = header.results[0] if header.results else ""
    items = enumerate_items(
        header, context.namespace, filename=context.filename, flags=context.flags
    )
    if options.dry_run:
        return MapPlan.of(call, items, job_options)
    if options.cache and not isinstance(items, (list, range)):
        items = list(items)  # their results are looked for before the job begins
    if isinstance(items, (list, range)) and not items:
        context.screen.close(_nothing_to_do(name), None)
        return assign_results([], header.results, context.namespace)
    job = session.current().map(
        call,
        items,
        options=job_options,
        origin=context.job_source("map", job_options.name or name or None),
    )
    if options.detach:
        return _detached(job, header.results, context)
    hints = _hints(job, header.results, job_options, notes)
    follow(job, context.screen, wording=Wording(targets=header.targets, hints=hints))
    return assign_results(job.results(), header.results, context.namespace)


def run_cell_as_task(
    header: RunHeader, options: CellOptions, cell: str, context: CellContext
) -> Any:
    """Run the whole cell as one task; bring its variables back, return its last value."""
    job_options = options.resolve()
    call, assigned = function_of_cell(
        cell, header.results, context.namespace, filename=context.filename, flags=context.flags
    )
    if options.dry_run:
        return MapPlan.of(call, [None], job_options)
    job = session.current().map(
        call,
        [None],
        options=job_options,
        origin=context.job_source(
            "run", job_options.name or (header.results or assigned or ("cell",))[0]
        ),
    )
    if options.detach:
        return _detached(job, header.results, context)
    follow(job, context.screen)
    (outcome,) = job.results()
    if isinstance(outcome, BaseException):  # `--errors keep`: nothing else could be kept
        raise outcome
    value, names = outcome
    context.namespace.update(names)
    return value


def _defined_function(cell: str, context: CellContext) -> Callable[[Any], Any]:
    """Run a cell that defines a function, as the notebook would, and return the function."""
    tree = parse_body(cell, context.filename)
    name = only_function_name(tree)
    exec(compile(tree, context.filename, "exec", context.flags, True), context.namespace)
    function: Callable[[Any], Any] = context.namespace[name]
    return function


def assign_results(results: list[Any], names: Sequence[str], namespace: dict[str, Any]) -> Any:
    """Assign results to the names after `->`; without names, return them.

    Several names take the results apart, as `a, b = zip(*results)` would.

    Raises
    ------
    UsageError
        An item's result is not as many values as there are names.
    """
    if not names:
        return results
    if len(names) == 1:
        namespace[names[0]] = results
        return None
    columns: list[list[Any]] = [[] for _ in names]
    for index, result in enumerate(results):
        for column, value in zip(columns, _values_of(index, result, names), strict=True):
            column.append(value)
    namespace.update(zip(names, columns, strict=True))
    return None


def _values_of(index: int, result: Any, names: Sequence[str]) -> Sequence[Any]:
    if isinstance(result, BaseException):  # `--errors keep`
        return [result] * len(names)
    if isinstance(result, (str, bytes)) or not hasattr(type(result), "__len__"):
        found = f"a {type(result).__name__}"
    elif len(result) != len(names):
        found = f"{len(result)} values"
    else:
        return list(result)
    raise UsageError(
        f"`-> {', '.join(names)}` takes {len(names)} values from each result, but item {index} "
        f"returned {found}. The results are kept: `%cloud jobs` lists the job."
    )


def _detached(job: Any, names: Sequence[str], context: CellContext) -> Any:
    if not names:
        return job
    name = names[0]
    context.namespace[name] = job
    where = "in this kernel" if job.ends_with_us else "without this kernel"
    return Table(
        f"Job `{job.id}` goes on {where}. `{name}` is the job: "
        f"`{name}.progress`, `{name}.results()`.",
        notes=[
            f"`%cloud attach {job.id} -> {', '.join(names)}` brings its results, here or in another kernel"
        ],
    )


def _hints(
    job: Job, names: Sequence[str], options: JobOptions, notes: tuple[str, ...]
) -> Callable[[View], Sequence[str]]:
    """Return the hints to show at the end, which depend on how it ends."""

    def hints(view: View) -> Sequence[str]:
        if view.tone is Tone.DONE:
            return notes
        if view.tone is Tone.FAILED and options.errors == "keep":
            where = f" in `{names[0]}`" if names else ""
            return (*notes, f"failed items are their exceptions{where}")
        arrow = f" -> {', '.join(names)}" if names else ""
        failure = job.failure
        budget = f" --budget {failure.enough:g}" if isinstance(failure, BudgetReached) else ""
        return (
            f"`%cloud retry {job.id}{budget}{arrow}` runs what is missing",
            f"`job = %cloud show {job.id}` has what is done: `job.partial()`, `job.errors()`",
        )

    return hints


def _nothing_to_do(name: str) -> View:
    return View(tone=Tone.DONE, name=name, job_id="", headline="✓ nothing to do: 0 items", done=1.0)


@dataclass(frozen=True)
class MapPlan:
    """A job that was not started."""

    n_items: int | None
    options: JobOptions
    report: CaptureReport
    estimates: EstimateTable

    @classmethod
    def of(cls, call: Callable[[Any], Any], items: Iterable[Any], options: JobOptions) -> MapPlan:
        """Plan a job; what cannot travel is refused as in a real run."""
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
