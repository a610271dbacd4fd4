"""Hands the loops of a cell to the runner, leaving everything else as it stands.

``for x in xs: …`` becomes ``for x in __cloudbutton__(0, xs): …``: the runner gives the loop
the items that are to run here, does the others elsewhere, and the `else` of the loop, the
exception of an item and the values of names need no care. ``[f(x) for x in xs]`` becomes
``__cloudbutton__(1, xs)``, which returns the list.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import Any

from ..analysis import Loop, Namespace, Refused, analyse, find_loops, inner_loops
from ..analysis.live import UNKNOWN, Live
from ..analysis.names import uses
from ..analysis.trees import walk

HOOK = "__cloudbutton__"


@dataclass(frozen=True)
class Cell:
    """A cell with its loops handed over."""

    tree: ast.Module
    loops: tuple[Loop, ...]
    refused: tuple[Refused, ...]
    """Loops that the text alone shows to be dependent."""


class _Masked:
    """A namespace without the names that the cell itself binds, which may differ by then."""

    def __init__(self, live: Live, hidden: frozenset[str]) -> None:
        self._live, self._hidden = live, hidden

    def get(self, name: str) -> object:
        return UNKNOWN if name in self._hidden else self._live.get(name)


def instrument(tree: ast.Module, live: Live | None = None) -> Cell:
    """Return `tree` with the hook in its loops; `tree` itself is not changed."""
    early = early_view(tree, live or Namespace({}))
    loops: list[Loop] = []
    refused: list[Refused] = []

    def choose(candidates: list[Loop]) -> None:
        for loop in candidates:
            verdict = analyse(loop, early)
            if isinstance(verdict, Refused):
                refused.append(verdict)
                choose(inner_loops(loop))
            else:
                loops.append(loop)

    choose(find_loops(tree))
    numbers = {id(loop.node): number for number, loop in enumerate(loops)}
    return Cell(_with_hooks(tree, numbers), tuple(loops), tuple(refused))


def early_view(tree: ast.Module, live: Live) -> Live:
    """Return `live` as it can be trusted before the cell has run."""
    return _Masked(live, frozenset(uses(tree.body).binds))


def _with_hooks(node: Any, numbers: dict[int, int]) -> Any:
    if isinstance(node, list):
        return [_with_hooks(part, numbers) for part in node]
    if not isinstance(node, ast.AST):
        return node
    if numbers.keys().isdisjoint(map(id, walk(node))):
        return node  # as it stands: nothing below is handed over
    if id(node) in numbers and not isinstance(node, ast.For):
        iterable = node.generators[0].iter  # type: ignore[attr-defined]
        return _hook(numbers[id(node)], _with_hooks(iterable, numbers), node)
    fields = {name: _with_hooks(value, numbers) for name, value in ast.iter_fields(node)}
    if isinstance(node, ast.For) and id(node) in numbers:
        fields["iter"] = _hook(numbers[id(node)], fields["iter"], node.iter)
    return ast.copy_location(type(node)(**fields), node)


def _hook(number: int, iterable: ast.expr, at: ast.AST) -> ast.expr:
    call = ast.Call(
        func=ast.Name(id=HOOK, ctx=ast.Load()),
        args=[ast.Constant(value=number), copy.copy(iterable)],
        keywords=[],
    )
    for child in (call, call.func, call.args[0]):
        ast.copy_location(child, at)
    return call
