"""Finds where a set is put in order: the order differs between processes.

String hashes are salted per process, so ``list({'a', 'b'})`` in a worker and in the kernel
need not agree. Where only membership, size or sorted order is used there is no difference.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterable
from typing import Final

from cloudbutton_magic.analysis.namespace import UNKNOWN
from cloudbutton_magic.analysis.syntax import COMPREHENSIONS, walk
from cloudbutton_magic.analysis.type_facts import words
from cloudbutton_magic.analysis.verdict import Reason, refuse

_SET_METHODS: Final = words("union intersection difference symmetric_difference")
_BLIND: Final = words("len sorted set frozenset any all bool isinstance")
"""Calls that give the same answer whatever the order."""
_ORDERING: Final = words(
    "list tuple iter next enumerate zip map filter reversed print str repr array asarray sum "
    "DataFrame Series join extend concat fromiter OrderedDict dict fromkeys deque format "
    "choice sample product combinations permutations islice chain reduce"
)


def hash_seed_is_fixed() -> bool:
    """Tell whether every process started from here hashes strings alike."""
    return os.environ.get("PYTHONHASHSEED", "random") not in ("", "random")


def check_sets(
    nodes: Iterable[ast.AST],
    value_of: Callable[[ast.expr], object],
    *,
    anywhere: bool = False,
) -> None:
    """Refuse when the code visibly turns a set into something ordered.

    With `anywhere` each part of another object is taken for a set: ``row["tags"]``.
    """
    nodes = list(nodes)

    def part_of(node: ast.expr) -> object:
        found = value_of(node)
        if anywhere and found is UNKNOWN and isinstance(node, (ast.Subscript, ast.Attribute)):
            return frozenset()
        return found

    names = _set_names(nodes, part_of)

    def is_set(node: ast.AST) -> bool:
        return _is_set(node, names, part_of)

    for top in nodes:
        blind = _blind_comprehensions(top)
        for node in walk(top):
            place = _ordering_place(node, is_set, blind, part_of)
            if place is not None:
                raise refuse(Reason.SET_ORDER, node, detail=f"`{ast.unparse(place)}`")


def _ordering_place(
    node: ast.AST,
    is_set: Callable[[ast.AST], bool],
    blind: set[int],
    value_of: Callable[[ast.expr], object],
) -> ast.AST | None:
    if isinstance(node, ast.For) and is_set(node.iter):
        return node.iter
    if isinstance(node, COMPREHENSIONS) and id(node) not in blind:
        for generator in node.generators:
            if is_set(generator.iter):
                return generator.iter
    if isinstance(node, (ast.FormattedValue, ast.Starred)) and is_set(node.value):
        return node.value
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            if node.func.attr == "pop" and not node.args and is_set(node.func.value):
                return node
            name = node.func.attr
        else:
            name = getattr(node.func, "id", "")
        if name == "update" and isinstance(node.func, ast.Attribute):
            # Into a set the order is lost again, into a dict or Counter it stays.
            into_dict = isinstance(value_of(node.func.value), dict)
            for argument in node.args if into_dict else ():
                if is_set(argument):
                    return argument
        keyed = name in ("min", "max", "sorted") and any(k.arg == "key" for k in node.keywords)
        if name in _ORDERING or keyed:
            for argument in node.args:
                if is_set(argument):
                    return argument
    return None


def _blind_comprehensions(top: ast.AST) -> set[int]:
    """Return the comprehensions whose own order is lost at once: sorted(x for x in s)."""
    found = {id(node) for node in walk(top) if isinstance(node, ast.SetComp)}
    for node in walk(top):
        if not isinstance(node, ast.Call) or any(k.arg == "key" for k in node.keywords):
            continue
        if getattr(node.func, "id", "") in _BLIND | {"min", "max"}:
            found |= {id(argument) for argument in node.args}
    return found


def _is_set(node: ast.AST, names: set[str], value_of: Callable[[ast.expr], object]) -> bool:
    if isinstance(node, (ast.Set, ast.SetComp)):
        return True
    if isinstance(node, ast.Name) and node.id in names:
        return True
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        return isinstance(value_of(node), (set, frozenset))
    if isinstance(node, ast.BinOp) and isinstance(
        node.op, (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)
    ):
        return _is_set(node.left, names, value_of) or _is_set(node.right, names, value_of)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id in ("set", "frozenset")
        if isinstance(node.func, ast.Attribute) and node.func.attr in (*_SET_METHODS, "copy"):
            return _is_set(node.func.value, names, value_of)
    if isinstance(node, ast.IfExp):
        return _is_set(node.body, names, value_of) or _is_set(node.orelse, names, value_of)
    return False


def _set_names(nodes: list[ast.AST], value_of: Callable[[ast.expr], object]) -> set[str]:
    names: set[str] = set()
    while True:
        before = len(names)
        for top in nodes:
            for node in walk(top):
                if isinstance(node, ast.Assign) and _is_set(node.value, names, value_of):
                    names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
                elif (
                    isinstance(node, (ast.AnnAssign, ast.NamedExpr))
                    and node.value is not None
                    and isinstance(node.target, ast.Name)
                    and _is_set(node.value, names, value_of)
                ):
                    names.add(node.target.id)
        if len(names) == before:
            return names
