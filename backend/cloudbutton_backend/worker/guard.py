"""Tells whether tasks changed the values that were captured for them."""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from cloudbutton_backend.worker.pickling import dumps

_IMMUTABLE: Final = (
    type(None), bool, int, float, complex, str, bytes, range, type, types.ModuleType,
    types.BuiltinFunctionType,
)  # fmt: skip
_MAX_BYTES: Final = 64 * 1024
"""A value whose pickle is larger is compared by its length alone, to keep the guard cheap."""
_LRU_CACHE: Final = type(functools.lru_cache(lambda: None))

Place = Callable[[], Any]
"""Looks up what a name refers to now."""


_Found = Iterator[tuple[str, Any, Place | None]]
_Namespace = Mapping[str, Any]


class _Walk:
    """Finds the captured values of a function by name, with where they are, through code that it uses."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._names: set[str] = set()
        """Of all code so far: what it may set on a class or a module."""

    def of_function(self, function: Any, prefix: str = "", depth: int = 4) -> _Found:
        function = getattr(function, "__wrapped__", function)
        if isinstance(function, types.MethodType):
            yield prefix + "self", function.__self__, None
            yield from self._of_class(type(function.__self__), prefix, depth)
            function = function.__func__
        if not isinstance(function, types.FunctionType):
            if not isinstance(function, types.BuiltinFunctionType):
                name = prefix + getattr(function, "__name__", type(function).__name__)
                yield name, function, None
                yield from self._behind(name, function, depth)
            return
        if not self._is_new(function):
            return
        names = _names(function.__code__)
        self._names |= names
        yield from self._in(function.__globals__, names, prefix, depth)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            try:
                value = cell.cell_contents
            except ValueError:  # an empty cell
                continue
            yield prefix + name, value, functools.partial(getattr, cell, "cell_contents", None)
            yield from self._behind(prefix + name, value, depth)
        yield from self._in(function.__dict__, self._names, f"{prefix}{function.__name__}.", depth)
        for default in function.__defaults__ or ():
            yield "a default of " + prefix + function.__name__, default, None

    def _in(self, namespace: _Namespace, names: Iterable[str], prefix: str, depth: int) -> _Found:
        """Yield what is under `names`, or will be: code may set one that is not there yet."""
        for name in names:
            value = namespace.get(name)
            yield prefix + name, value, functools.partial(namespace.get, name)
            yield from self._behind(prefix + name, value, depth)

    def _behind(self, name: str, value: Any, depth: int) -> _Found:
        """Yield what is behind a value, as far as it is the user's code."""
        if not depth:
            return
        if isinstance(value, types.FunctionType) or type(value) is _LRU_CACHE:
            yield from self.of_function(value, f"{name}.", depth - 1)
        elif isinstance(value, type):
            yield from self._of_class(value, f"{name}.", depth - 1)
        elif isinstance(value, types.ModuleType):
            if value.__spec__ is None and self._is_new(value):  # rebuilt here: the user's own
                found = [each for each in vars(value) if not each.startswith("__")]
                yield from self._in(vars(value), {*found, *self._names}, f"{name}.", depth - 1)
        elif value is not None:
            yield from self._of_class(type(value), f"{type(value).__name__}.", depth - 1)

    def _of_class(self, cls: type, prefix: str, depth: int) -> _Found:
        """Yield what a class of the user's holds, its methods' values included."""
        module = sys.modules.get(cls.__module__)
        is_users = module is None or module.__spec__ is None or module.__name__ == "__main__"
        if not is_users or issubclass(cls, enum.Enum) or not self._is_new(cls):
            return
        held = vars(cls)
        for name, value in list(held.items()):
            if isinstance(value, types.FunctionType):
                yield from self.of_function(value, f"{prefix}{name}.", depth)
        data = [
            name
            for name, value in held.items()
            if not (name.startswith("__") or hasattr(type(value), "__get__") or type(value) is cls)
        ]
        yield from self._in(held, {*data, *(self._names - held.keys())}, prefix, depth)

    def _is_new(self, value: Any) -> bool:
        is_new = id(value) not in self._seen
        self._seen.add(id(value))
        return is_new


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
        found = list(_Walk().of_function(function))
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
            packed = dumps(value)
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
            # `global n; n += 1`; a module that is loaded only now is no change
            if now is not value and not (value is None and isinstance(now, types.ModuleType)):
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
