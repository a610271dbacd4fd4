"""Tells whether tasks changed the values that were captured for them."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Final

import cloudpickle

_IMMUTABLE: Final = (
    type(None), bool, int, float, complex, str, bytes, range, type, types.ModuleType,
    types.BuiltinFunctionType,
)  # fmt: skip
_MAX_BYTES: Final = 64 * 1024
"""A value whose pickle is larger is compared by its length alone, to keep the guard cheap."""


def _named_values(function: Any, prefix: str = "", depth: int = 3) -> Iterator[tuple[str, Any]]:
    """Yield the captured values of a function by name, following functions that it uses."""
    function = getattr(function, "__wrapped__", function)
    if isinstance(function, types.MethodType):
        yield prefix + "self", function.__self__
        function = function.__func__
    if not isinstance(function, types.FunctionType):
        if not isinstance(function, types.BuiltinFunctionType):
            yield prefix + getattr(function, "__name__", type(function).__name__), function
        return
    values: dict[str, Any] = {}
    for name in _names(function.__code__):
        if name in function.__globals__:
            values[name] = function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # an empty cell
            continue
    for name, value in values.items():
        if isinstance(value, types.FunctionType):
            if depth and value is not function:
                yield from _named_values(value, f"{prefix}{name}.", depth - 1)
        elif not isinstance(value, _IMMUTABLE):
            yield prefix + name, value
    for default in function.__defaults__ or ():
        if not isinstance(default, _IMMUTABLE):
            yield prefix + "a default of " + function.__name__, default


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
        self._values = [
            (name, value) for name, value in _named_values(function) if not _frozen(value)
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
        """Return the names whose values changed since the last call."""
        names = []
        for name, value in self._values:
            now = self._print(name, value)
            if now != self._prints[name]:
                self._prints[name] = now
                names.append(name)
        return names


def _length(value: Any) -> int:
    try:
        return len(value)
    except Exception:
        return -1
