"""`%%cloud` on an ordinary cell: the button, with this session's workers and views behind it."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from IPython.display import display

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import ItemOutcome, JobOptions, Output
from cloudbutton_backend.session import session
from cloudbutton_backend.worker.process_state import current_state, state_in_results
from cloudbutton_magic.analysis import first_await
from cloudbutton_magic.button import WORTH_A_LINE, Button, LoopReport, run_unchanged
from cloudbutton_magic.button.dry_run import plan_button
from cloudbutton_magic.button.loop_run import HiddenChange
from cloudbutton_magic.cells.cell_context import CellContext
from cloudbutton_magic.cells.options import CellOptions, check_options
from cloudbutton_magic.display.live_view import stream
from cloudbutton_magic.display.rendering import Table
from cloudbutton_magic.display.task_outputs import OutputReplay
from cloudbutton_magic.rewriting.worker_side import HERE, LATE, Task

if TYPE_CHECKING:
    from cloudbutton_backend.result_cache import EarlierLoops, LoopTracer


from cloudbutton_magic.analysis.syntax import walk


def run_button(
    options: CellOptions,
    source: str,
    context: CellContext,
    *,
    transform: Callable[[ast.Module], ast.Module] = lambda tree: tree,
    earlier: EarlierLoops | None = None,
    continues: str | None = None,
) -> Any:
    """Run a cell, its independent loops on workers; leave what the plain cell would leave.

    Parameters
    ----------
    options
        Those of the cell.
    source
        The cell as Python, its lines where `context.filename` has them.
    context
        Where the cell is.
    transform
        What the notebook does to the tree of each cell, such as checking types or rewriting asserts.
    earlier, continues
        What the cell's loops had finished when its kernel died, and the job by whose id it was asked for.

    Raises
    ------
    UsageError
        An option that has no meaning here, or a cell that awaits.
    """
    check_options(options)
    # The button watches by itself.
    job_options = replace(options.resolve(), guard="off", continues=continues)
    try:
        tree = ast.parse(source, context.filename)
    except SyntaxError as error:
        raise error.with_traceback(None) from None  # of the cell, not of our own frames
    tree = ast.fix_missing_locations(transform(tree))
    awaiting = first_await(tree)
    if awaiting is not None:
        raise UsageError("This cell uses `await` at its top level; run it without `%%cloud`.")
    if options.dry_run:
        return plan_button(tree, context, job_options)
    limits = session.current().driver(job_options.backend).backend.limits
    replay = OutputReplay(job_has_it=False, namespace=context.namespace)
    mapper = SessionMapper(job_options, context, earlier)
    button = Button(
        mapper=mapper,
        replay=lambda output: _replay_one(replay, output),
        runner=partial(run_unchanged, interactivity=context.interactivity),
        workers=min(job_options.workers or limits.workers, limits.workers),
        send_at_once=options.cache or earlier is not None,
    )
    reports: list[LoopReport] = []
    began = time.perf_counter()
    try:
        try:
            report = button.run(
                source,
                context.namespace,
                filename=context.filename,
                flags=context.flags,
                force=options.force,
                tree=tree,
                reports=reports,
            )
        finally:
            replay.finish()
            mapper.end()
    except BaseException as error:
        advice = None if isinstance(error, HiddenChange) else mapper.resume_advice()
        if advice and not options.quiet:
            display(Table("☁ " + advice))
        raise
    took = time.perf_counter() - began
    notes = [line for line in report.lines() if not line.endswith("in parallel")]
    if not (report.loops or report.refused) and took >= WORTH_A_LINE:
        notes = [no_loop_advice(tree)]
    if earlier is not None:
        notes = [*earlier.lines(), *notes]
    if notes and not options.quiet:
        display(Table("☁ " + notes[0], notes=notes[1:10]))
    return None


class SessionMapper:
    """Runs a loop's items as a job of this session, shown under the cell."""

    def __init__(
        self, options: JobOptions, context: CellContext, earlier: EarlierLoops | None = None
    ) -> None:
        self._options, self._place, self._earlier = options, context, earlier
        self._jobs: list[Job] = []
        self._tracers: list[LoopTracer] = []

    def end(self) -> None:
        """The cell has ended."""
        for tracer in self._tracers:
            tracer.end()

    def resume_advice(self) -> str | None:
        """Return how to run the cell again without what is done; None where nothing is."""
        done = [job.id for job in self._jobs if job.progress.done]
        if not done:
            return None
        return (
            f"`%cloud retry {done[-1]}` runs the cell again without what its loops have finished;"
            f" in another kernel, `%cloud attach {done[-1]}` does."
        )

    def __call__(
        self,
        body: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        label: str,
        line: int,
        before: int,
        plan: Callable[[], str],
    ) -> Iterator[ItemOutcome]:
        here = session.current()
        options = self._options
        if options.budget is not None:  # it is for the cell, whatever loops it has
            spent = sum(job.cost for job in self._jobs)
            options = replace(options, budget=max(0.0, options.budget - spent))
        function, settings = _told(body)
        origin = self._place.job_source("button", self._options.name or label, before)
        job = here.map(
            body,
            items,
            options=options,
            origin=replace(origin, keyed=partial(function, sorted(settings.items()))),
            found=None if self._earlier is None else self._earlier.of(function, settings),
        )
        self._jobs.append(job)
        from cloudbutton_backend.result_cache import (
            LoopTracer,  # 15 ms, while the workers have begun
        )

        tracer = LoopTracer(here.journal.home, job, function, items, settings)
        self._tracers.append(tracer)
        # Made when it is written, on the journal's thread: the cell does not wait for it.
        here.journal.update_job(job.id, plan=plan)
        return _trace(job, stream(job, self._place.screen, is_result=_is_result), tracer)


def _is_result(outcome: ItemOutcome) -> bool:
    """Tell whether the loop goes on after an item, or ends: it need not run here from there on."""
    return outcome.error is None and outcome.value[0] != HERE


def _told(body: Callable[[Any], Any]) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Return what tells a loop's body from others: itself, and settings that can decide its results."""
    settings = state_in_results(current_state())
    if not isinstance(body, Task):
        return body, settings
    copied = copy(body)
    copied.directory, copied.sources = "", {}
    return copied, {**settings, "the folder": body.directory}


def _trace(job: Job, outcomes: Iterator[ItemOutcome], tracer: LoopTracer) -> Iterator[ItemOutcome]:
    """Let results be found by later runs unless one of them shows that others may be wrong."""
    outcome = None
    try:
        for outcome in outcomes:
            tracer.handed += 1
            yield outcome
    finally:
        tracer.end()
        closing = getattr(outcomes, "close", None)
        if closing is not None:
            closing()
        is_late = outcome is not None and outcome.error is None and outcome.value[0] == LATE
        if job.cache is not None and not is_late:
            job.cache.release()


def _replay_one(replay: OutputReplay, output: Output) -> None:
    replay.play(ItemOutcome(0, outputs=(output,)))


_LOOPS: Final = (ast.For, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def no_loop_advice(tree: ast.Module) -> str:
    """Return one line for the user: what the button looks for, and how to write it here."""
    advice = next((text for node in walk(tree) if (text := _advice(node))), "")
    hint = f" ({advice})" if advice else ""
    if any(isinstance(node, _LOOPS) for node in walk(tree)):
        lack = "those of this cell are inside functions, lambdas or generators"
    else:
        lack = "this cell has none"
    return f"ran here: `%%cloud` looks at `for` loops and comprehensions; {lack}{hint}"


def _advice(node: ast.AST) -> str:
    """Return how a call that loops inside could be written as a comprehension."""
    if not isinstance(node, ast.Call) or not node.args:
        return ""
    function, *others = node.args
    if isinstance(node.func, ast.Name) and node.func.id == "map" and len(others) == 1:
        return _instead("list(map({f}, {xs}))", "[{f}(x) for x in {xs}]", function, others[0])
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in ("apply", "map"):
        return ""
    owner = node.func.value
    call = f"{{xs}}.{node.func.attr}({{f}})"
    if isinstance(owner, ast.Call) and getattr(owner.func, "attr", "") == "groupby":
        return _instead(call, "[{f}(group) for _, group in {xs}]", function, owner)
    if any(keyword.arg == "axis" for keyword in node.keywords):
        call = "{xs}.apply({f}, axis=1)"
        return _instead(call, "[{f}(row) for _, row in {xs}.iterrows()]", function, owner)
    return _instead(call, "[{f}(x) for x in {xs}]", function, owner)


def _instead(call: str, comprehension: str, function: ast.expr, iterable: ast.expr) -> str:
    f = ast.unparse(function) if isinstance(function, (ast.Name, ast.Attribute)) else "f"
    xs = ast.unparse(iterable)
    xs = xs if len(xs) <= 40 else "xs"
    before, after = (text.format(f=f, xs=xs) for text in (call, comprehension))
    return f"`{before}` can be written as `{after}`"
