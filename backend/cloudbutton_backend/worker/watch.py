"""The objects reached from some values: named by a path, and watched for changes.

A worker has copies of what the kernel holds. One walk answers four questions: did tasks change a
captured value (`Guard`); did an iteration of the button change an object that the others share; did it
change its item; is (part of) its result an object that the kernel has already, so that in the plain
cell it would be that very object. The button's code travels by value and refers to this module by name.
"""

from __future__ import annotations

import collections
import collections.abc
import enum
import functools
import itertools
import math
import operator
import sys
import types
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from cloudbutton_backend.worker.atoms import PLAIN, is_atomic

Step = tuple[str, Any]
Path = tuple[Step, ...]
Large = Literal["compare", "freeze", "ignore"]

LIMIT: Final = 50_000
"""Objects followed; what lies beyond is not watched, and results are compared more slowly."""
WIDE: Final = 20_000
"""Containers with more entries are watched by their length and their ends."""
SMALL: Final = 256 * 1024
"""Bytes up to which arrays are compared in any case."""
_END: Final = 500
"""Entries of its two ends."""
_PRINT: Final = 64 * 1024
"""Bytes up to which objects that do not show what they hold are compared by their pickles."""
_PRINTS: Final = 1 << 20
"""Bytes of such pickles in all."""
_GUARDED: Final = 4_000
_GUARDED_EACH: Final = 2_000
_GUARDED_ENTRIES: Final = 20_000
"""Objects that a guard follows, in all and out of one of them, and entries that it compares.

It looks after each batch, so every 50 ms or so.
"""
_WATCHABLE: Final = 1_000
"""Objects inside another one at most, so that a guard's own limits leave room for others."""
_MISSING: Final = object()
_HEAP: Final = 1 << 9
"""Flag of types that are made while a program runs, as by a class statement."""


# -- what is inside what


def is_atom(value: Any) -> bool:
    """Return whether `value` can never change and nothing inside it can."""
    kind = type(value)
    if kind in PLAIN:
        return True
    if kind in _MAY_HOLD:
        return not _holds(value)
    if isinstance(value, type):
        return not by_value(value)
    # A logger is one per process and name; what it keeps is bookkeeping.
    return is_atomic(kind) or kind.__module__ == "logging"


_MAY_HOLD: Final = (types.ModuleType, types.BuiltinFunctionType)
"""Atoms as a rule, with exceptions."""


def _holds(value: Any) -> bool:
    """Return whether a module is the user's own, rebuilt here, or a method is that of an object."""
    if isinstance(value, types.ModuleType):
        return getattr(value, "__spec__", None) is None and value.__name__ != "__main__"
    return not isinstance(value.__self__, (type(None), types.ModuleType, type))


def by_value(thing: Any) -> bool:
    """Return whether a function or class travels as code: it is not importable elsewhere."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return True
    found: Any = module
    for part in getattr(thing, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is not thing


def is_array(value: Any) -> bool:
    """Return whether `value` is a NumPy array, without importing NumPy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_frame(value: Any) -> bool:
    """Return whether `value` is a pandas frame or series, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series))


def all_plain(values: Any) -> bool:
    """Return whether a container holds only numbers, strings and the like."""
    return PLAIN.issuperset(map(type, values))


def children(value: Any) -> Iterator[tuple[Step | None, Any]]:
    """Yield (step, part) for each object directly inside `value`.

    The step is None where there is no way to name the part, as for the members of a set.
    """
    if isinstance(value, (types.FunctionType, types.ModuleType)):
        yield from _bindings(value).items()
        return
    if isinstance(value, type):
        yield from _members(value)
        return
    if isinstance(value, (types.MethodType, types.BuiltinFunctionType, property)):
        names = ("__self__", "__func__", "fget", "fset", "fdel")
        yield from (
            (("attr", name), getattr(value, name)) for name in names if hasattr(value, name)
        )
        return
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
        if not all_plain(value):
            for index, part in enumerate(value):
                yield ("index", index), part
    elif isinstance(value, (set, frozenset)):
        if not all_plain(value):
            for part in value:
                yield None, part
    elif isinstance(value, functools.partial):
        for name in ("func", "args", "keywords"):
            yield ("attr", name), getattr(value, name)
    elif is_array(value):
        if value.dtype.hasobject:
            for index, part in enumerate(value.flat):
                yield ("flat", index), part
        return
    elif is_frame(value):
        return
    kind = type(value)
    if kind in _BUILT_IN:
        return
    yield from _attributes(value)
    if kind.__flags__ & _HEAP and by_value(kind):
        yield ("type", kind.__name__), kind


_CONTAINERS: Final = frozenset({list, dict, set, collections.defaultdict, collections.deque})
"""Those whose entries can be looked at all at once."""
_BUILT_IN: Final = _CONTAINERS | {tuple, frozenset}


def _bindings(value: Any) -> dict[Step, Any]:
    """Return what the names that belong to a function, a class or a module refer to now."""
    found: dict[Step, Any] = {}
    if isinstance(value, types.FunctionType):
        if not by_value(value):
            return found
        space = value.__globals__
        for name in names_in(value.__code__):
            if name in space:
                found["global", name] = space[name]
        for index, cell in enumerate(value.__closure__ or ()):
            try:
                found["cell", index] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        for index, part in enumerate(value.__defaults__ or ()):
            found["default", index] = part
        for name, part in (value.__kwdefaults__ or {}).items():
            found["kwdefault", name] = part
        for name, part in vars(value).items():
            found["attr", name] = part
        return found
    step = "member" if isinstance(value, type) else "state"
    for name, part in list(vars(value).items()):
        if not _is_special(name):
            found[step, name] = part
    return found


@functools.lru_cache(maxsize=256)
def names_in(code: types.CodeType) -> tuple[str, ...]:
    """Return the names that code uses beside its own variables, nested functions included."""
    inner = [names_in(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return tuple(dict.fromkeys(itertools.chain(code.co_names, *inner)))


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _members(cls: type) -> Iterator[tuple[Step, Any]]:
    """Yield what a class holds, if it is the user's, and its bases."""
    if not by_value(cls):
        return
    has_data = not issubclass(cls, enum.Enum)  # whose data are its members, and a cache of them
    for name, part in list(vars(cls).items()):
        part = getattr(part, "__func__", part)
        if isinstance(part, types.FunctionType) or (has_data and not _is_special(name)):
            yield ("member", name), part
    for index, base in enumerate(cls.__bases__):
        yield ("base", index), base


def _attributes(value: Any) -> Iterator[tuple[Step, Any]]:
    state = getattr(value, "__dict__", None)
    if isinstance(state, dict):
        for name, part in state.items():
            yield ("state", name), part
    for name in _slots(type(value)):
        if hasattr(value, name):
            yield ("attr", name), getattr(value, name)


def _slots(kind: type) -> Iterator[str]:
    for each in kind.__mro__:
        slots = each.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                yield name


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


def spell(root: Any, path: Path | None) -> str:
    """Return the name by which a user knows what `path` leads to; empty if it has none."""
    names: list[str] = []
    near = (None, "__main__", getattr(root, "__module__", None))
    for kind, key in path or ():
        owner = _name(root)
        if kind == "type":
            names = [key]
        elif kind == "cell":
            names.append(root.__code__.co_freevars[key])
        elif kind == "default":
            code = root.__code__
            first = code.co_argcount - len(root.__defaults__)
            names = [f"{code.co_varnames[first + key]} (default of {owner})"]
        elif kind == "kwdefault":
            names = [f"{key} (default of {owner})"]
        elif isinstance(root, functools.partial):
            names = names if key == "func" else [f"an argument of {_name(root.func)}"]
        elif key == "__self__":
            names = names or ["self"]
        elif kind == "global":
            names = [key] if root.__module__ in near else [root.__module__, key]
        elif kind in ("state", "attr", "member") and not _is_ours(root):
            names += [key] if names else [owner, key]
        try:
            root = follow(root, ((kind, key),))
        except (LookupError, AttributeError, ValueError):  # it is gone
            break
    return ".".join(names)


def _longer(path: Path | None, step: Step | None) -> Path | None:
    return None if path is None or step is None else (*path, step)


def _name(thing: Any) -> str:
    name: str = getattr(thing, "__name__", type(thing).__name__)
    return name


def _is_ours(value: Any) -> bool:
    """Return whether `value` is what we have put around a function of the user's."""
    return type(value).__module__.startswith("cloudbutton_backend.")


def is_watchable(value: Any) -> bool:
    """Return whether a change of `value`, or of anything inside it, would be seen for certain."""
    graph = Graph({"": value}, limit=_WATCHABLE, entries=_GUARDED_ENTRIES)
    return graph.complete and graph.sure


# -- what it looks like


class Graph:
    """The mutable objects reached from named values, and what they looked like when last seen.

    Parameters
    ----------
    roots
        The values to start from.
    watch
        Note what the objects look like, for `changed`.
    large
        What is done about arrays above `SMALL`: they are compared; made read-only, so that a write
        raises; or not watched.
    limit, fan_out
        Objects to follow, in all and out of any one of them.
    entries
        Entries of containers to compare, in all.
    """

    def __init__(
        self,
        roots: dict[str, Any],
        *,
        watch: bool = True,
        large: Large = "compare",
        limit: int = LIMIT,
        fan_out: int = LIMIT,
        entries: float = math.inf,
    ) -> None:
        self.ids: dict[int, Path | None] = {}
        self.nodes: list[tuple[Any, Path | None]] = []
        self.arrays: list[Any] = []
        self.sets: list[tuple[Any, Path | None]] = []
        """Each set once for every way to it."""
        self.complete = True
        self.sure = True
        """Whether a change of any of them would be seen. Of large objects made in C, few are."""
        self._roots, self._large = roots, large
        self._entries, self._prints = entries, _PRINTS
        self._owners: list[tuple[Any, Path | None]] = []
        self._contents: list[Any] = []
        """Live views of what containers hold, the owner of each in `_owners`."""
        self._sizes: list[int] = []
        self._then: list[Any] = []
        """What they held when last seen, one after the other."""
        self._named: list[tuple[Any, Path | None, dict[Step, Any]]] = []
        """Functions, classes and modules, with what their names referred to."""
        self._others: list[tuple[Any, Path | None, Callable[[], bool]]] = []
        """Everything else, with a function that tells whether it is the same."""
        self._walk(watch, limit, fan_out)
        self._look()

    def _walk(self, watch: bool, limit: int, fan_out: int) -> None:
        queue: collections.deque[tuple[Any, Path | None]] = collections.deque(
            (value, (("root", name),)) for name, value in self._roots.items()
        )
        while queue:  # the near before the far: it has the shorter name
            value, path = queue.popleft()
            if is_atom(value):
                continue
            if isinstance(value, (set, frozenset)):
                self.sets.append((value, path))
            if id(value) in self.ids:
                continue
            if len(self.ids) >= limit:
                self.complete = False
                break
            self.ids[id(value)] = path
            self.nodes.append((value, path))
            if is_array(value):
                self.arrays.append(value)
            if watch:
                self._watch(value, path)
            room = fan_out
            for step, part in children(value):
                if type(part) in PLAIN:
                    continue
                room -= 1
                if room < 0:
                    self.complete = False
                    break
                queue.append((part, _longer(path, step)))

    def name_of(self, path: Path | None) -> str:
        """Return the name by which a user knows an object; empty if it has none."""
        if not path:
            return ""
        root = self._roots[path[0][1]]
        return spell(root, path[1:])

    def changed(self) -> list[tuple[Any, Path | None]]:
        """Return what has changed since it was last seen: the objects, and names that refer to others."""
        found = list(self._changed_containers())
        for at, (value, path, then) in enumerate(self._named):
            now = _bindings(value)
            steps = [step for step in {**then, **now} if _is_rebound(step, then, now)]
            if steps:
                self._named[at] = value, path, now
                found += [(value, _longer(path, step)) for step in steps]
        for at, (value, path, is_same) in enumerate(self._others):
            if not _tells(is_same):
                self._others[at] = value, path, self._comparison(value) or is_same
                found.append((value, path))
        return found

    def _changed_containers(self) -> Iterator[tuple[Any, Path | None]]:
        contents, then, sizes = self._contents, self._then, self._sizes
        try:  # all at once: a matter of nanoseconds for each entry
            entries = itertools.chain.from_iterable(contents)
            if list(map(len, contents)) == sizes and all(map(operator.is_, entries, then)):
                return
        except RuntimeError:  # a thread that a task has left behind is changing one
            pass
        at, told = 0, -1
        state: dict[Any, Any] = {}
        known: list[Any] = []
        for owner, content, size in zip(self._owners, contents, sizes):
            before, at = then[at : at + size], at + size
            now = list(content)
            if isinstance(content, dict):
                state, known = content, before
            if len(now) != size and not isinstance(owner[0], dict):  # some attributes are caches
                if isinstance(content, dict):
                    now = [name for name in now if name in known or not _is_cached(owner[0], name)]
                elif isinstance(content, collections.abc.ValuesView):
                    now = [state[name] for name in known if name in state]
            if len(now) != size or not all(map(_is_same, now, before)):
                if told != id(owner[0]):  # of a dict, its keys or its values
                    yield owner
                told = id(owner[0])
        self._look()

    def _look(self) -> None:
        self._sizes = list(map(len, self._contents))
        self._then = list(itertools.chain.from_iterable(self._contents))

    def _watch(self, value: Any, path: Path | None) -> None:
        """Note where to look for what `value` holds."""
        kind = type(value)
        if kind in _CONTAINERS:
            if len(value) <= min(WIDE, self._entries):
                self._note(value, path, value)
                return
        elif isinstance(value, (types.FunctionType, types.ModuleType, type)):
            self._named.append((value, path, _bindings(value)))
            return
        elif _shows_its_state(value):
            self._note(value, path, value.__dict__)
            return
        is_same = self._comparison(value)
        if is_same is not None:
            self._others.append((value, path, is_same))

    def _note(self, value: Any, path: Path | None, content: Any) -> None:
        for view in (content, content.values()) if isinstance(content, dict) else (content,):
            self._owners.append((value, path))
            self._contents.append(view)
            self._entries -= len(view)

    def _comparison(self, value: Any) -> Callable[[], bool] | None:
        """Return a function that tells whether `value` is as it is now, None if it cannot change."""
        if is_array(value):
            return _array_comparison(value, self._large)
        if is_frame(value):
            return self._frame_comparison(value)
        state = random_state(value)
        if state is not None:
            return lambda: repr(random_state(value)) == repr(state)
        content = None
        if isinstance(value, (list, dict, set, collections.deque)):
            content = _container_comparison(value, min(WIDE, self._entries))
        elif isinstance(value, bytearray):
            content = functools.partial(operator.eq, value, bytes(value))
        elif not isinstance(value, _SHOWN) and _hides_state(type(value)):
            content = self._pickle_comparison(value)
        return _both(content, _state_comparison(value))

    def _pickle_comparison(self, value: Any) -> Callable[[], bool] | None:
        """Compare an object that keeps its state where only its own C code finds it."""
        if hasattr(value, "__qualname__") and not by_value(value):  # it travels as a name
            return None
        before = _packed(value) if self._prints > 0 else None
        if before is None:
            self.sure = False
            length = _length(value)
            return lambda: _length(value) == length
        self._prints -= len(before)
        return lambda: _packed(value) == before

    def _frame_comparison(self, value: Any) -> Callable[[], bool]:
        def look() -> list[Any]:
            blocks = getattr(getattr(value, "_mgr", None), "blocks", ())
            return [*value.axes, *(block.values for block in blocks)]

        before, shape = look(), value.shape
        inside = [
            _array_comparison(part, self._large)
            if is_array(part)
            else self._pickle_comparison(part)
            for part in before[len(value.axes) :]
        ]
        comparisons = [is_same for is_same in inside if is_same is not None]

        def is_same() -> bool:
            now = look()
            return (
                len(now) == len(before)
                and all(map(operator.is_, now, before))
                and value.shape == shape
                and all(each() for each in comparisons)
            )

        return is_same


_SHOWN: Final = (
    tuple, frozenset, types.MethodType, types.BuiltinFunctionType, property, functools.partial,
    types.SimpleNamespace, type(functools.lru_cache(lambda: None)),
)  # fmt: skip
"""Of types made in C: those of whose objects `children` and `_attributes` tell everything."""


class _Bare:
    """An object of an ordinary class without attributes."""


def _hides_state(kind: type) -> bool:
    """Return whether the objects of a type may hold what none of their attributes shows."""
    room = _Bare.__basicsize__ + 8 * sum(1 for _ in _slots(kind))
    is_made_in_c = any(not base.__flags__ & _HEAP for base in kind.__mro__[:-1])
    return is_made_in_c or kind.__itemsize__ != 0 or kind.__basicsize__ > room


def _shows_its_state(value: Any) -> bool:
    """Return whether all that can change in `value` is in its plain `__dict__`."""
    kind = type(value)
    return (
        type(getattr(value, "__dict__", None)) is dict
        and not any(_slots(kind))
        and not _hides_state(kind)
        and not is_frame(value)
    )


def _is_cached(owner: Any, name: Any) -> bool:
    """Return whether an attribute keeps what a library's property has computed from the others.

    It hides the property, which has no way to be assigned to: `functools.cached_property` and its like.
    """
    kind = type(owner)
    if by_value(kind):
        return False
    found = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
    return hasattr(found, "__get__") and not (
        hasattr(found, "__set__") or isinstance(found, _METHODS)
    )


_METHODS: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    classmethod,
    staticmethod,
    type,
)


def _is_same(now: Any, then: Any) -> bool:
    """Return whether two parts of a container are indistinguishable."""
    if now is then:
        return True
    if type(now) is not type(then) or type(now) not in PLAIN or now != then:
        return False
    return bool(now) or repr(now) == repr(then)  # zeros have a sign


def _is_rebound(step: Step, then: dict[Step, Any], now: dict[Step, Any]) -> bool:
    if step not in now:
        return True
    if step in then and _is_same(now[step], then[step]):
        return False
    # A module that is loaded only now is no change.
    return then.get(step) is not None or not isinstance(now[step], types.ModuleType)


def _tells(is_same: Callable[[], bool]) -> bool:
    try:
        return is_same()
    except Exception:  # the object raises when it is looked at, which it did not before
        return False


def _both(
    one: Callable[[], bool] | None, other: Callable[[], bool] | None
) -> Callable[[], bool] | None:
    if one is None or other is None:
        return one or other
    first, second = one, other
    return lambda: first() and second()


def _container_comparison(value: Any, most: float) -> Callable[[], bool]:
    """Compare all entries of a container, or where there are more than `most`, its length and ends."""
    length = len(value)
    if isinstance(value, set):
        members = set(value) if length <= most else None
        return lambda: len(value) == length and (members is None or value == members)
    if length > most:
        ends = _ends(value)
        return lambda: len(value) == length and all(map(operator.is_, _ends(value), ends))
    if isinstance(value, dict):
        keys, values = list(value), list(value.values())
        return lambda: (
            len(value) == length
            and all(map(operator.is_, value.values(), values))
            and all(map(operator.is_, value, keys))
        )
    entries = list(value)
    return lambda: len(value) == length and all(map(operator.is_, value, entries))


def _ends(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return []
    near = min(_END, len(value))
    return [value[at] for at in (*range(near), *range(-near, 0))]


def _state_comparison(value: Any) -> Callable[[], bool] | None:
    before = dict(_attributes(value))
    if not before and not hasattr(value, "__dict__"):
        return None

    def is_same() -> bool:
        now = dict(_attributes(value))
        return now.keys() == before.keys() and all(now[k] is v for k, v in before.items())

    return is_same


def _array_comparison(value: Any, large: Large) -> Callable[[], bool] | None:
    if not value.flags.writeable:
        return None
    if value.dtype.hasobject:
        if value.size > WIDE:
            return None
        entries = list(value.flat)
        return lambda: all(map(operator.is_, value.flat, entries))
    if value.nbytes > SMALL and large != "compare":
        if large == "freeze":
            value.flags.writeable = False  # a write now raises, and the kernel takes over
        return None
    print_of = _fingerprint(value)
    return lambda: _fingerprint(value) == print_of


def _fingerprint(value: Any) -> tuple[Any, ...]:
    numpy = sys.modules["numpy"]
    data = numpy.ascontiguousarray(value).reshape(-1).view("u1")  # of a subclass's objects, too
    mask = numpy.ma.getmask(value) if "numpy.ma" in sys.modules else None
    masked = _fingerprint(mask) if is_array(mask) else None
    return value.shape, str(value.dtype), zlib.crc32(data.data), masked


class _Short:
    """A file that takes no more than a short pickle."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: Any) -> int:
        self.data += data
        if len(self.data) > _PRINT:
            raise OverflowError
        return len(data)


def _packed(value: Any) -> bytes | None:
    """Return a short pickle of `value`; None if there is none."""
    from cloudpickle import Pickler

    file = _Short()
    try:
        Pickler(file, 5).dump(value)
    except Exception:
        return None
    return file.data


def _length(value: Any) -> int:
    try:
        return len(value)
    except Exception:
        return -1


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


class Guard:
    """Tells which captured values of a function its calls have changed."""

    def __init__(self, function: Any) -> None:
        self._graph = Graph(
            {"": function},
            large="ignore",
            limit=_GUARDED,
            fan_out=_GUARDED_EACH,
            entries=_GUARDED_ENTRIES,
        )

    def changed(self) -> list[str]:
        """Return the names that refer to something else, or to a changed value, since the last call."""
        found = self._graph.changed()
        return list(dict.fromkeys(self._name_of(value, path) for value, path in found))

    def _name_of(self, value: Any, path: Path | None) -> str:
        if path is None:  # out of a set
            return f"a {type(value).__name__}"
        return self._graph.name_of(path) or _name(value)
