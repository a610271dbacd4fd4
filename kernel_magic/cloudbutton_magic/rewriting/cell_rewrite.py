"""Put a hook into the loops of a cell and leave everything else as it stands; plan that for a dry run.

``for x in xs: …`` becomes ``for x in __cloudbutton__(0, xs): …``: the runner gives the loop
the items that are to run here, does the others elsewhere, and the `else` of the loop, the
exception of an item and the values of names need no care. ``[f(x) for x in xs]`` becomes
``__cloudbutton__(1, xs)``, which returns the list.

In a function that the cell calls once, the hook also gets ``lambda: (a, b)``, whose cells are
the variables that the loop mentions, and ``lambda it: [f(x) for x in it]``. The definition
stays as it is: the call ``f(…)`` becomes ``__cloudbutton__.called(0, f)(…)``.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudbutton_magic.analysis import (
    Loop,
    Namespace,
    NotIndependent,
    Parallel,
    Verdict,
    analyse,
    called_once,
    find_loops,
    inner_loops,
)
from cloudbutton_magic.analysis.called_once import CalledOnce
from cloudbutton_magic.analysis.namespace import UNKNOWN, Live
from cloudbutton_magic.analysis.syntax import uses, walk
from cloudbutton_magic.rewriting import loop_functions as code
from cloudbutton_magic.rewriting.called_functions import twin_tree
from cloudbutton_magic.rewriting.loop_functions import plain_lambda

HOOK = "__cloudbutton__"


@dataclass(frozen=True)
class RewrittenCell:
    """A cell with its loops handed over."""

    tree: ast.Module
    loops: tuple[Loop, ...]
    refused: tuple[NotIndependent, ...]
    """Loops that the text alone shows to be dependent."""
    twins: tuple[ast.FunctionDef, ...] = ()
    """Functions called once, with the hook in their loops."""


class _Masked:
    """A namespace without the names that the cell itself binds, which may differ by then."""

    def __init__(self, live: Live, hidden: frozenset[str]) -> None:
        self._live, self._hidden = live, hidden

    def get(self, name: str) -> object:
        return UNKNOWN if name in self._hidden else self._live.get(name)


def instrument(tree: ast.Module, live: Live | None = None) -> RewrittenCell:
    """Return `tree` with the hook in its loops; `tree` itself is not changed."""
    early = early_view(tree, live or Namespace({}))
    loops: list[Loop] = []
    refused: list[NotIndependent] = []

    def choose(candidates: list[Loop], function: CalledOnce | None = None) -> dict[int, ast.AST]:
        """Return what to put in place of the nodes of the loops that may be sent."""
        hooks: dict[int, ast.AST] = {}
        for loop in candidates:
            view = seen_by(loop, early)
            verdict = (function.objection(loop, early) if function else None) or analyse(loop, view)
            if isinstance(verdict, NotIndependent):
                refused.append(verdict)
                hooks |= choose(inner_loops(loop), function)
            else:
                loops.append(loop)
                hooks[id(loop.node)] = _hook(len(loops) - 1, loop)
        return hooks

    changes = choose(find_loops(tree))
    twins: list[ast.FunctionDef] = []
    for function in called_once(tree):
        inside = choose(function.loops(), function)
        if inside:
            changes[id(function.call)] = _twin_call(len(twins), function.call)
            twins.append(twin_tree(function.function, _changed(function.function.body, inside)))
    return RewrittenCell(_changed(tree, changes), tuple(loops), tuple(refused), tuple(twins))


def early_view(tree: ast.Module, live: Live) -> Live:
    """Return `live` as it can be trusted before the cell has run."""
    return _Masked(live, frozenset(uses(tree.body).binds))


def seen_by(loop: Loop, early: Live) -> Live:
    """Return the early view of a loop, which may stand in a function with names of its own."""
    return early if loop.names is None else _Masked(early, loop.names)


def _changed(node: Any, changes: dict[int, ast.AST]) -> Any:
    """Return a copy of `node` with calls and iterables handed over, sharing what stays."""
    if isinstance(node, list):
        return [_changed(part, changes) for part in node]
    if not isinstance(node, ast.AST):
        return node
    if changes.keys().isdisjoint(map(id, walk(node))):
        return node  # as it stands: nothing below is handed over
    change = changes.get(id(node))
    if isinstance(change, ast.Call) and not isinstance(node, (ast.For, ast.Call)):
        iterable = node.generators[0].iter  # type: ignore[attr-defined]
        return _with_iterable(change, _changed(iterable, changes))
    fields = {name: _changed(value, changes) for name, value in ast.iter_fields(node)}
    if isinstance(node, ast.For) and isinstance(change, ast.Call):
        fields["iter"] = _with_iterable(change, fields["iter"])
    elif isinstance(node, ast.Call) and change is not None:
        fields["func"] = change
    return ast.copy_location(type(node)(**fields), node)


def _with_iterable(hook: ast.Call, iterable: ast.expr) -> ast.Call:
    number, *others = hook.args
    made = ast.Call(func=hook.func, args=[number, copy.copy(iterable), *others], keywords=[])
    return ast.copy_location(made, hook)


def _hook(number: int, loop: Loop) -> ast.Call:
    """Return the call of the hook for a loop, but for the iterable."""
    at = loop.iter if loop.kind == "for" else loop.node
    arguments: list[ast.expr] = [ast.Constant(value=number)]
    if loop.names is not None:
        arguments.append(_window(loop.names))
        if loop.kind != "for":
            arguments.append(plain_lambda(loop))
    call = ast.Call(func=ast.Name(id=HOOK, ctx=ast.Load()), args=arguments, keywords=[])
    for child in (call, call.func, call.args[0]):
        ast.copy_location(child, at)
    return call


def _window(names: frozenset[str]) -> ast.expr:
    """Return ``lambda: (a, b)``, which is never called: its closure has the variables' cells."""
    parts: list[ast.expr] = [ast.Name(id=name, ctx=ast.Load()) for name in sorted(names)]
    window = ast.parse("lambda: None", mode="eval").body
    assert isinstance(window, ast.Lambda)
    window.body = ast.Tuple(elts=parts, ctx=ast.Load())
    return window


def _twin_call(number: int, call: ast.Call) -> ast.expr:
    """Return what to call in place of the function."""
    find = ast.Attribute(
        value=ast.Name(id=HOOK, ctx=ast.Load()), attr="called", ctx=ast.Load()
    )  # fmt: skip
    made = ast.Call(func=find, args=[ast.Constant(value=number), call.func], keywords=[])
    for child in (made, find, find.value, made.args[0]):
        ast.copy_location(child, call.func)
    return made


@dataclass(frozen=True)
class LoopPlan:
    """One loop, as far as it can be judged before the cell runs."""

    loop: Loop
    verdict: Verdict

    def source(self) -> str:
        """Return readable Python for what happens to the loop; a comment where nothing does."""
        if isinstance(self.verdict, NotIndependent):
            return f"# {self.verdict}\n"
        return _readable(self.loop, self.verdict)


@dataclass(frozen=True)
class CellPlan:
    """A cell that was not run."""

    loops: tuple[LoopPlan, ...]
    refused: tuple[NotIndependent, ...]
    """Loops whose text alone shows that they must run here."""

    def source(self) -> str:
        """Return the plan of the whole cell as readable Python."""
        parts = [plan.source() for plan in self.loops]
        parts += [f"# {refused}\n" for refused in self.refused]
        return "\n\n".join(parts) or "# No loop: all of the cell runs here.\n"


def plan(tree: ast.Module, namespace: Mapping[str, object]) -> CellPlan:
    """Judge the loops of a cell before it runs.

    What the cell itself binds is not known yet, so the verdict when a loop is reached may
    still be a refusal, or come from a value that the text does not show.
    """
    live = early_view(tree, Namespace(namespace))
    cell = instrument(tree, Namespace(namespace))
    plans = (LoopPlan(loop, analyse(loop, seen_by(loop, live))) for loop in cell.loops)
    return CellPlan(tuple(plans), cell.refused)


def _readable(loop: Loop, verdict: Parallel) -> str:
    """Return the loop as the user might have written it with `cloud.map`."""
    trees = code.build(loop, verdict)
    names = {"body": "work", "apply": "put"}
    text = ast.unparse(ast.fix_missing_locations(ast.Module([trees.body], [])))
    text = text.replace("(__cb_item, __cb_op, __cb_gone, __cb_keep, __cb_check)", "(item)")
    if loop.kind == "for":
        text += "\n\n\n" + ast.unparse(ast.fix_missing_locations(ast.Module([trees.apply], [])))
        use = f"for ops in cloud.map(work, {ast.unparse(loop.iter)}).results():\n    put(ops)"
    else:
        use = f"cloud.map(work, {ast.unparse(loop.iter)})  # in place of the {loop.kind}"
    for old, new in names.items():
        text = text.replace(code.PREFIX + old, new)
    return f"# {verdict.explain()}\n{text.replace(code.PREFIX, '')}\n\n\n{use}\n"
