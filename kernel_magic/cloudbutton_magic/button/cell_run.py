"""Runs a whole cell: its loops through `LoopRun`, everything else as it stands."""

from __future__ import annotations
import __future__

import ast
import itertools
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from cloudbutton_backend import units
from cloudbutton_backend.job_model.outcome import Output
from cloudbutton_magic.analysis import Loop, Namespace, NotIndependent, first_await
from cloudbutton_magic.button.loop_run import (
    LoopReport,
    LoopRun,
    LoopSetting,
    Mapper,
    RanElsewhere,
    RanHere,
    StartOverhead,
)
from cloudbutton_magic.rewriting import loop_functions as code
from cloudbutton_magic.rewriting.called_functions import FunctionScope, recompile
from cloudbutton_magic.rewriting.cell_rewrite import HOOK, RewrittenCell, instrument


class LoopRunner(Protocol):
    """Executes a tree as the cell would be executed: the last expression is displayed."""

    def __call__(
        self, tree: ast.Module, filename: str, namespace: dict[str, Any], flags: int
    ) -> None: ...


@dataclass(frozen=True)
class CellReport:
    """Reports on a cell: one entry for each time a loop was reached, in order."""

    loops: tuple[LoopReport, ...]
    refused: tuple[NotIndependent, ...]
    """Loops that stayed here because of their text alone."""

    @property
    def items_elsewhere(self) -> int:
        return sum(loop.items_elsewhere for loop in self.loops)

    def lines(self) -> list[str]:
        """Return what to tell the user, one line for each loop."""
        lines = []
        # A short loop that stays is worth a line only when nothing else was gained.
        sent = any(loop.items_elsewhere for loop in self.loops)
        for loop in self.loops:
            if loop.items_elsewhere and loop.stopped:
                lines.append(
                    f"line {loop.line}: {loop.items_elsewhere} items in parallel, then here: {loop.stopped}"
                )
            elif loop.items_elsewhere:
                lines.append(f"line {loop.line}: {loop.items_elsewhere} items in parallel")
            elif loop.stopped:
                twice = (
                    "; effects outside the notebook (files written, …) may have happened twice"
                    if loop.tried
                    else ""
                )
                lines.append(f"line {loop.line}: ran here, because {loop.stopped}{twice}")
            elif isinstance(loop.verdict, NotIndependent):
                lines.append(f"ran here: {loop.verdict}")
            elif not sent and loop.seconds_here >= WORTH_A_LINE:
                took = units.seconds(loop.seconds_here)
                lines.append(f"line {loop.line}: {took} of work: ran here")
        lines += [f"ran here: {refused}" for refused in self.refused]
        # A loop inside another is reached again and again: once is enough.
        return list(dict.fromkeys(lines))


QUICK: Final = 0.001
"""Seconds; analysing a loop that is over sooner costs more than it could gain."""

WORTH_A_LINE: Final = 0.1
"""Seconds; that what was over sooner ran here needs no explanation."""

_KINDS: dict[str, Callable[..., Any]] = {
    "list": lambda made: made, "set": set, "dict": dict, "for": iter, "generator": iter,
}  # fmt: skip


class LoopHook:
    """The callable that loops of the cell hand their iterable to."""

    def __init__(self, cell: RewrittenCell, setting: LoopSetting) -> None:
        self.loops, self.functions, self.setting = cell.loops, cell.recompiled, setting
        self.reports: list[LoopReport] = []
        self._plain: dict[int, Callable[[Any], Any]] = {}
        self._by_number: dict[int, LoopReport] = {}
        self._quick: set[int] = set()

    def recompiled(self, number: int, function: Any) -> Any:
        """Return what to call for a function of the cell so that its loops come here, too."""
        setting = self.setting
        return recompile(
            function, self.functions[number], setting.filename, setting.flags, setting.namespace
        )

    def __call__(
        self,
        number: int,
        iterable: Any,
        closure: types.FunctionType | None = None,
        plain: Callable[[Any], Any] | None = None,
    ) -> Any:
        loop = self.loops[number]
        if plain is None:
            plain = self._plain_of(number) if loop.kind != "for" else iter
        if number in self._quick:
            return _KINDS[loop.kind](plain(iterable))
        report = self._by_number.get(number)
        if report is None:
            report = self._by_number[number] = LoopReport(loop.line)
            self.reports.append(report)
        run = LoopRun(loop, iterable, *self._setting_of(loop, closure), report)
        if loop.kind == "for":
            return itertools.chain.from_iterable(self._items_here(number, run))
        if loop.kind == "generator":
            return self._generate(run, plain)
        return self._collect(number, run, plain)

    def _setting_of(
        self, loop: Loop, closure: types.FunctionType | None
    ) -> tuple[LoopSetting, FunctionScope | None]:
        """Return the setting of a loop, and the scope if it is in a function."""
        if closure is None or loop.names is None:
            return self.setting, None
        scope = FunctionScope(closure, loop.names, self.setting.namespace)
        return replace(self.setting, namespace=scope.namespace), scope

    def _items_here(self, number: int, run: LoopRun) -> Iterator[Iterator[Any]]:
        before = run.report.seconds_here
        for event in run.events():
            if isinstance(event, RanHere):
                yield event.items
        self._note_quick(number, run.report.seconds_here - before)

    def _note_quick(self, number: int, seconds: float) -> None:
        """Leave a loop alone that is over in no time: it may be inside another, run often."""
        if seconds < QUICK and not self.setting.force:
            self._quick.add(number)

    def _generate(self, run: LoopRun, plain: Callable[[Any], Any]) -> Iterator[Any]:
        for event in run.events():
            if isinstance(event, RanHere):
                yield from plain(event.items)
            else:
                for _, value in event.ops:
                    yield value

    def _collect(self, number: int, run: LoopRun, plain: Callable[[Any], Any]) -> Any:
        loop, before = run.loop, run.report.seconds_here
        events = run.events()
        there: list[RanElsewhere] = []

        def here() -> Iterator[Iterator[Any]]:
            for event in events:
                if isinstance(event, RanElsewhere):
                    there.append(event)
                    return
                yield event.items

        # Items run here go through one comprehension, however often the clock is looked at.
        result = _KINDS[loop.kind](plain(itertools.chain.from_iterable(here())))
        put = result.extend if loop.kind == "list" else result.update
        for event in itertools.chain(there, events):
            if isinstance(event, RanHere):
                put(plain(event.items))
            elif loop.kind == "dict":
                for _, key, value in event.ops:
                    result[key] = value
            else:
                put([value for _, value in event.ops])
        self._note_quick(number, run.report.seconds_here - before)
        return result

    def _plain_of(self, number: int) -> Callable[[Any], Any]:
        if number not in self._plain:
            setting = self.setting
            tree = code.plain_function(self.loops[number])
            self._plain[number] = code.compile_function(
                tree, setting.filename, setting.flags, setting.namespace
            )
        return self._plain[number]


def show_output(output: Output) -> None:
    """Write what an item printed to this process's streams."""
    if not isinstance(output.data, str):
        return
    stream = sys.stdout if output.kind == "stdout" else sys.stderr
    stream.write(output.data)


def run_unchanged(
    tree: ast.Module,
    filename: str,
    namespace: dict[str, Any],
    flags: int = 0,
    *,
    interactivity: str = "last_expr",
) -> None:
    """Execute `tree` as IPython does, a statement after the other; show values with `sys.displayhook`.

    Parameters
    ----------
    tree, filename, namespace, flags
        What to execute and as what.
    interactivity
        Which values to show, as IPython's `ast_node_interactivity` says it.
    """
    silent, shown = _split_by_interactivity(tree.body, interactivity)
    for node in silent:
        module = ast.Module(body=[node], type_ignores=[])
        exec(compile(module, filename, "exec", flags, dont_inherit=True), namespace)
    for node in shown:
        single = ast.Interactive(body=[node])
        exec(compile(single, filename, "single", flags, dont_inherit=True), namespace)


def _split_by_interactivity(
    body: list[ast.stmt], interactivity: str
) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Return the statements to run without, and then those with, showing the values of expressions."""
    if interactivity == "all":
        return [], body
    if interactivity == "last":
        return body[:-1], body[-1:]
    match interactivity, body[-1:]:
        case "none", _:
            return body, []
        case _, [ast.Expr()]:
            return body[:-1], body[-1:]
        case "last_expr_or_assign", (
            [ast.Assign(targets=[ast.Name(id=name)])]
            | [ast.AugAssign(target=ast.Name(id=name)) | ast.AnnAssign(target=ast.Name(id=name))]
        ):
            value = ast.Expr(ast.Name(name, ast.Load()))
            ast.copy_location(value, body[-1])
            return body, [ast.fix_missing_locations(value)]
    return body, []


@dataclass
class Button:
    """The state shared by all cells: where items run, and how things are shown."""

    mapper: Mapper
    replay: Callable[[Output], None] = show_output
    runner: LoopRunner = run_unchanged
    workers: int = 2
    send_at_once: bool = False
    """Send a loop away when it is first reached, before its time is known: its results may be there."""
    overhead: StartOverhead = field(default_factory=StartOverhead)

    def run(
        self,
        source: str,
        namespace: dict[str, Any],
        *,
        filename: str = "<cell>",
        flags: int = 0,
        force: bool = False,
        tree: ast.Module | None = None,
        reports: list[LoopReport] | None = None,
    ) -> CellReport:
        """Run a cell: afterwards `namespace` is as the plain cell would have left it.

        Parameters
        ----------
        source
            The cell after IPython's transformations.
        namespace
            The notebook's globals.
        filename, flags
            What the cell's code is compiled with, so that tracebacks point into it.
        force
            Send loops away however short they are.
        tree
            The parsed source, where the caller has it.
        reports
            A list to be filled while the cell runs, so that it is there after an exception.
        """
        if tree is None:
            tree = ast.parse(source, filename)
        if filename not in linecache.cache:
            lines = source.splitlines(keepends=True)
            linecache.cache[filename] = (len(source), None, lines, filename)
        flags |= _future_flags(tree)
        awaiting = first_await(tree)
        cell = instrument(tree, Namespace(namespace))
        if awaiting is not None or not cell.loops:
            self.runner(tree, filename, namespace, flags)
            return CellReport((), cell.refused)
        setting = LoopSetting(
            namespace,
            filename,
            flags,
            self.mapper,
            self.replay,
            force,
            self.workers,
            self.overhead,
            send_at_once=self.send_at_once,
        )
        hook = LoopHook(cell, setting)
        if reports is not None:
            hook.reports = reports
        namespace[HOOK] = hook
        try:
            self.runner(ast.fix_missing_locations(cell.tree), filename, namespace, flags)
        finally:
            namespace.pop(HOOK, None)
        return CellReport(tuple(hook.reports), cell.refused)


def _future_flags(tree: ast.Module) -> int:
    flags = 0
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                flags |= getattr(__future__, alias.name).compiler_flag
    return flags
