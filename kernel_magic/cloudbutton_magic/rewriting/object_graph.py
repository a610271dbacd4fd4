"""The objects reached from some values: named by a path, and watched for changes.

A worker has copies of what the kernel holds. Three questions need the same walk: did an
iteration change an object that the others share; did it change its item; is (part of) its
result an object that the kernel has already, so that in the plain cell it would be that very
object. This module travels to the workers by value: standard library only.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import functools
import operator
import pathlib
import re
import sys
import types
import zlib
from collections.abc import Callable, Iterator
from typing import Any

Path = tuple[tuple[str, Any], ...]

ATOMS = (
    type(None), bool, int, float, complex, str, bytes, range, slice, types.EllipsisType,
    types.ModuleType, types.BuiltinFunctionType, decimal.Decimal, fractions.Fraction,
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, pathlib.PurePath,
    re.Pattern, re.Match, enum.Enum, types.NotImplementedType,
)  # fmt: skip
_FAST = frozenset({type(None), bool, int, float, complex, str, bytes})

LIMIT = 50_000
"""Objects followed; what lies beyond is not watched, and results are compared more slowly."""
WIDE = 20_000
"""Containers with more entries are watched by their length and their ends."""
SMALL = 256 * 1024
"""Arrays up to this size are compared; larger ones are made read-only in the worker."""


def is_atom(value: Any) -> bool:
    """Tell whether `value` can never change and nothing inside it can."""
    kind = type(value)
    if kind in _FAST:
        return True
    if isinstance(value, ATOMS):
        return True
    if isinstance(value, type):
        return not by_value(value)
    if kind.__module__ == "logging":
        return True  # one per process and name; what it keeps is bookkeeping
    if kind.__module__ == "numpy" and not hasattr(value, "__array_finalize__"):
        return True
    return hasattr(value, "dtype") and kind.__module__ == "numpy" and not is_array(value)


def by_value(thing: Any) -> bool:
    """Tell whether a function or class travels as code: it is not importable elsewhere."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return True
    found: Any = module
    for part in getattr(thing, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is not thing


def is_array(value: Any) -> bool:
    """Tell whether `value` is a NumPy array, without importing NumPy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_frame(value: Any) -> bool:
    """Tell whether `value` is a pandas frame or series, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series))


def all_atoms(values: Any) -> bool:
    """Tell whether a list or tuple holds only numbers, strings and the like."""
    return _FAST.issuperset(map(type, values))


def function_globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the globals that a function's code names, nested functions included."""
    codes, seen = [function.__code__], set()
    while codes:
        code = codes.pop()
        codes.extend(c for c in code.co_consts if isinstance(c, types.CodeType))
        for name in code.co_names:
            if name not in seen and name in function.__globals__:
                seen.add(name)
                yield name, function.__globals__[name]


def children(value: Any) -> Iterator[tuple[tuple[str, Any] | None, Any]]:
    """Yield (step, part) for each object directly inside `value`.

    The step is None where there is no way to name the part, as for the members of a set.
    """
    if isinstance(value, dict):
        for key, part in value.items():
            if is_atom(key) or isinstance(key, tuple):
                yield ("key", key), part
            else:
                yield None, part
                yield None, key
        if isinstance(value, collections.defaultdict):
            yield ("attr", "default_factory"), value.default_factory
    elif isinstance(value, (list, tuple, collections.deque)):
        if not all_atoms(value):
            for index, part in enumerate(value):
                yield ("index", index), part
    elif isinstance(value, (set, frozenset)):
        if not all_atoms(value):
            for part in value:
                yield None, part
    elif isinstance(value, types.FunctionType):
        if by_value(value):
            for name, part in function_globals(value):
                yield ("global", name), part
            for index, cell in enumerate(value.__closure__ or ()):
                try:
                    yield ("cell", index), cell.cell_contents
                except ValueError:
                    continue
            for index, part in enumerate(value.__defaults__ or ()):
                yield ("default", index), part
            for name, part in (value.__kwdefaults__ or {}).items():
                yield ("kwdefault", name), part
            for name, part in vars(value).items():
                yield ("attr", name), part
        return
    elif isinstance(value, types.MethodType):
        yield ("attr", "__self__"), value.__self__
        yield ("attr", "__func__"), value.__func__
        return
    elif isinstance(value, functools.partial):
        yield ("attr", "func"), value.func
        yield ("attr", "args"), value.args
        yield ("attr", "keywords"), value.keywords
    elif isinstance(value, type):
        if by_value(value):
            for name, part in vars(value).items():
                if not (name.startswith("__") and name.endswith("__")) or name == "__init__":
                    yield ("member", name), getattr(part, "__func__", part)
            for index, base in enumerate(value.__bases__):
                yield ("base", index), base
        return
    elif is_array(value):
        if value.dtype.hasobject:
            for index, part in enumerate(value.flat):
                yield ("flat", index), part
        return
    elif is_frame(value):
        return
    if not isinstance(value, type):
        yield from _attributes(value)
        if by_value(type(value)):
            yield ("type", None), type(value)


def _attributes(value: Any) -> Iterator[tuple[tuple[str, Any], Any]]:
    state = getattr(value, "__dict__", None)
    if isinstance(state, dict):
        for name, part in state.items():
            yield ("state", name), part
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield ("attr", name), getattr(value, name)


def follow(root: Any, path: Path) -> Any:
    """Return the object that `path` names, starting at `root`."""
    for kind, key in path:
        if kind in ("index", "key"):
            root = root[key]
        elif kind == "attr":
            root = getattr(root, key)
        elif kind == "state":
            root = root.__dict__[key]
        elif kind == "member":
            root = getattr(vars(root)[key], "__func__", vars(root)[key])
        elif kind == "global":
            root = root.__globals__[key]
        elif kind == "cell":
            root = root.__closure__[key].cell_contents
        elif kind == "default":
            root = root.__defaults__[key]
        elif kind == "kwdefault":
            root = root.__kwdefaults__[key]
        elif kind == "base":
            root = root.__bases__[key]
        elif kind == "type":
            root = type(root)
        elif kind == "flat":
            root = root.flat[key]
        else:
            raise LookupError(kind)
    return root


class Graph:
    """The mutable objects reached from named values, with what they looked like.

    Parameters
    ----------
    roots
        The values to start from.
    freeze
        Make large arrays read-only instead of comparing them.
    watch
        Note what the objects look like, for `changed`.
    """

    def __init__(self, roots: dict[str, Any], *, freeze: bool = False, watch: bool = True) -> None:
        self.ids: dict[int, Path | None] = {}
        self.nodes: list[tuple[Any, Path | None, Callable[[], bool] | None]] = []
        self.arrays: list[Any] = []
        self.complete = True
        self._now: list[Any] = []
        self._then: list[Any] = []
        self._owners: list[tuple[Any, Path | None]] = []
        stack: list[tuple[Any, Path | None]] = [
            (value, (("root", name),)) for name, value in reversed(roots.items())
        ]
        while stack:
            value, path = stack.pop()
            if type(value) in _FAST or is_atom(value) or id(value) in self.ids:
                continue
            if len(self.ids) >= LIMIT:
                self.complete = False
                break
            self.ids[id(value)] = path
            if is_array(value):
                self.arrays.append(value)
            self.nodes.append((value, path, self._watched(value, path, freeze) if watch else None))
            parts = [
                (part, (*path, step) if step is not None and path is not None else None)
                for step, part in children(value)
            ]
            stack.extend(reversed(parts))

    def _watched(self, value: Any, path: Path | None, freeze: bool) -> Callable[[], bool] | None:
        """Note what `value` looks like: here if it is simple, else by the function returned."""
        if type(value) in _SIMPLE and len(value) <= WIDE:
            self._note(value, value, path)
            return None
        if _has_only_state(value):
            self._note(value, value.__dict__, path)
            return None
        return _watch(value, freeze)

    def _note(self, value: Any, content: Any, path: Path | None) -> None:
        self._now.append(content)
        self._then.append(content.copy())
        self._owners.append((value, path))

    def changed(self) -> list[tuple[Any, Path | None]]:
        """Return the objects that are no longer as they were."""
        found = [(v, p) for v, p, same in self.nodes if same is not None and not same()]
        try:
            # Comparing containers whose parts are the very same objects is a matter of
            # nanoseconds per part.
            if all(map(operator.eq, self._now, self._then)):
                return found
        except Exception:  # a part was replaced by one that cannot be compared, an array say
            pass
        notes = zip(self._now, self._then, self._owners)
        return found + [owner for now, then, owner in notes if not _same_parts(now, then)]


_SIMPLE = frozenset({list, dict, set, collections.defaultdict, bytearray})


def _has_only_state(value: Any) -> bool:
    """Tell whether all that can change in `value` is in its plain `__dict__`."""
    kind = type(value)
    return (
        type(getattr(value, "__dict__", None)) is dict
        and kind.__flags__ & (1 << 9) != 0  # made by a class statement
        and all(
            base.__flags__ & (1 << 9) and not base.__dict__.get("__slots__")
            for base in kind.__mro__[:-1]
        )
        and not is_frame(value)
        and random_state(value) is None
    )


def _same_parts(now: Any, then: Any) -> bool:
    if len(now) != len(then):
        return False
    if isinstance(now, dict):
        return all(map(operator.is_, now.values(), then.values())) and all(
            map(operator.is_, now, then)
        )
    if isinstance(now, list):
        return all(map(operator.is_, now, then))
    return bool(now == then)


def _watch(value: Any, freeze: bool) -> Callable[[], bool] | None:
    """Return a function that tells whether `value` is as it is now, None if it cannot change."""
    if isinstance(value, (list, collections.deque)):
        return _watch_sequence(value)
    if isinstance(value, dict):
        return _both(_watch_dict(value), _watch_state(value))
    if isinstance(value, set):
        before = set(value)
        return lambda: value == before and len(value) == len(before)
    if isinstance(value, bytearray):
        content = bytes(value)
        return lambda: value == content
    if is_array(value):
        return _watch_array(value, freeze)
    if is_frame(value):
        return _watch_frame(value, freeze)
    if isinstance(value, (tuple, frozenset, types.FunctionType, types.MethodType)):
        return None
    state = random_state(value)
    if state is not None:
        return lambda: repr(random_state(value)) == repr(state)
    if isinstance(value, type):
        members = {k: v for k, v in vars(value).items() if not k.startswith("__")}
        return lambda: all(vars(value).get(k) is v for k, v in members.items())
    return _watch_state(value)


def _both(one: Callable[[], bool], other: Callable[[], bool] | None) -> Callable[[], bool]:
    return one if other is None else lambda: one() and other()


def _watch_sequence(value: Any) -> Callable[[], bool]:
    length = len(value)
    if length > WIDE:
        ends = [value[i] for i in (*range(500), *range(-500, 0))]
        return lambda: (
            len(value) == length
            and all(map(operator.is_, ends, [value[i] for i in (*range(500), *range(-500, 0))]))
        )
    before = list(value)
    return lambda: len(value) == length and all(map(operator.is_, value, before))


def _watch_dict(value: dict[Any, Any]) -> Callable[[], bool]:
    length = len(value)
    if length > WIDE:
        return lambda: len(value) == length
    keys, values = list(value), list(value.values())
    return lambda: (
        len(value) == length
        and all(map(operator.is_, value.values(), values))
        and all(map(operator.is_, value, keys))
    )


def _watch_state(value: Any) -> Callable[[], bool] | None:
    before = dict(_attributes(value))
    if not before and not hasattr(value, "__dict__"):
        return None

    def same() -> bool:
        now = dict(_attributes(value))
        return now.keys() == before.keys() and all(now[k] is v for k, v in before.items())

    return same


def _watch_array(value: Any, freeze: bool) -> Callable[[], bool] | None:
    if not value.flags.writeable:
        return None
    if value.dtype.hasobject:
        return _watch_sequence(list(value.flat)) if value.size <= WIDE else None
    if value.nbytes > SMALL and freeze:
        value.flags.writeable = False  # a write now raises, and the kernel takes over
        return None
    print_of = _fingerprint(value)
    return lambda: _fingerprint(value) == print_of


def _fingerprint(value: Any) -> tuple[Any, ...]:
    data = value if value.flags.c_contiguous else value.copy()
    return value.shape, str(value.dtype), zlib.crc32(data.reshape(-1).view("u1").data)


def _watch_frame(value: Any, freeze: bool) -> Callable[[], bool] | None:
    def look() -> list[Any]:
        axes = [id(axis) for axis in value.axes]
        blocks = getattr(getattr(value, "_mgr", None), "blocks", ())
        return [axes, [id(block.values) for block in blocks], value.shape]

    before = look()
    keep = [list(value.axes), [b.values for b in getattr(value._mgr, "blocks", ())]]
    watches = [
        watch
        for array in keep[1]
        if is_array(array) and not array.dtype.hasobject
        for watch in [_watch_array(array, freeze)]
        if watch is not None
    ]

    def same() -> bool:
        return bool(keep) and look() == before and all(watch() for watch in watches)

    return same


def random_state(value: Any) -> Any:
    """Return the state of a random generator, None for other objects."""
    numpy = sys.modules.get("numpy")
    random = sys.modules.get("random")
    if random is not None and isinstance(value, random.Random):
        return value.getstate()
    if numpy is not None and "numpy.random" in sys.modules:
        if isinstance(value, numpy.random.Generator):
            return value.bit_generator.state
        if isinstance(value, numpy.random.RandomState):
            return value.get_state()
    return None
