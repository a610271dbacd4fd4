"""The live namespace: what a name stands for right now, and which values are connected."""

from __future__ import annotations

import ast
import builtins
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from cloudbutton_backend.worker.atoms import is_atom
from cloudbutton_backend.worker.watch import is_array


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        return False


UNKNOWN: Final = _Unknown()
"""The answer where nothing is known: a name not bound yet, a value made in the loop."""


class LiveNames(Protocol):
    """Answers for names. The analysis only looks; it never calls user code."""

    def get(self, name: str) -> object:
        """Return the value of `name`, or `UNKNOWN`."""
        ...


class Namespace:
    """A mapping (the notebook's globals) with the builtins behind it."""

    def __init__(self, names: Mapping[str, object], *enclosing: Mapping[str, object]) -> None:
        self._layers = (names, *enclosing, vars(builtins))

    def get(self, name: str) -> object:
        for layer in self._layers:
            if name in layer:
                return layer[name]
        return UNKNOWN


def lookup(node: ast.expr, live: LiveNames, local: frozenset[str]) -> object:
    """Return what a dotted expression stands for, `UNKNOWN` unless it is certain.

    Attributes are followed through modules and classes only: on other objects they may
    run code.
    """
    if isinstance(node, ast.Name):
        return UNKNOWN if node.id in local else live.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = lookup(node.value, live, local)
        if isinstance(owner, (types.ModuleType, type)):
            try:
                return getattr(owner, node.attr)
            except Exception:
                return UNKNOWN
    return UNKNOWN


def root_name(node: ast.AST) -> str | None:
    """Return the name an expression reaches into: `d[k].x.setdefault(i, [])` gives d."""
    while True:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, (ast.Subscript, ast.Attribute, ast.Starred)):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr not in ("setdefault", "get"):
                return None
            node = node.func.value
        else:
            return None


def shares_memory(one: object, other: object) -> bool:
    """Tell whether writing to `one` may show in `other` because of common memory."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    return any(
        numpy.may_share_memory(mine, theirs) for mine in _arrays(one) for theirs in _arrays(other)
    ) and not (_is_frame(one) and _is_frame(other) and _frames_copy_on_write())


def _arrays(value: object) -> list[Any]:
    """Return the arrays that hold the content of an array, a series or a frame."""
    if isinstance(value, sys.modules["numpy"].ndarray):
        return [value]
    if _is_frame(value):
        blocks = getattr(getattr(value, "_mgr", None), "blocks", ())
        held = [getattr(block, "values", None) for block in blocks]
        return [array for array in held if isinstance(array, sys.modules["numpy"].ndarray)]
    return []


def _is_frame(value: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series))


def _frames_copy_on_write() -> bool:
    return int(sys.modules["pandas"].__version__.partition(".")[0]) >= 3


def _slots(kind: type) -> list[types.MemberDescriptorType]:
    return [part for part in vars(kind).values() if isinstance(part, types.MemberDescriptorType)]


def _parts(value: object) -> Iterable[object] | None:
    """Return what a container holds, without calling what a class that extends it has of its own."""
    if isinstance(value, dict):
        return dict.values(value)
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return list(kind.__iter__(value))  # type: ignore[arg-type]
    return None


def is_drawn(value: object) -> bool:
    """Tell whether `value` is a figure of Matplotlib's, or anything that is drawn on one."""
    artists = sys.modules.get("matplotlib.artist")
    return artists is not None and isinstance(value, artists.Artist)


def holds_drawn(start: object, limit: int = 2_000) -> bool:
    """Tell whether a figure, or something on one, is `start` or in the containers it consists of."""
    if "matplotlib.artist" not in sys.modules:
        return False
    stack, seen = [start], set[int]()
    while stack and len(seen) < limit:
        value = stack.pop()
        if is_drawn(value):
            return True
        if id(value) in seen or is_atom(value):
            continue
        seen.add(id(value))
        if (parts := _parts(value)) is not None:
            stack.extend(parts)
        elif is_array(value):
            stack.extend(value.flat if value.dtype.hasobject else ())  # type: ignore[attr-defined]
        elif type(value).__module__.startswith("matplotlib"):
            stack.extend(getattr(value, "__dict__", {}).values())
    return False


def reaches(start: object, wanted: object, limit: int = 20_000) -> bool:
    """Tell whether `wanted` is inside the containers and objects reached from `start`."""
    if not isinstance(wanted, (list, dict, set, bytearray)) and not hasattr(wanted, "__dict__"):
        return False
    stack, seen = [start], set[int]()
    while stack and len(seen) < limit:
        value = stack.pop()
        if value is wanted:
            return True
        if id(value) in seen or is_atom(value) or isinstance(value, type):
            continue
        seen.add(id(value))
        if (parts := _parts(value)) is not None:
            stack.extend(parts)
        elif isinstance(value, types.FunctionType):
            continue
        elif type(value).__module__.partition(".")[0] not in ("pandas", "numpy", "sklearn"):
            stack.extend(getattr(value, "__dict__", {}).values())
            slots = [slot for kind in type(value).__mro__ for slot in _slots(kind)]
            stack.extend(slot.__get__(value) for slot in slots if hasattr(value, slot.__name__))
    return False
