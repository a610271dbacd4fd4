"""Containers that each item reads and writes at its own index only: ``a[i] = f(a[i])``.

Such a read does not depend on other iterations, if no two items have the same index; that
is checked when the items are known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from cloudbutton_magic.analysis.call_rules import AnalysisContext
from cloudbutton_magic.analysis.loops import Loop
from cloudbutton_magic.analysis.mutations import changes
from cloudbutton_magic.analysis.scopes import uses
from cloudbutton_magic.analysis.syntax_trees import walk


def own_slots(
    loop: Loop, around: AnalysisContext, names: Iterable[str], targets: frozenset[str]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return, for those of `names` that are such containers, the index and its targets."""
    free = targets - uses(loop.body).binds.keys()
    slots = {}
    for name in names:
        index = _index_of_all_writes(loop, around, name)
        if index is None:
            continue
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        if not all(isinstance(part, (ast.Name, ast.Constant)) for part in parts):
            continue  # a[i:i + 2] and a[i % 3] meet other items' places
        used = {part.id for part in parts if isinstance(part, ast.Name)}
        if used and used <= free and _is_read_first(loop, around, name, ast.dump(index)):
            slots[name] = ast.dump(index), tuple(sorted(used))
    return slots


def _index_of_all_writes(loop: Loop, around: AnalysisContext, name: str) -> ast.expr | None:
    """Return the index of all writes ``name[i] = …`` if it is the same one."""
    index: ast.expr | None = None
    for statement in loop.body:
        for change in changes(statement, around.value_of):
            if change.name != name:
                continue
            node = change.node
            if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
                return None
            if index is not None and ast.dump(index) != ast.dump(node.slice):
                return None
            index = node.slice
    return index


def _is_read_first(loop: Loop, around: AnalysisContext, name: str, index: str) -> bool:
    """Tell whether the slot is read, and never after this iteration has written it."""
    written = read = False
    for statement in loop.body:
        reads = any(_reads_slot(node, name, index) for node in walk(statement))
        writes = any(change.name == name for change in changes(statement, around.value_of))
        simple = isinstance(statement, (ast.Assign, ast.AugAssign))
        if reads and (written or (writes and not simple)):
            return False
        read |= reads
        written |= writes
    return read


def _reads_slot(node: ast.AST, name: str, index: str) -> bool:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
        and ast.dump(node.slice) == index
    )
