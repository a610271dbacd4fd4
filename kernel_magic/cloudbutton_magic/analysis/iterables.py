"""Judges what a loop walks over: walking it ahead of the body must change nothing."""

from __future__ import annotations

import ast
import types

from . import knowledge
from .calls import CallJudge
from .functions import is_own
from .knowledge import words
from .live import UNKNOWN, Live, lookup, root
from .loops import Loop
from .names import COMPREHENSIONS
from .trees import walk
from .verdict import Reason, Refusal, refuse

_PASSING = words("enumerate zip reversed tqdm track items keys values iterrows itertuples")


def walked_names(node: ast.expr) -> set[str]:
    """Return the names whose objects themselves are walked: d in `enumerate(d.items())`.

    `list(d)` walks d before the loop starts and is not among them.
    """
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        name = root(node)
        return {name} if name else set()
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
        if name in _PASSING:
            found: set[str] = set()
            for argument in node.args:
                found |= walked_names(argument)
            if isinstance(node.func, ast.Attribute) and not node.args:
                found |= walked_names(node.func.value)
            return found
    return set()


def check_iterable(
    loop: Loop, live: Live, value: object, shared: frozenset[str], judge: CallJudge
) -> None:
    """Refuse iterables that the body changes, and iterators that other code may share."""
    walked = walked_names(loop.iter)
    changed = walked & shared
    if changed:
        name = min(changed)
        raise refuse(Reason.ITERABLE_CHANGES, loop.iter, name)
    objects = {id(live.get(n)) for n in shared if live.get(n) is not UNKNOWN}
    if (
        value is not UNKNOWN
        and not knowledge.is_atom(value)
        and (id(value) in objects or any(id(live.get(n)) in objects for n in walked))
    ):
        raise refuse(Reason.ITERABLE_CHANGES, loop.iter, ast.unparse(loop.iter))
    if value is not UNKNOWN and any(
        name in knowledge.CONTAINERS for name in knowledge.type_names(value)
    ):
        return
    _check_expression(loop.iter, loop, live, judge)


def _check_expression(node: ast.expr, loop: Loop, live: Live, judge: CallJudge) -> None:
    """Refuse an expression that gives an iterator with a life of its own."""
    if isinstance(node, (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BinOp)):
        return
    if isinstance(node, COMPREHENSIONS):
        if isinstance(node, ast.GeneratorExp):
            _check_generator(node, loop, live, judge)
        return
    if isinstance(node, ast.Starred):
        _check_expression(node.value, loop, live, judge)
        return
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        value = lookup(node, live, frozenset())
        if value is UNKNOWN or not knowledge.is_iterator(value):
            return
        if loop.in_with and (knowledge.is_file(value) or type(value).__module__ == "_csv"):
            return  # the `with` around the loop closes it: nobody sees how far it was read
        raise refuse(Reason.ITERABLE, node, detail=f"the iterator `{ast.unparse(node)}`")
    if isinstance(node, ast.Call):
        _check_call(node, loop, live, judge)


def _check_call(node: ast.Call, loop: Loop, live: Live, judge: CallJudge) -> None:
    name = str(getattr(node.func, "attr", None) or getattr(node.func, "id", ""))
    value = lookup(node.func, live, frozenset())
    if isinstance(value, types.FunctionType) and is_own(value):
        # Seen already if the value is a list; here it is a generator, or not yet known.
        try:
            judge._follow(node, value, name)
        except Refusal:
            raise refuse(
                Reason.ITERABLE, node, detail=f"the generator `{name}`, which keeps state,"
            ) from None
        return
    if name in ("map", "filter") and node.args:
        judge.check([node])
        for argument in node.args[1:]:
            _check_expression(argument, loop, live, judge)
        return
    if isinstance(node.func, ast.Attribute):
        owner = live.get(root(node.func.value) or "")
        if owner is not UNKNOWN and not isinstance(owner, types.ModuleType):
            if knowledge.is_iterator(owner) and not loop.in_with:
                raise refuse(Reason.ITERABLE, node, detail=f"the iterator `{ast.unparse(node)}`")
            if knowledge.is_random(owner):
                return  # drawn before the loop starts, in the order of the plain cell
    if name in knowledge.WRAPPERS:
        for argument in node.args:
            _check_expression(argument, loop, live, judge)
        return
    module = (getattr(value, "__module__", None) or "").partition(".")[0]
    if module in ("itertools", "numpy", "pandas", "sklearn", "tqdm", "pathlib", "os", "glob", "re"):
        for argument in node.args:
            _check_expression(argument, loop, live, judge)


def _check_generator(node: ast.GeneratorExp, loop: Loop, live: Live, judge: CallJudge) -> None:
    """Allow a generator expression whose element has no effect and prints nothing."""
    judge.check([node])
    if any(isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print" for n in walk(node)):
        raise refuse(Reason.ITERABLE, node, detail="a generator that prints")
    for generator in node.generators:
        _check_expression(generator.iter, loop, live, judge)
