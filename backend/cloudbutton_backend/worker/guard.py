"""Tells whether tasks changed the values that were captured for them."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

import cloudpickle

_IMMUTABLE: Final = (
    type(None), bool, int, float, complex, str, bytes, range, type, types.ModuleType,
    types.BuiltinFunctionType,
)  # fmt: skip
_MAX_BYTES: Final = 64 * 1024
"""A value whose pickle is larger is compared by its length alone, to keep the guard cheap."""


Place = Callable[[], Any]
"""Looks up what a name refers to now."""


def _named_values(
    function: Any, prefix: str = "", depth: int = 3
) -> Iterator[tuple[str, Any, Place | None]]:
    """Yield the captured values of a function by name, with where they are, through functions it uses."""
    function = getattr(function, "__wrapped__", function)
    if isinstance(function, types.MethodType):
        yield prefix + "self", function.__self__, None
        function = function.__func__
    if not isinstance(function, types.FunctionType):
        if not isinstance(function, types.BuiltinFunctionType):
            yield prefix + getattr(function, "__name__", type(function).__name__), function, None
        return
    values: dict[str, tuple[Any, Place]] = {}
    namespace = function.__globals__
    for name in _names(function.__code__):
        if name in namespace:
            values[name] = namespace[name], functools.partial(namespace.get, name)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            values[name] = (
                cell.cell_contents,
                functools.partial(getattr, cell, "cell_contents", None),
            )
        except ValueError:  # an empty cell
            continue
    for name, (value, place) in values.items():
        yield prefix + name, value, place
        if isinstance(value, types.FunctionType) and depth and value is not function:
            yield from _named_values(value, f"{prefix}{name}.", depth - 1)
    for default in function.__defaults__ or ():
        yield "a default of " + prefix + function.__name__, default, None


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _frozen(value: Any) -> bool:
    """Whether `value` cannot change: a read-only array mapped from a blob."""
    flags = getattr(value, "flags", None)
    return flags is not None and getattr(flags, "writeable", True) is False


class Guard:
    """Compares the captured values of one function with what they were."""

    def __init__(self, function: Any) -> None:
        found = list(_named_values(function))
        self._bindings = [(name, value, place) for name, value, place in found if place is not None]
        self._values = [
            (name, value)
            for name, value, _ in found
            if not isinstance(value, (*_IMMUTABLE, types.FunctionType)) and not _frozen(value)
        ]
        self._large: set[str] = set()
        self._prints = {name: self._print(name, value) for name, value in self._values}

    def _print(self, name: str, value: Any) -> Any:
        if name in self._large:
            return _length(value)
        try:
            packed = cloudpickle.dumps(value, 5)
        except Exception:  # cannot be compared; it travelled by some other way
            self._large.add(name)
            return _length(value)
        if len(packed) > _MAX_BYTES:
            self._large.add(name)
            return _length(value)
        return packed

    def changed(self) -> list[str]:
        """Return the names that refer to something else, or to a changed value, since the last call."""
        names = []
        for at, (name, value, place) in enumerate(self._bindings):
            now = place()
            if now is not value:  # `global n; n += 1`
                self._bindings[at] = (name, now, place)
                names.append(name)
        for name, value in self._values:
            now = self._print(name, value)
            if now != self._prints[name]:
                self._prints[name] = now
                names.append(name)
        return list(dict.fromkeys(names))


def _length(value: Any) -> int:
    try:
        return len(value)
    except Exception:
        return -1
