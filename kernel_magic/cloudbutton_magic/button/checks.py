"""Runtime checks on the live objects of a loop that looks independent.

The text shows what a loop reads and changes by name. Here the objects themselves are
followed: through containers, attributes, closures, and the globals of functions that the
text does not name.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from cloudbutton_backend.capture.closure import names_of
from cloudbutton_backend.worker.watch import Graph, by_value, is_atom
from cloudbutton_magic.analysis import UNKNOWN, Parallel
from cloudbutton_magic.analysis.namespace import is_drawn


def find_objection(
    verdict: Parallel,
    function: types.FunctionType,
    items: list[Any],
    namespace: dict[str, Any],
    part_of: Callable[[Any, str], Any],
    outer: Graph,
    inner: Graph,
) -> str:
    """Return why these items cannot be sent, nothing as a rule.

    Parameters
    ----------
    verdict, function
        The loop and its body.
    items
        All that are to be sent.
    namespace
        The notebook's globals, as they are now.
    part_of
        Gives what a target's name will be for an item.
    outer, inner
        The objects reached from the body, and from the items.
    """
    for found in (
        _repeated_index(verdict, items, part_of),
        _compared_items(outer, inner),
        _hidden_reads(outer, inner, function, namespace, verdict.shared | verdict.local),
        _shared_changes(verdict, outer, inner, namespace),
    ):
        for reason in found:
            return reason
    return ""


def holds_sets(known: Graph, *, depth: int) -> bool:
    """Tell whether sets whose order differs between processes lie inside other objects.

    Sets that a name stands for are seen in the text; `depth` is how far those lie.
    """
    return any(
        len(value) > 1
        and (path is None or len(path) > depth)
        and not all(isinstance(part, (int, float)) for part in value)
        for value, path in known.sets
    )


def reached_figure(outer: Graph, inner: Graph) -> str:
    """Return the name of a figure, or of something on one, that is reached; empty as a rule."""
    for known in (outer, inner):
        for value, path in known.nodes:
            if is_drawn(value):
                return known.name_of(path) or type(value).__name__
    return ""


def _repeated_index(
    verdict: Parallel, items: list[Any], part_of: Callable[[Any, str], Any]
) -> Iterator[str]:
    """Check for two items that name one place: ``a[i] = f(a[i])`` for the same i."""
    for names in verdict.unique:
        spelled = ", ".join(names)
        values = [tuple(part_of(item, name) for name in names) for item in items]
        parts = [part for value in values for part in value]
        if any(part is UNKNOWN for part in parts):
            yield f"the values of `{spelled}` are not plain to see"
        if any(hasattr(part, "__index__") and part < 0 for part in parts):
            yield f"`{spelled}` has negative values, which may name an element twice"
        if any(isinstance(part, tuple) for part in parts):
            yield f"`{spelled}` has tuples for values, which may name parts of each other"
        try:
            if len(set(values)) < len(values):
                yield f"`{spelled}` has the same value twice"
        except TypeError:
            yield f"the values of `{spelled}` cannot be compared"


def _compared_items(outer: Graph, inner: Graph) -> Iterator[str]:
    """Check for objects that are items and captured too, and are compared by identity.

    Items travel one by one, apart from what the body captured: ``node in chosen`` fails.
    """
    for value, path in inner.nodes:
        if any(kind in ("type", "member") for kind, _ in path or ()):
            continue  # belongs to a class, which is one and the same in the worker
        if id(value) in outer.ids and _compared_by_identity(value):
            yield (
                f"a {type(value).__name__} is an item and used by another name too, and such "
                "objects are compared by identity"
            )


def _compared_by_identity(value: Any) -> bool:
    if isinstance(value, types.FunctionType):
        return by_value(value)
    equal: Any = type(value).__eq__
    return equal is object.__eq__ and not isinstance(value, type)


def _hidden_reads(
    outer: Graph,
    inner: Graph,
    body: types.FunctionType,
    namespace: dict[str, Any],
    written: frozenset[str],
) -> Iterator[str]:
    """Check for functions out of a dict or an object that read what the loop writes."""
    for value, _ in (*outer.nodes, *inner.nodes):
        if not isinstance(value, types.FunctionType) or value is body:
            continue
        if value.__globals__ is namespace:
            for name in names_of(value.__code__).globals:  # not its attributes
                if name in written:
                    yield f"`{value.__name__}` reads `{name}`, which the loop writes"


def _shared_changes(
    verdict: Parallel, outer: Graph, inner: Graph, namespace: dict[str, Any]
) -> Iterator[str]:
    """Check for objects that the kernel's part changes and the body reads by another name."""
    for name in sorted(verdict.shared - verdict.own_slots):
        if name not in namespace or is_atom(namespace[name]):
            continue
        value = namespace[name]
        changed = Graph({"": value}, watch=False)
        if name not in verdict.deep:
            changed.nodes = changed.nodes[:1]
        elif not changed.complete:
            yield f"`{name}` holds too many objects to tell whether others use them"
        for known in (outer, inner):
            for part, _ in changed.nodes:
                if id(part) in known.ids and _can_change(part):
                    yield f"`{name}` is (or holds) an object that the loop reads by another name"
            if _shares_memory(changed.arrays, known.arrays):
                yield f"`{name}` shares memory with an array that the loop reads"


def _can_change(value: Any) -> bool:
    return not isinstance(value, (tuple, frozenset, types.FunctionType, type))


def _shares_memory(ours: list[Any], theirs: list[Any]) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None or len(ours) * len(theirs) > 10_000:
        return bool(ours and theirs and numpy)
    return any(numpy.may_share_memory(one, other) for one in ours for other in theirs)
