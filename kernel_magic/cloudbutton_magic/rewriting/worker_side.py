"""Runs a loop body in the worker: watches, runs, and answers with a record.

Travels to the workers by value: it uses the standard library and the worker package.
"""

from __future__ import annotations

import functools
import gc
import io
import linecache
import os
import pickle
import sys
import time
import types
from collections.abc import Callable
from typing import Any, Final

from cloudbutton_backend.worker.process_state import quick_state
from cloudbutton_backend.worker.watch import (
    Graph,
    Path,
    all_plain,
    by_value,
    children,
    is_array,
    is_atom,
    is_frame,
    random_state,
)

DONE: Final = "done"
"""An answer as it is."""
PACKED: Final = "packed"
"""An answer pickled, with references to objects that the kernel has."""
HERE: Final = "here"
"""The item must run in the kernel."""
LATE: Final = "late"
"""A shared object was changed, and items before this one may have seen it."""

SHARE: Final = 0.03
"""Of the time spent in items, what looking at the shared objects may take."""


class CannotRunHere(Exception):
    """The iteration cannot be done here: the reason is the argument."""


class _ChangedUnseen(CannotRunHere):
    """A shared object was changed by this item or one of those before it."""


class Task:
    """One loop's body with what it needs, called with ``(item, is_last)``.

    Answers ``(DONE, ops, binds, owed, gone)``, ``(PACKED, bytes)`` or ``(HERE, reason)``:
    the operands of each site in the order they came up; the names the iteration bound, those
    of them that were left out, and those it deleted.
    """

    def __init__(
        self,
        function: types.FunctionType,
        local: tuple[str, ...],
        definite: frozenset[str],
        *,
        seeded: bool = True,
        sources: dict[str, str] | None = None,
    ) -> None:
        self.directory = os.getcwd() if os.path.isdir(os.curdir) else ""
        """Where relative paths begin: a part of what the loop is."""
        self.sources = sources or {}
        """The text of cells that functions come from: warnings and tracebacks show lines of it."""
        self.function = function
        self.seeded = seeded
        """Whether NumPy's global generator has a seed, so that its draws can be repeated."""
        self.local = local
        self.definite = definite
        self._outer: Graph | None = None
        self._changed_reason = ""
        self._work_seconds = self._check_seconds = 0.0
        self._unchecked = 0
        self._whole: set[Any] = set()
        """Classes, with attributes of theirs, whose objects are known to travel whole."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_outer": None, "_changed_reason": ""}

    @staticmethod
    def shown_item(payload: tuple[Any, bool]) -> Any:
        """Return what messages call the item (the engine asks for this)."""
        return payload[0]

    def __call__(self, payload: tuple[Any, bool]) -> tuple[Any, ...]:
        if self._changed_reason:
            return HERE, self._changed_reason
        if self._outer is None:
            self._outer = Graph({"": self.function}, large="freeze")
            for name, text in self.sources.items():
                lines = text.splitlines(keepends=True)
                linecache.cache[name] = (len(text), None, lines, name)
        item, is_last = payload
        try:
            return self._run(item, is_last, self._outer)
        except _ChangedUnseen as late:
            return LATE, str(late)
        except CannotRunHere as stop:
            return HERE, str(stop)

    def _run(self, item: Any, is_last: bool, outer: Graph) -> tuple[Any, ...]:
        inner = Graph({"": item})
        process = _process_state(self.seeded)
        ops: list[tuple[Any, ...]] = []
        deleted: set[str] = set()
        started = time.perf_counter()
        found = self.function(item, ops.append, deleted.add, snapshot_operand, check_operand)
        self._work_seconds += time.perf_counter() - started
        self._check_process(process)
        self._check_figures()
        self._check_shared(outer)
        binds, omitted = self._binds(found, is_last)
        changes = inner.changed()
        if changes and any(path is None for _, path in changes):
            raise CannotRunHere("the loop changed a part of its item that cannot be named")
        parts = [(path, _content(value)) for value, path in changes]
        record = (ops, binds, omitted, deleted - binds.keys(), parts)
        finder = ReferenceFinder((*record[:2], parts), outer, inner, self._whole)
        if parts or finder.refers:
            return PACKED, finder.packed(record)
        return DONE, ops, binds, omitted, record[3]

    def _check_figures(self) -> None:
        """Stop if the iteration leaves a figure open, which the next one would draw on in the kernel."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None and pyplot.get_fignums():
            pyplot.close("all")
            self._changed_reason = "it draws on a figure that all iterations share"
            raise CannotRunHere(self._changed_reason)

    def _check_shared(self, outer: Graph) -> None:
        """Stop if the iteration changed an object that the others share.

        Where there is so much to look at that it would slow the items down, not every item
        is followed by a look; a change found late cannot be undone and is an error.
        """
        if self._check_seconds > max(SHARE * self._work_seconds, 0.01):
            self._unchecked += 1
            return
        started = time.perf_counter()
        changed = outer.changed()
        self._check_seconds += time.perf_counter() - started
        if changed:
            name = outer.name_of(changed[0][1])
            what = f"`{name}`" if name else "an object"
            self._changed_reason = f"the loop changed {what}, which all iterations share"
            raise (_ChangedUnseen if self._unchecked else CannotRunHere)(self._changed_reason)
        self._unchecked = 0

    def _binds(self, found: dict[str, Any], is_last: bool) -> tuple[dict[str, Any], list[str]]:
        binds: dict[str, Any] = {}
        omitted = []
        for name in self.local:
            if name not in found:
                continue
            if not is_last and name in self.definite and not _is_small(found[name]):
                omitted.append(name)  # the next iteration binds it again
            elif _is_picklable(found[name]):
                binds[name] = found[name]
            else:
                omitted.append(name)
        return binds, omitted

    def _check_process(self, before: dict[str, Any]) -> None:
        after = _process_state(self.seeded)
        changed = [what for what, old in before.items() if what in after and after[what] != old]
        settings, now = before[_SETTINGS], after[_SETTINGS]
        for name in settings.keys() | now.keys():
            # A package adds its own filters when it is imported.
            is_own = name != "the filters of warnings" or before[_N_MODULES] == after[_N_MODULES]
            if is_own and settings.get(name) != now.get(name):
                changed.append(name)
        changed = [what for what in changed if what not in (_SETTINGS, _N_MODULES)]
        if changed:
            self._changed_reason = f"the loop changed {min(changed)}"
            raise CannotRunHere(self._changed_reason)


_SETTINGS: Final = "settings of the process"
_N_MODULES: Final = "number of modules"


def _process_state(seeded: bool) -> dict[str, Any]:
    """Return what one process has once and iterations would share in the kernel."""
    state: dict[str, Any] = {
        "the working directory": os.getcwd(),
        "os.environ": dict(os.environ),
        _SETTINGS: quick_state(),
        _N_MODULES: len(sys.modules),
    }
    random, numpy = sys.modules.get("random"), sys.modules.get("numpy.random")
    if random is not None:
        state["the state of `random`"] = random.getstate()
    if numpy is not None and seeded:
        kind, keys, *rest = numpy.get_state()
        state["the state of `np.random`"] = (kind, keys.tobytes(), *rest)
    return state


def snapshot_operand(value: Any, changes_later: bool) -> Any:
    """Return an operand as it is now: an iterator is walked, what changes later is copied."""
    if hasattr(type(value), "__next__"):
        return list(value)
    if changes_later and (isinstance(value, (list, dict, set, bytearray)) or is_array(value)):
        return value.copy()
    return value


def check_operand(kind: str, *operands: Any) -> None:
    """Make sure that the kernel's part, which no `try` of the loop covers, will not raise."""
    if kind == "hash":
        hash(operands[-1])
    elif kind == "number" and not isinstance(operands[-1], (int, float)):
        raise CannotRunHere("an operand inside `try` is not a number")


def _is_small(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, (bool, int, float, complex))
        or (isinstance(value, (str, bytes)) and len(value) < 1000)
    )


def _is_picklable(value: Any) -> bool:
    """Tell whether a name's value can be sent; the last iteration runs here otherwise."""
    if is_atom(value) or is_array(value) or is_frame(value):
        return True
    if type(value).__module__.partition(".")[0] == "matplotlib":
        return False
    if isinstance(value, (list, tuple, set, frozenset)) and all_plain(value):
        return True
    try:
        from cloudbutton_backend.worker.pickling import dumps

        dumps(value)
    except Exception:
        return False
    return True


def _content(value: Any) -> tuple[str, Any]:
    """Return what to put into the kernel's object to make it like `value`."""
    if isinstance(value, list):
        return "list", list(value)
    if isinstance(value, dict) and not getattr(value, "__dict__", None):
        return "dict", list(value.items())
    if isinstance(value, set):
        return "set", list(value)
    if isinstance(value, bytearray):
        return "bytearray", bytes(value)
    if is_array(value) and not value.dtype.hasobject:
        return "array", value.copy()
    state = random_state(value)
    if state is not None:
        return "random", state
    if (
        type(getattr(value, "__dict__", None)) is dict
        and not isinstance(value, (dict, type))
        and not is_frame(value)
        and not _has_hidden_state(type(value))
    ):
        return "state", dict(value.__dict__)
    raise CannotRunHere(f"the loop changed its item, a {type(value).__name__}")


def _has_hidden_state(kind: type) -> bool:
    """Tell whether objects of `kind` hold more than their `__dict__` shows."""
    return any(
        base.__dict__.get("__slots__") or base.__flags__ & (1 << 9) == 0
        for base in kind.__mro__[:-1]
    )


class ReferenceFinder:
    """Searches a record for objects that the kernel has already, or that share memory."""

    def __init__(self, record: Any, outer: Graph, inner: Graph, whole: set[Any]) -> None:
        self.outer, self.inner = outer, inner
        self._whole = whole
        self.refers = not (outer.complete and inner.complete)
        self._views: dict[int, Any] = {}
        self._bases: dict[int, list[Any]] = {}
        self._seen: set[int] = set()
        stack = [record]
        while stack:
            value = stack.pop()
            if type(value) in (int, float, str, bool, type(None)) or is_atom(value):
                continue
            if id(value) in self._seen:
                continue
            self._seen.add(id(value))
            self._look(value)
            if id(value) not in outer.ids and id(value) not in inner.ids:
                stack.extend(part for _, part in children(value))
        self._check_caches()
        self.refers |= any(len(arrays) > 1 for arrays in self._bases.values())

    def _look(self, value: Any) -> None:
        for known in (self.outer, self.inner):
            if id(value) in known.ids:
                self.refers = True
                if known.ids[id(value)] is None:
                    raise CannotRunHere("a result is an object out of a set")
                return
        if isinstance(value, types.FunctionType) and by_value(value):
            raise CannotRunHere("a result is a function made in the iteration")
        if isinstance(value, type) and by_value(value):
            raise CannotRunHere("a result holds a class made in the iteration")
        if hasattr(type(value), "__next__") and not isinstance(value, io.IOBase):
            raise CannotRunHere("a result is an iterator")
        if isinstance(value, (set, frozenset)) and not _keeps_order(value):
            raise CannotRunHere("a result is a set whose order would not survive the journey")
        if is_array(value):
            self._look_at_array(value)
        elif _has_own_pickling(value):
            self._check_whole(value)

    def _check_whole(self, value: Any) -> None:
        """Stop if the pickle of a result forgets an attribute that the user may read."""
        kind, names = type(value), _public_names(value)
        if (kind, names) in self._whole:
            return
        from cloudbutton_backend.worker.pickling import dumps

        try:
            copied = vars(pickle.loads(dumps(value)))
        except Exception:  # it cannot be sent at all, which is said where it is tried
            return
        for name in names:
            if name not in copied:
                raise CannotRunHere(f"a copy of a result, a {kind.__name__}, has no `{name}`")
        self._whole.add((kind, names))

    def _check_caches(self) -> None:
        """Stop if a result is kept in a cache: in the plain cell it is one object for all."""
        caches = [
            node for node, _ in self.outer.nodes if isinstance(node, functools._lru_cache_wrapper)
        ]
        for cache in caches:
            if not cache.cache_info().currsize:
                continue
            held = gc.get_referents(cache)
            for _ in range(2):
                held += [part for value in held for part in gc.get_referents(value)]
            if any(id(value) in self._seen for value in held):
                raise CannotRunHere("a result is kept in the cache of a function")

    def _look_at_array(self, value: Any) -> None:
        if value.base is None:
            self._bases.setdefault(id(value), []).append(value)
            return
        numpy = sys.modules["numpy"]
        for known in (self.outer, self.inner):
            for array in known.arrays:
                if numpy.may_share_memory(array, value):
                    path = known.ids[id(array)]
                    if path is None or array.dtype.hasobject:
                        raise CannotRunHere("a result is a view of an array out of a set")
                    self.refers = True
                    side = "outer" if known is self.outer else "inner"
                    self._views[id(value)] = (id(value), side, path, *_placement(array, value))
                    return
        base = value
        while is_array(base.base):
            base = base.base
        if base is not value and value.flags.writeable:
            self._bases.setdefault(id(base), []).append(value)

    def packed(self, record: Any) -> bytes:
        """Return the record as bytes, the kernel's objects as references."""
        from cloudbutton_backend.worker import pickling

        finder = self

        class ReferencePickler(pickling.Pickler):
            def persistent_id(self, value: Any) -> Any:
                return finder.reference(value)

            def reducer_override(self, value: Any) -> Any:
                if is_array(value):
                    base = finder.common_base(value)
                    if base is not None:
                        return _view, (base, *_placement(base, value))
                return super().reducer_override(value)

        stream = io.BytesIO()
        ReferencePickler(stream, protocol=5).dump(record)
        return stream.getvalue()

    def reference(self, value: Any) -> Any:
        if type(value) in (int, float, str, bytes, bool, type(None)):
            return None
        key = id(value)
        if key in self._views:
            return self._views[key]
        if is_atom(value):
            return None
        for side, known in (("outer", self.outer), ("inner", self.inner)):
            if key in known.ids:
                path = known.ids[key]
                if path is None:
                    raise CannotRunHere("a result is an object out of a set")
                return 0, side, path
        return None

    def common_base(self, value: Any) -> Any:
        """Return the array that `value` and another result are views of, None if none."""
        base = value
        while is_array(base.base):
            base = base.base
        if base is value or len(self._bases.get(id(base), ())) < 2:
            return None
        return base


def _has_own_pickling(value: Any) -> bool:
    """Tell whether the class of `value` says itself what of its attributes is pickled."""
    kind = type(value)
    return (
        type(getattr(value, "__dict__", None)) is dict
        and not isinstance(value, type)
        and not is_frame(value)
        and any(
            getattr(kind, name, None) is not getattr(object, name, None)
            for name in ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
        )
    )


def _public_names(value: Any) -> tuple[str, ...]:
    """Return the attributes of `value` that are neither private nor made when they are read."""
    kind = type(value)
    return tuple(
        name
        for name in vars(value)
        if not (
            name.startswith("_") or isinstance(getattr(kind, name, None), functools.cached_property)
        )
    )


def _placement(base: Any, value: Any) -> tuple[Any, ...]:
    """Return where `value` lies in the memory of `base`, and how `base` itself lies."""
    start = base.__array_interface__["data"][0]
    offset = value.__array_interface__["data"][0] - start
    # A captured array may be read-only in the worker alone; the kernel knows its own.
    writeable = value.flags.writeable or not base.flags.writeable
    return base.strides, offset, value.shape, value.strides, value.dtype, writeable


def _view(
    base: Any, strides: Any, offset: int, shape: Any, steps: Any, dtype: Any, writeable: bool
) -> Any:
    """Return the view of `base` that `_placement` described."""
    numpy = sys.modules["numpy"]
    if base.strides != strides:
        raise CannotRunHere("a result is a view of an array that lies differently in memory here")
    if base.flags.c_contiguous:
        view = numpy.ndarray(shape, dtype, buffer=base, offset=offset, strides=steps)
    else:
        view = numpy.asarray(_ArrayInterface(base, offset, shape, steps, dtype))
    view.flags.writeable = writeable and base.flags.writeable
    return view


class _ArrayInterface:
    """A place in the memory of an array, in the form NumPy takes."""

    def __init__(self, base: Any, offset: int, shape: Any, steps: Any, dtype: Any) -> None:
        self.keep = base
        self.__array_interface__ = {
            "data": (base.__array_interface__["data"][0] + offset, False),
            "shape": shape,
            "strides": steps,
            "typestr": dtype.str,
            "descr": dtype.descr,
            "version": 3,
        }


def _keeps_order(value: Any) -> bool:
    if len(value) < 2 or any(isinstance(v, (str, bytes)) for v in value):
        return True  # string hashes are salted: no program may rely on their order
    try:
        return list(type(value)(list(value))) == list(value)
    except Exception:
        return False


def unpack(data: bytes, find: Callable[[str, Path], Any]) -> Any:
    """Return the record in `data`; ``find(side, path)`` gives the kernel's own objects."""
    views: dict[int, Any] = {}

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, reference: Any) -> Any:
            number, side, path, *place = reference
            if not number:
                return find(side, path)
            if number not in views:  # what was one view is one view again
                views[number] = _view(find(side, path), *place)
            return views[number]

    return Unpickler(io.BytesIO(data)).load()
