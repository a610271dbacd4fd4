"""Finds the functions that a cell defines and calls once: loops in them may be sent as well."""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from cloudbutton_magic.analysis.loops import Loop, find_loops
from cloudbutton_magic.analysis.namespace import UNKNOWN, LiveNames
from cloudbutton_magic.analysis.syntax import COMPREHENSIONS, FUNCTIONS, NameUses, uses, walk
from cloudbutton_magic.analysis.type_facts import words
from cloudbutton_magic.analysis.verdict import NotIndependent, Reason

_SEES_FRAMES: Final = words(
    "locals vars dir eval exec globals super __class__ breakpoint _getframe currentframe stack trace"
)
"""Names by which a function can see that its frame is not laid out as it was written."""

_USE_UP: Final = words("sum min max any all sorted list dict set tuple frozenset")
_HAVE_KEYS: Final = words("min max sorted")

VariableHolder = (
    ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef | ast.GeneratorExp
)


@dataclass(frozen=True, eq=False)
class CalledOnce:
    """A function that the cell defines, and the one call of it."""

    function: ast.FunctionDef
    call: ast.Call
    local: frozenset[str]
    """The function's own variables."""

    def loops(self) -> list[Loop]:
        """Return its loops, each with the variables of the function that it mentions."""
        return [replace(loop, names=self._mentioned(loop)) for loop in find_loops(self.function)]

    def _mentioned(self, loop: Loop) -> frozenset[str]:
        found = uses(loop.consumer or loop.node)
        return self.local & (found.reads.keys() | found.binds.keys() | found.deletes.keys())

    def find_objection(self, loop: Loop, live: LiveNames) -> NotIndependent | None:
        """Return why a loop must run here although its text may be independent.

        Functions and generators made beside the loop hold the variables of the function, and
        would see those that the loop binds change with each iteration.
        """
        found = uses(loop.node)
        bound = found.binds.keys() | found.deletes.keys()
        if loop.kind != "for" and bound:
            return NotIndependent(
                Reason.UNSUPPORTED,
                loop.line,
                min(bound),
                f"binds `{min(bound)}` in a comprehension inside a function",
            )
        again = id(loop.node) in self._repeated
        inside = set(map(id, walk(loop.node)))
        for node, consumer in self._holders:
            seen = bound & uses(node).reads.keys()
            if not seen or id(node) in inside or self._is_released(node, consumer, live):
                continue
            if again or not _is_after(node, loop.node):
                return NotIndependent(
                    Reason.UNSUPPORTED,
                    loop.line,
                    min(seen),
                    f"binds `{min(seen)}`, which line {node.lineno} keeps for later",
                )
        return None

    @functools.cached_property
    def _repeated(self) -> frozenset[int]:
        """The nodes inside loops, by id."""
        loops = [n for n in walk(self.function) if isinstance(n, (ast.For, ast.While))]
        return frozenset(id(node) for loop in loops for node in walk(loop)[1:])

    @functools.cached_property
    def _holders(self) -> list[tuple[VariableHolder, ast.Call | None]]:
        """What may keep variables for later, each with the call it is an argument of."""
        nodes = walk(self.function)
        consumers = {
            id(argument): node
            for node in nodes
            if isinstance(node, ast.Call)
            for argument in (*node.args, *(keyword.value for keyword in node.keywords))
        }
        return [
            (node, consumers.get(id(node)))
            for node in nodes[1:]
            if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.GeneratorExp))
        ]

    def _is_released(self, node: VariableHolder, call: ast.Call | None, live: LiveNames) -> bool:
        """Tell whether the call that `node` is made for has done with it when it returns."""
        if call is None or not isinstance(call.func, ast.Name):
            return False
        name = call.func.id
        if name in self.local or live.get(name) is not getattr(builtins, name, UNKNOWN):
            return False
        if isinstance(node, ast.GeneratorExp):
            return name in _USE_UP and call.args == [node]
        return isinstance(node, ast.Lambda) and name in _HAVE_KEYS and node not in call.args


def called_once(tree: ast.Module) -> list[CalledOnce]:
    """Return the plain functions of a cell that nothing but one direct call refers to.

    The call stands where it runs once: not in a loop, a comprehension or another function.
    """
    mentioned: dict[str, int] = {}
    for node in walk(tree):
        if isinstance(node, ast.Name):
            mentioned[node.id] = mentioned.get(node.id, 0) + 1
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            mentioned[node.name] = mentioned.get(node.name, 0) + 1
    functions = {
        statement.name: statement
        for statement in tree.body
        # Two mentions: the definition and the call.
        if isinstance(statement, ast.FunctionDef) and mentioned[statement.name] == 2
    }
    found = []
    for call in _calls_run_once(tree):
        function = functions.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if function is None or call.lineno < function.lineno:
            continue
        names = uses(function.body)
        if not names.declared and _is_plain(function):
            found.append(CalledOnce(function, call, _variables(function, names)))
    return found


def _calls_run_once(node: ast.AST) -> Iterator[ast.Call]:
    if isinstance(node, (*FUNCTIONS, *COMPREHENSIONS, ast.ClassDef, ast.While)):
        return
    if isinstance(node, ast.For):
        yield from _calls_run_once(node.iter)
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _calls_run_once(child)


def _is_after(node: ast.expr | ast.stmt, other: ast.expr | ast.stmt) -> bool:
    end = other.end_lineno or other.lineno, other.end_col_offset or 0
    return (node.lineno, node.col_offset) >= end


def _is_plain(function: ast.FunctionDef) -> bool:
    if function.decorator_list or getattr(function, "type_params", None):
        return False
    for node in walk(function):
        if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)):
            return False
        if isinstance(node, ast.Name):
            seen = node.id
        elif isinstance(node, ast.Attribute):
            seen = node.attr
        else:
            # df.query("a > @limit") looks for `limit` in the frame that calls it.
            if isinstance(node, ast.Constant) and "@" in str(node.value):
                return False
            continue
        if seen in _SEES_FRAMES:
            return False
    return True


def _variables(function: ast.FunctionDef, found: NameUses) -> frozenset[str]:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named += [a for a in (arguments.vararg, arguments.kwarg) if a]
    return frozenset({a.arg for a in named} | found.binds.keys() | found.deletes.keys())
