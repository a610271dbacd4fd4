"""Finds what a function holds on to: the values behind the names its code uses, by name."""

from __future__ import annotations

import enum
import functools
import inspect
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from cloudbutton_backend.capture.code_names import ImportedName, names_of
from cloudbutton_backend.capture.user_modules import (
    by_value,
    is_installed,
    own_namespace,
    user_module,
)

#: Types that hold nothing else and are never large.
SCALARS: Final = frozenset({int, float, bool, complex, type(None), type(Ellipsis)})
_DESCRIPTORS: Final = (staticmethod, classmethod, property, functools.cached_property)
LruCache: Final[type] = type(functools.lru_cache(lambda: None))
_CODE: Final = (type, ModuleType, MethodType, functools.partial, LruCache)
#: Made by the class machinery, and made again by it in the worker.
_MACHINERY: Final = frozenset({"_abc_impl", "_fields", "_field_defaults", "_field_types"})


class HeldValue(NamedTuple):
    """One captured value under the name that the user knows it by."""

    name: str
    value: Any
    is_code: bool
    """A function, method, partial, class or module: what it holds may be a blob, it never is."""
    is_hidden: bool = False
    """Held by a library's code around the user's (a decorator): not a name the user knows."""


@dataclass
class Closure:
    """What was found; `names` and `modules` grow together until neither does."""

    held: list[HeldValue] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    imports: set[ImportedName] = field(default_factory=set)
    modules: dict[int, ModuleType] = field(default_factory=dict)
    """The user's own modules that the code holds, by id: two may share a name."""


def closure_of(function: Any) -> Closure:
    """Return every value that `function` uses by name, directly or through other code.

    Follows functions, methods, partials, decorators, classes of the notebook and the user's own
    modules; does not look inside data. Costs a few microseconds for a small function.
    """
    walk = _Walk()
    walk.follow("", function)
    walk.run()
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found = Closure()
        self._queue: deque[tuple[str, Any]] = deque()
        self._seen: dict[int, Any] = {}  # the objects too: an id is only good while it lives
        self._named: set[tuple[str, str]] = set()

    def run(self) -> None:
        while self._queue or self._enqueue_module_attributes():
            path, obj = self._queue.popleft()
            self._visit(path, obj)

    def follow(self, path: str, obj: Any) -> None:
        if id(obj) not in self._seen:
            self._seen[id(obj)] = obj
            self._queue.append((path, obj))

    def hold(self, name: str, value: Any, is_hidden: bool = False) -> None:
        """Note that the code holds `value` as `name`, and follow it where it is code."""
        kind = type(value)
        if kind in SCALARS or kind is str:
            self.found.held.append(HeldValue(name, value, False, is_hidden))
            return
        is_code = kind is FunctionType or issubclass(kind, _CODE)
        self.found.held.append(HeldValue(name, value, is_code, is_hidden))
        self.follow(name, value)

    def _visit(self, path: str, obj: Any) -> None:
        # By type, not `isinstance`: proxies and mocks pretend to be what they are not.
        kind = type(obj)
        if kind is FunctionType:
            if by_value(obj):
                self._visit_function(path, obj)
        elif issubclass(kind, MethodType):
            name = f"{path}.__self__" if path else f"self of {obj.__func__.__qualname__}"
            self.hold(name, obj.__self__)
            self.follow(path, obj.__func__)
        elif issubclass(kind, functools.partial):
            self.follow(path, obj.func)
            label = path or _label(obj.func)
            for i, value in enumerate(obj.args):
                self.hold(f"argument {i} of {label}", value)
            for key, value in obj.keywords.items():
                self.hold(f"{key} (argument of {label})", value)
        elif issubclass(kind, LruCache):
            self.follow(path, obj.__wrapped__)
        elif issubclass(kind, ModuleType):
            if user_module(obj):
                self.found.modules[id(obj)] = obj
        elif issubclass(kind, type):
            if by_value(obj):
                self._visit_class(path, obj)
        elif kind.__module__ != "builtins":
            if by_value(kind):
                self.follow(kind.__name__, kind)
            if not path:  # the function itself is an object with `__call__`
                self.hold(kind.__name__, obj)

    def _visit_function(self, path: str, function: FunctionType) -> None:
        names = names_of(function.__code__)
        self.found.names |= names.all
        self.found.imports.update(names.imports)
        namespace = function.__globals__
        module = own_namespace(namespace)
        prefix = f"{module.__name__}." if module is not None else ""
        is_hidden = module is None and is_installed(namespace)
        for name in names.globals:
            if name in namespace:
                self._named.add((prefix, name))
                self.hold(prefix + name, namespace[name], is_hidden)
        if function.__closure__:
            for name, cell in zip(function.__code__.co_freevars, function.__closure__):
                for value in _contents(cell):
                    self.hold(name, value, is_hidden)
        if function.__defaults__ or function.__kwdefaults__:
            label = path or function.__name__
            for name, value in _defaults(function):
                self.hold(f"{name} (default of {label})", value, is_hidden)
        for name, value in function.__dict__.items():
            self.hold(f"{path or function.__name__}.{name}", value)

    def _visit_class(self, path: str, cls: type) -> None:
        label = path or cls.__name__
        is_enum = issubclass(cls, enum.Enum)  # its attributes are its members, and small
        for base in cls.__bases__:
            self.follow(base.__name__, base)
        if type(cls) is not type:
            self.follow(type(cls).__name__, type(cls))
        for name, value in list(vars(cls).items()):
            if name in _MACHINERY:
                continue
            if isinstance(value, _DESCRIPTORS):
                for function in _behind(value):
                    self.follow(f"{label}.{name}", function)
            elif isinstance(value, FunctionType):
                self.follow(f"{label}.{name}", value)
            elif not (name.startswith("__") or is_enum or inspect.isdatadescriptor(value)):
                self.hold(f"{label}.{name}", value)

    def _enqueue_module_attributes(self) -> bool:
        """Hold those attributes of the user's modules that any code found so far names."""
        found = self.found
        for module in list(found.modules.values()):
            prefix = f"{module.__name__}."
            for name in named_attributes(module, found.names):
                if (prefix, name) not in self._named:
                    self._named.add((prefix, name))
                    self.hold(prefix + name, vars(module)[name])
        return bool(self._queue)


def named_attributes(module: ModuleType, names: Iterable[str]) -> list[str]:
    """Return those of `names` that `module` has, in its own order."""
    wanted = names if isinstance(names, (set, frozenset)) else set(names)
    # A copy: another thread may be importing.
    return [name for name in list(vars(module)) if name in wanted or name == "__getattr__"]


def _contents(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not assigned yet, as in a class that names itself
        return ()


def _defaults(function: FunctionType) -> Iterable[tuple[str, Any]]:
    code = function.__code__
    defaults = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    yield from zip(positional[len(positional) - len(defaults) :], defaults)
    yield from (function.__kwdefaults__ or {}).items()


def _behind(descriptor: Any) -> Iterable[Any]:
    if isinstance(descriptor, property):
        return [f for f in (descriptor.fget, descriptor.fset, descriptor.fdel) if f is not None]
    if isinstance(descriptor, functools.cached_property):
        return [descriptor.func]
    return [descriptor.__func__]


def _label(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
