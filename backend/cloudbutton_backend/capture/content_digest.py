"""Digests of code and values by content: equal across kernels, different where anything that counts is.

A digest is the SHA-256 of a canonical pickle: that which `ValuePickler` would send, without what differs
although the meaning does not. Left out are the names of files and the line numbers of code, the ids that
cloudpickle gives to classes, whether two equal strings are one object, and the order of sets of plain
values. Everything else counts, so that equal digests mean equal values; unequal ones may still mean
equal values, which costs the caller no more than doing again what was done.

It is Python's own pickler, as that of C offers no way to these; long lists of numbers or strings, and
the memory of arrays, are taken in one go all the same.
"""

from __future__ import annotations

import hashlib
import io
import operator
import pickle
import sys
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, ClassVar, Final

from cloudpickle import cloudpickle as _cloudpickle

from cloudbutton_backend.capture.closure import names_of
from cloudbutton_backend.capture.pickling import (
    PROTOCOL,
    Contents,
    Handler,
    ReduceCall,
    ValuePickler,
    fills,
)
from cloudbutton_backend.capture.unpicklable import RefusedObject
from cloudbutton_backend.capture.user_modules import by_value, top_level, user_module
from cloudbutton_backend.worker.atoms import PLAIN
from cloudbutton_backend.worker.context import rng

_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_IN_FIXED_ORDER: Final = frozenset({int, float, complex, bool})
"""Their hashes are the same everywhere; those of strings are salted, that of None may be an address."""
SETS: Final = frozenset({set, frozenset})
_AT_ONCE: Final = 32
"""Elements from which a list of numbers or strings is hashed as a whole."""
_NOTHING: Final[frozenset[str]] = frozenset()
_ALWAYS: Final = frozenset({"builtins", "_operator"})
_BY_NAME: Final = frozenset({"import_module", "__import__"})
_OF_CLASSES: Final = ("__static_attributes__", "__firstlineno__")
"""Written into classes by the compiler: an order that varies, and a line number."""


@dataclass(frozen=True)
class ContentDigest:
    """A digest of a value's content, as far as that can be determined."""

    digest: bytes
    packages: frozenset[str]
    """Top-level names of what has to be imported to load it: their versions are not in the digest."""
    draws: bool
    """Whether code inside names `cloud.rng`, whose draws depend on more than the values."""
    classes: frozenset[str]
    """cloudpickle's ids of the classes inside that are defined in the notebook or in the user's modules."""


class Unkeyable(Exception):
    """A value has no content that could be identified; the argument says why."""


def content_of(value: Any) -> ContentDigest:
    """Return what `value` is: a function with all that its code uses, or any value.

    Raises
    ------
    Unkeyable
        If it cannot be pickled, or not like this.
    """
    plain = _plain_bytes(value)
    if plain is not None:
        return ContentDigest(hashlib.sha256(plain).digest(), _NOTHING, False, _NOTHING)
    hasher = hashlib.sha256()
    pickler = _Canonical(hasher.update)
    try:
        # In a list of its own, with what the user's modules hold: as `pickling.dumps` does it.
        pickler.dump(ReduceCall(operator.getitem, (value, fills()), 0))
    except Unkeyable:
        raise
    except RefusedObject as error:
        raise Unkeyable(f"it holds a {type(error.value).__name__}") from None
    except Exception as error:
        raise Unkeyable(f"{type(error).__name__}: {error}") from None
    finally:
        pickler.release()
    found = pickler.contents
    draws = "rng" in found.names and "cloudbutton_ext" in found.packages
    packages, classes = frozenset(found.packages - _ALWAYS), frozenset(found.classes)
    return ContentDigest(hasher.digest(), packages, draws, classes)


def _plain_bytes(value: Any) -> bytes | None:
    """Return what tells a plain value, or a tuple of such, from all others; None for what is neither."""
    kind = type(value)
    if kind in PLAIN:
        return pickle.dumps(value, PROTOCOL)
    if kind is tuple and all(type(part) in PLAIN for part in value):
        return b"tuple" + b"".join([pickle.dumps(part, PROTOCOL) for part in value])
    return None


class _Rules(ValuePickler):
    """Reduces values for `_Canonical`; it never dumps anything."""

    def _handler_of(self, kind: type) -> Handler | None:
        if kind is CodeType:
            return _reduce_code
        return super()._handler_of(kind)

    def _reduce_function(self, function: FunctionType) -> Any:
        if function is rng:  # `from cloudbutton_ext import rng` leaves its name to the user
            self.contents.names.add("rng")
            self.contents.packages.add("cloudbutton_ext")
        if by_value(function) and top_level(function.__module__ or "") != "cloudbutton_magic":
            used = names_of(function.__code__).all & _BY_NAME
            if used:
                raise Unkeyable(f"its code may import any module by `{min(used)}`")
        return super()._reduce_function(function)

    def _reduce_class(self, cls: type) -> Any:
        reduced = super()._reduce_class(cls)
        if not isinstance(reduced, tuple) or len(reduced) < 3:  # by name
            return reduced
        make, arguments, state, *rest = reduced
        tracker_id = _cloudpickle._get_or_create_tracker_id(cls)
        kept = tuple("" if type(a) is str and a == tracker_id else a for a in arguments)
        attributes, slots = state
        attributes = {k: v for k, v in attributes.items() if k not in _OF_CLASSES}
        return make, kept, (attributes, slots), *rest


#: Python's own pickler, of which the type stubs know too little.
_Pickler: Final[Any] = vars(pickle)["_Pickler"]


class _Canonical(_Pickler):  # type: ignore[misc]
    def __init__(self, take: Callable[[Any], object]) -> None:
        super().__init__(_Sink(take), PROTOCOL)
        self.contents = Contents()
        self._rules = _Rules(io.BytesIO(), self.contents)

    def release(self) -> None:
        self._rules.release()
        self.clear_memo()

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in PLAIN:
            return NotImplemented
        if kind in SETS:
            return _in_order(obj)
        if (kind is list or kind is tuple) and len(obj) >= _AT_ONCE:
            return _in_one_go(obj)
        return self._rules.reducer_override(obj)

    def memoize(self, obj: Any) -> None:
        # Whether equal strings are one object depends on where they came from, and means nothing.
        if type(obj) not in (str, bytes):
            super().memoize(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Note where something is from that is pickled as a name alone: what it is, is there."""
        name = name or getattr(obj, "__qualname__", None) or obj.__name__
        module = pickle.whichmodule(obj, name)  # type: ignore[attr-defined]
        if module in sys.modules and user_module(sys.modules[module]):
            raise Unkeyable(f"`{module}.{name}` is pickled as a name, whatever it is")
        self.contents.packages.add(top_level(module))
        super().save_global(obj, name)

    def save_picklebuffer(self, obj: pickle.PickleBuffer) -> None:
        with obj.raw() as view:
            lead = b"\xff%d:%d:" % (view.readonly, view.nbytes)
            self.write(lead + hashlib.sha256(view).digest())

    dispatch: ClassVar = {**_Pickler.dispatch, pickle.PickleBuffer: save_picklebuffer}

    def _batch_appends(self, items: Iterable[Any], *_obj: Any) -> None:
        # One after the other: those that fill modules depend on what was saved before (`fills`).
        for item in items:
            self.save(item)
            self.write(pickle.APPEND)


class _Sink:
    def __init__(self, take: Callable[[Any], object]) -> None:
        self.write = take


def _reduce_code(code: CodeType) -> Any:
    """Take all of a code object but where it stands: a blank line above it changes nothing."""
    numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    handlers = getattr(code, "co_exceptiontable", b"")
    return compile, (numbers, names, code.co_code, handlers, code.co_consts)


def _in_order(values: Any) -> Any:
    """Sort a set of plain values; any other is taken in its own order."""
    if not all(map(_is_plain, values)):
        return NotImplemented
    return type(values), (_sorted(values),)


def changeable_order(values: Set[Any]) -> list[Any] | None:
    """Return what a set of plain values holds, sorted, if its own order is another one in each process.

    None for a set whose order is always the same, as of numbers; and for one of other values.
    """
    kinds = set(map(type, values))
    if len(values) < 2 or kinds <= _IN_FIXED_ORDER or not all(map(_is_plain, values)):
        return None
    return _sorted(values)


def _sorted(values: Set[Any]) -> list[Any]:
    return sorted(values, key=lambda v: (type(v).__name__, repr(v)))


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return kind in PLAIN or (kind is tuple and all(map(_is_plain, value)))


def _in_one_go(values: Any) -> Any:
    kinds = set(map(type, values))
    if kinds <= _NUMBERS:
        return type(values), (pickle.dumps(list(values), PROTOCOL),)
    if kinds == {str}:
        text = "".join(values).encode("utf-8", "surrogatepass")
        return type(values), ("", pickle.dumps(list(map(len, values)), PROTOCOL), text)
    return NotImplemented
