"""The names a function's code reads, nested code included, and the values behind them."""

from __future__ import annotations

import dis
import enum
import functools
import inspect
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from cloudbutton_backend.capture.user_modules import (
    by_value,
    is_installed,
    own_namespace,
    user_module,
)
from cloudbutton_backend.worker.atoms import PLAIN


class ImportedName(NamedTuple):
    """One import statement, as written."""

    name: str
    level: int = 0
    """How many dots stand before the name."""
    members: tuple[str, ...] = ()
    """What ``from name import …`` takes from it: attributes, or modules inside."""


@dataclass(frozen=True)
class CodeNames:
    """The names one code object uses."""

    globals: tuple[str, ...]
    """Looked up in the global namespace, in order of first use."""
    all: frozenset[str]
    """Every name in it, attributes included: what it may read of a module it holds."""
    imports: tuple[ImportedName, ...]
    """What it imports when it runs."""


def _opcodes(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


# A class body inside a function reads globals with LOAD_NAME (3.12: LOAD_FROM_DICT_OR_GLOBALS).
_GLOBAL: Final = _opcodes(
    "LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"
)
_IMPORT: Final = dis.opmap["IMPORT_NAME"]
_CONSTANT: Final = dis.opmap["LOAD_CONST"]
_SMALL_INT: Final = dis.opmap.get("LOAD_SMALL_INT", -1)  # since 3.14
_EXTENDED: Final = dis.opmap["EXTENDED_ARG"]
#: Since 3.11 the lowest bit of LOAD_GLOBAL's argument says "and push a NULL".
_SHIFTED: Final = _opcodes("LOAD_GLOBAL") if sys.version_info >= (3, 11) else frozenset()

_known: WeakKeyDictionary[CodeType, CodeNames] = WeakKeyDictionary()


def names_of(code: CodeType) -> CodeNames:
    """Return the names `code` uses; found once for each code object."""
    names = _known.get(code)
    if names is None:
        names = _known[code] = _read(code)
    return names


def _read(code: CodeType) -> CodeNames:
    # Reads the bytes rather than `dis.get_instructions`, which takes ten times as long and
    # would be most of the cost of capturing a fresh cell.
    global_names: dict[str, None] = {}
    imports: dict[ImportedName, None] = {}
    table = code.co_names
    if table:
        raw = code.co_code
        extended = 0
        before: Any = None  # the latest constants on the stack: before an import, level and members
        last: Any = None
        for op, arg in zip(raw[::2], raw[1::2]):
            if op == _EXTENDED:
                extended = (extended | arg) << 8
                continue
            if op in _GLOBAL:
                index = extended | arg
                global_names[table[index >> 1 if op in _SHIFTED else index]] = None
            elif op == _CONSTANT:
                before, last = last, code.co_consts[extended | arg]
            elif op == _SMALL_INT:
                before, last = last, arg
            elif op == _IMPORT:
                imports[ImportedName(table[extended | arg], before, last or ())] = None
            extended = 0
    names = set(table)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            nested = names_of(constant)
            global_names.update(dict.fromkeys(nested.globals))
            imports.update(dict.fromkeys(nested.imports))
            names |= nested.all
    return CodeNames(tuple(global_names), frozenset(names), tuple(imports))


#: Types that hold nothing else and are never large.
SCALARS: Final = PLAIN - {str, bytes} | {type(Ellipsis)}
_DESCRIPTORS: Final = (staticmethod, classmethod, property, functools.cached_property)
LruCache: Final[type] = type(functools.lru_cache(lambda: None))
SUBCLASSES: Final = "__subclasses__"
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
    """The closure found so far; `names` and `modules` grow together until neither does."""

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
        while self._queue or self._enqueue_module_attributes() or self._enqueue_subclasses():
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

    def _enqueue_subclasses(self) -> bool:
        """Follow what the classes found so far tell of, if any code asks them."""
        if SUBCLASSES in self.found.names:
            for cls in [each for each in self._seen.values() if issubclass(type(each), type)]:
                for subclass in own_subclasses(cls):
                    self.follow(subclass.__name__, subclass)
        return bool(self._queue)

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


def own_subclasses(cls: type) -> list[type]:
    """Return the subclasses of a class of the user's that are the user's, too."""
    subclasses: list[type] = type.__subclasses__(cls) if by_value(cls) else []
    return [each for each in subclasses if by_value(each)]


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
