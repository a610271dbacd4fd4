"""Evaluates the items of a `map` header in the notebook's namespace."""

from __future__ import annotations

import ast
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from cloudbutton_magic.cells.header import MapHeader

COUNT_AT_MOST: Final = 100_000
"""Up to here a header with several clauses over sized iterables is counted before it starts,
so that the view knows the total; past it, items are produced while the job runs."""
COUNT_FOR: Final = 0.1
"""Seconds."""

_OUTER: Final = "__cloudbutton_outer__"
_PREFIX: Final = "(None for "


def enumerate_items(
    header: MapHeader,
    namespace: dict[str, Any],
    *,
    filename: str = "<header>",
    flags: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterable[Any]:
    """Return the items of a header: a list or a range, or an iterator if the length is unknown.

    An item is the value of the one target, or the tuple of all targets in their order. Errors of
    the user's expressions surface as they are, with a frame on the header's own line.
    """
    if header.maps_a_function:
        tree = ast.parse(header.source, mode="eval")
        _shift(tree, header.column)
        return _snapshot(_evaluate(tree.body, namespace, {}, filename, flags))
    tree = ast.parse(f"{_PREFIX}{header.source}\n)", mode="eval")
    _shift(tree, header.column - len(_PREFIX))
    generator = tree.body
    assert isinstance(generator, ast.GeneratorExp)
    first = generator.generators[0]
    outer = _evaluate(first.iter, namespace, {}, filename, flags)
    is_simple = len(generator.generators) == 1 and not first.ifs
    if is_simple and isinstance(first.target, ast.Name):
        return _snapshot(outer)
    first.iter = ast.copy_location(ast.Name(_OUTER, ast.Load()), first.iter)
    generator.elt = _item(header.targets, generator)
    items: Iterator[Any] = _evaluate(generator, namespace, {_OUTER: outer}, filename, flags)
    if not hasattr(type(outer), "__len__"):
        return items
    return list(items) if is_simple else _counted(items, clock)


def _item(targets: tuple[str, ...], origin: ast.expr) -> ast.expr:
    names: list[ast.expr] = [ast.Name(name, ast.Load()) for name in targets]
    element = names[0] if len(names) == 1 else ast.Tuple(names, ast.Load())
    return ast.fix_missing_locations(ast.copy_location(element, origin))


def _snapshot(iterable: Iterable[Any]) -> Iterable[Any]:
    """A snapshot where the length is known: the notebook may change the list meanwhile."""
    if isinstance(iterable, range):
        return iterable
    if hasattr(type(iterable), "__len__"):
        return list(iterable)
    return iter(iterable)


def _counted(items: Iterator[Any], clock: Callable[[], float]) -> Iterable[Any]:
    """Produce the items now if there are few and they come quickly, else as the job runs."""
    known: list[Any] = []
    until = clock() + COUNT_FOR
    for item in items:
        known.append(item)
        if len(known) >= COUNT_AT_MOST or clock() > until:
            return itertools.chain(known, items)
    return known


def _evaluate(
    expression: ast.expr,
    namespace: dict[str, Any],
    extra: dict[str, Any],
    filename: str,
    flags: int,
) -> Any:
    tree = ast.fix_missing_locations(ast.Expression(expression))
    return eval(compile(tree, filename, "eval", flags, True), namespace, extra)


def _shift(tree: ast.AST, columns: int) -> None:
    """Move every node to where the user wrote it on the header line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.expr, ast.keyword, ast.arg)):
            node.col_offset += columns
            if node.end_col_offset is not None:
                node.end_col_offset += columns
