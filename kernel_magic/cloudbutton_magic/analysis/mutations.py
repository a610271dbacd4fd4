"""Finds the objects that a piece of code changes in place, and the names it uses."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from cloudbutton_magic.analysis.namespace import UNKNOWN, root_name
from cloudbutton_magic.analysis.syntax import walk
from cloudbutton_magic.analysis.type_facts import CHANGING_ANY, changing_methods, is_atom, words

How = Literal["method", "item", "attribute", "augmented", "delete"]

INDEXERS: Final = frozenset({"loc", "iloc", "at", "iat", "flat"})
"""Attributes whose subscripts are the object's own: ``df.loc[i, 'x'] = 1`` changes df."""

_PASS_THROUGH_METHODS: Final = words(
    "get setdefault pop values items keys view reshape ravel transpose squeeze swapaxes "
    "popitem popleft diagonal"
)
"""Calls that hand out (part of) what they were given."""
_PASS_THROUGH_FUNCTIONS: Final = words(
    "enumerate zip iter reversed next min max asarray atleast_1d atleast_2d ravel squeeze "
    "reshape transpose tqdm"
)


@dataclass(frozen=True)
class Mutation:
    """One place where the object behind `name` is changed."""

    name: str
    line: int
    how: How
    node: ast.AST
    method: str = ""


def find_mutations(node: ast.AST, value_of: Callable[[ast.expr], object]) -> Iterator[Mutation]:
    """Yield the changes made anywhere in `node`, nested functions included.

    ``value_of`` gives the live value of an expression or `UNKNOWN`; it decides which
    methods of known types change their object.
    """
    for child in walk(node):
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
            name = root_name(child.func.value)
            if name is not None and _method_changes(child, value_of(child.func.value)):
                yield Mutation(name, child.lineno, "method", child, child.func.attr)
            changed = root_name(child.args[0]) if child.func.attr == "at" and child.args else None
            if changed is not None:
                # NumPy's `add.at(a, …)` does not ask whether it may write: a worker would crash.
                yield Mutation(changed, child.lineno, "method", child, "at")
        elif isinstance(child, (ast.Subscript, ast.Attribute)) and not isinstance(
            child.ctx, ast.Load
        ):
            name = root_name(child.value)
            if name is None:
                continue
            if isinstance(child.ctx, ast.Del):
                how: How = "delete"
            elif isinstance(child, ast.Attribute):
                how = "attribute"
            else:
                how = "item"
            yield Mutation(name, child.lineno, how, child)
        elif isinstance(child, ast.AugAssign) and isinstance(child.target, ast.Name):
            yield Mutation(child.target.id, child.lineno, "augmented", child)


def _method_changes(call: ast.Call, receiver: object) -> bool:
    assert isinstance(call.func, ast.Attribute)
    if any(keyword.arg == "inplace" and not _is_false(keyword.value) for keyword in call.keywords):
        return True
    if receiver is UNKNOWN:
        return call.func.attr in CHANGING_ANY
    if is_atom(receiver):
        return False
    known = changing_methods(receiver)
    return call.func.attr in (CHANGING_ANY if known is None else known)


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


class Origins:
    """For each name an iteration binds, the outer names whose objects it may stand for.

    ``row = rows[i]`` gives row the origin rows; ``row = dict(rows[i])`` none. Calls to
    unknown functions are taken to return new objects: the worker watches the outer objects
    themselves, so a wrong guess stops the run instead of changing its result.
    """

    def __init__(self, body: Iterable[ast.stmt], bound: frozenset[str]) -> None:
        self._bound = bound
        self._sources: dict[str, list[ast.expr]] = {}
        for statement in body:
            for node in walk(statement):
                self._collect(node)

    def _collect(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, node.value)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
            if node.value is not None:
                self._bind(node.target, node.value)
        elif isinstance(node, (ast.For, ast.comprehension)):
            self._bind(node.target, node.iter)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._bind(node.optional_vars, node.context_expr)
        elif isinstance(node, ast.Match):
            for case in node.cases:
                for part in walk(case.pattern):
                    name = getattr(part, "name", None)
                    if isinstance(name, str):
                        self._sources.setdefault(name, []).append(node.subject)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            parts: list[ast.expr] = [value] * len(target.elts)
            if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
                parts = value.elts
            for inner, part in zip(target.elts, parts):
                self._bind(inner, part)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, value)
        elif isinstance(target, ast.Name):
            self._sources.setdefault(target.id, []).append(value)

    def of(self, name: str) -> frozenset[str]:
        """Return the outer names (loop targets included) that `name` may stand for."""
        return frozenset(self._of_name(name, set()))

    def _of_name(self, name: str, seen: set[str]) -> set[str]:
        if name not in self._bound:
            return {name}
        if name in seen:
            return set()
        seen.add(name)
        found = {name} if name not in self._sources else set()
        for source in self._sources.get(name, ()):
            found |= self._of(source, seen)
        return found

    def _of(self, node: ast.expr, seen: set[str]) -> set[str]:
        if isinstance(node, ast.Name):
            return self._of_name(node.id, seen)
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.NamedExpr)):
            return self._of(node.value, seen)
        if isinstance(node, ast.IfExp):
            return self._of(node.body, seen) | self._of(node.orelse, seen)
        if isinstance(node, ast.BoolOp):
            return set().union(*(self._of(value, seen) for value in node.values))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in _PASS_THROUGH_METHODS:
                return self._of(node.func.value, seen)
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if name in _PASS_THROUGH_FUNCTIONS:
                return set().union(*(self._of(argument, seen) for argument in node.args), set())
        return set()
