"""Put a hook into the loops of a cell and leave everything else as it stands; plan that for a dry run.

``for x in xs: …`` becomes ``for x in __cloudbutton__(0, xs): …``: the runner gives the loop
the items that are to run here, does the others elsewhere, and the `else` of the loop, the
exception of an item and the values of names need no care. ``[f(x) for x in xs]`` becomes
``__cloudbutton__(1, xs)``, which returns the list.

In a function that the cell calls once, the hook also gets ``lambda: (a, b)``, whose cells are
the variables that the loop mentions, and ``lambda it: [f(x) for x in it]``. The definition
stays as it is: the call ``f(…)`` becomes ``__cloudbutton__.recompiled(0, f)(…)``.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

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
from cloudbutton_magic.analysis.namespace import UNKNOWN, LiveNames
from cloudbutton_magic.analysis.syntax import uses, walk
from cloudbutton_magic.rewriting import loop_functions as code
from cloudbutton_magic.rewriting.called_functions import recompiled_tree
from cloudbutton_magic.rewriting.loop_functions import plain_lambda

HOOK: Final = "__cloudbutton__"


@dataclass(frozen=True)
class RewrittenCell:
    """A cell with its loops handed over."""

    tree: ast.Module
    loops: tuple[Loop, ...]
    refused: tuple[NotIndependent, ...]
    """Loops that the text alone shows to be dependent."""
    recompiled: tuple[ast.FunctionDef, ...] = ()
    """Functions called once, with the hook in their loops."""


class _MaskedNamespace:
    """A namespace without the names that the cell itself binds, which may differ by then."""

    def __init__(self, live: LiveNames, hidden: frozenset[str]) -> None:
        self._live, self._hidden = live, hidden

    def get(self, name: str) -> object:
        return UNKNOWN if name in self._hidden else self._live.get(name)


def instrument(tree: ast.Module, live: LiveNames | None = None) -> RewrittenCell:
    """Return `tree` with the hook in its loops; `tree` itself is not changed."""
    before_run = view_before_run(tree, live or Namespace({}))
    loops: list[Loop] = []
    refused: list[NotIndependent] = []

    def choose(candidates: list[Loop], function: CalledOnce | None = None) -> dict[int, ast.AST]:
        """Return what to put in place of the nodes of the loops that may be sent."""
        hooks: dict[int, ast.AST] = {}
        for loop in candidates:
            view = view_of_loop(loop, before_run)
            verdict = (function.find_objection(loop, before_run) if function else None) or analyse(
                loop, view
            )
            if isinstance(verdict, NotIndependent):
                refused.append(verdict)
                hooks |= choose(inner_loops(loop), function)
            else:
                loops.append(loop)
                hooks[id(loop.node)] = _hook(len(loops) - 1, loop)
        return hooks

    replacements = choose(find_loops(tree))
    recompiled: list[ast.FunctionDef] = []
    for function in called_once(tree):
        inside = choose(function.loops(), function)
        if inside:
            replacements[id(function.call)] = _recompile_call(len(recompiled), function.call)
            recompiled.append(
                recompiled_tree(function.function, _replaced(function.function.body, inside))
            )
    return RewrittenCell(
        _replaced(tree, replacements), tuple(loops), tuple(refused), tuple(recompiled)
    )


def view_before_run(tree: ast.Module, live: LiveNames) -> LiveNames:
    """Return `live` as it can be trusted before the cell has run."""
    return _MaskedNamespace(live, frozenset(uses(tree.body).binds))


def view_of_loop(loop: Loop, before_run: LiveNames) -> LiveNames:
    """Return the early view of a loop, which may stand in a function with names of its own."""
    return before_run if loop.names is None else _MaskedNamespace(before_run, loop.names)


def _replaced(node: Any, replacements: dict[int, ast.AST]) -> Any:
    """Return a copy of `node` with calls and iterables handed over, sharing what stays."""
    if isinstance(node, list):
        return [_replaced(part, replacements) for part in node]
    if not isinstance(node, ast.AST):
        return node
    if replacements.keys().isdisjoint(map(id, walk(node))):
        return node  # as it stands: nothing below is handed over
    replacement = replacements.get(id(node))
    if isinstance(replacement, ast.Call) and not isinstance(node, (ast.For, ast.Call)):
        iterable = node.generators[0].iter  # type: ignore[attr-defined]
        return _with_iterable(replacement, _replaced(iterable, replacements))
    fields = {name: _replaced(value, replacements) for name, value in ast.iter_fields(node)}
    if isinstance(node, ast.For) and isinstance(replacement, ast.Call):
        fields["iter"] = _with_iterable(replacement, fields["iter"])
    elif isinstance(node, ast.Call) and replacement is not None:
        fields["func"] = replacement
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
        arguments.append(_variables_closure(loop.names))
        if loop.kind != "for":
            arguments.append(plain_lambda(loop))
    call = ast.Call(func=ast.Name(id=HOOK, ctx=ast.Load()), args=arguments, keywords=[])
    for child in (call, call.func, call.args[0]):
        ast.copy_location(child, at)
    return call


def _variables_closure(names: frozenset[str]) -> ast.expr:
    """Return ``lambda: (a, b)``, which is never called: its closure has the variables' cells."""
    parts: list[ast.expr] = [ast.Name(id=name, ctx=ast.Load()) for name in sorted(names)]
    closure = ast.parse("lambda: None", mode="eval").body
    assert isinstance(closure, ast.Lambda)
    closure.body = ast.Tuple(elts=parts, ctx=ast.Load())
    return closure


def _recompile_call(number: int, call: ast.Call) -> ast.expr:
    """Return what to call in place of the function."""
    find = ast.Attribute(value=ast.Name(id=HOOK, ctx=ast.Load()), attr="recompiled", ctx=ast.Load())
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
    live = view_before_run(tree, Namespace(namespace))
    cell = instrument(tree, Namespace(namespace))
    plans = (LoopPlan(loop, analyse(loop, view_of_loop(loop, live))) for loop in cell.loops)
    return CellPlan(tuple(plans), cell.refused)


def _readable(loop: Loop, verdict: Parallel) -> str:
    """Return the loop as the user might have written it with `cloud.map`."""
    trees = code.build_functions(loop, verdict)
    names = {"body": "work", "apply": "put"}
    text = ast.unparse(ast.fix_missing_locations(ast.Module([trees.body], [])))
    text = text.replace("(__cb_item, __cb_op, __cb_deleted, __cb_snapshot, __cb_check)", "(item)")
    if loop.kind == "for":
        text += "\n\n\n" + ast.unparse(ast.fix_missing_locations(ast.Module([trees.apply], [])))
        use = f"for ops in cloud.map(work, {ast.unparse(loop.iter)}).results():\n    put(ops)"
    else:
        use = f"cloud.map(work, {ast.unparse(loop.iter)})  # in place of the {loop.kind}"
    for old, new in names.items():
        text = text.replace(code.PREFIX + old, new)
    return f"# {verdict.explain()}\n{text.replace(code.PREFIX, '')}\n\n\n{use}\n"
