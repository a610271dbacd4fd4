"""Pickles code together with where it was written, whichever cloudpickle there is.

Tracebacks show the user's lines by the file name and the line numbers of code objects. cloudpickle
3.1.3 gives all code that it pickles the file name ``<dynamic-code>``; so code objects, nested ones
included, are reduced here, to the arguments of their constructor. What loads such a pickle needs nothing
of this package, and may have another cloudpickle.

Cached properties hold a lock before Python 3.12, which nothing can pickle.
"""

from __future__ import annotations

import copyreg
import functools
import io
import sys
import typing
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any, Final

import cloudpickle

from cloudbutton_backend.worker.array_layout import array_reducer
from cloudbutton_backend.worker.atoms import PLAIN
from cloudbutton_backend.worker.classes import reduce_class
from cloudbutton_backend.worker.watch import by_value

PROTOCOL: Final = 5
LRU_CACHE: Final[type] = type(functools.lru_cache(lambda: None))

# The tuples are copied, as cloudpickle does: whether two code objects share one depends on whether
# they were compiled now or loaded from a file, and digests of pickles must not.
if sys.version_info >= (3, 11):

    def reduce_code(code: CodeType) -> tuple[type[CodeType], tuple[Any, ...]]:
        """Return what pickle needs to make `code` again: its constructor and all arguments."""
        return CodeType, (
            code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_nlocals,
            code.co_stacksize, code.co_flags, code.co_code, code.co_consts, (*code.co_names,),
            (*code.co_varnames,), code.co_filename, code.co_name, code.co_qualname,
            code.co_firstlineno, code.co_linetable, code.co_exceptiontable, (*code.co_freevars,),
            (*code.co_cellvars,),
        )  # fmt: skip

else:

    def reduce_code(code: CodeType) -> tuple[type[CodeType], tuple[Any, ...]]:
        """Return what pickle needs to make `code` again: its constructor and all arguments."""
        return CodeType, (
            code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_nlocals,
            code.co_stacksize, code.co_flags, code.co_code, code.co_consts, (*code.co_names,),
            (*code.co_varnames,), code.co_filename, code.co_name, code.co_firstlineno,
            code.co_linetable, (*code.co_freevars,), (*code.co_cellvars,),
        )  # fmt: skip


def reduce_cached_property(descriptor: Any) -> Any:
    """Return what pickle needs to make a cached property again, with a lock of its own before Python 3.12."""
    state = {name: value for name, value in vars(descriptor).items() if name != "lock"}
    return functools.cached_property, (descriptor.func,), state


def reduce_lru_cache(wrapper: Any) -> Any:
    """Return what pickle needs to make a function with a cache again, the cache empty."""
    made = wrapper.cache_parameters()
    arguments = (wrapper.__wrapped__, made["maxsize"], made["typed"], functools._CacheInfo)
    return LRU_CACHE, arguments, dict(vars(wrapper))


def reduce_new_type(made: Any) -> Any:
    """Return what pickle needs to make a new type again, whose name may mean nothing elsewhere."""
    return typing.NewType, (made.__name__, made.__supertype__), vars(made)


REDUCERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    CodeType: reduce_code,
    functools.cached_property: reduce_cached_property,
    typing.NewType: reduce_new_type,
}
"""How to reduce what cloudpickle reduces otherwise, or not at all."""


def reducer_of(kind: type) -> Callable[[Any], Any] | None:
    """Return how to reduce instances of `kind`; None if cloudpickle knows."""
    return REDUCERS.get(kind) or array_reducer(kind)


def reducer_of_hashed(kind: type) -> Callable[[Any], Any] | None:
    """Return how to reduce instances of `kind` whose hash may depend on their attributes."""
    is_usual = issubclass(kind, type) or kind in copyreg.dispatch_table
    return None if is_usual or type(kind.__hash__) is not FunctionType else _reduce_hashed


def _reduce_hashed(value: Any) -> Any:
    """Have the plain attributes of an object set before all that may refer to it.

    A set that holds the object is made before the object's own attributes are set, and asks for its hash.
    """
    reduced = value.__reduce_ex__(PROTOCOL)
    if isinstance(reduced, str) or reduced[0] is not copyreg.__newobj__ or len(reduced) < 3:  # type: ignore[attr-defined]
        return reduced
    make, arguments, state, *rest = reduced
    if type(state) is not dict or hasattr(type(value), "__setstate__"):
        return reduced
    first = {name: part for name, part in state.items() if type(part) in PLAIN}
    later = {name: part for name, part in state.items() if name not in first}
    if not first or not later:
        return reduced
    return make_with, (make, arguments, first), later, *rest


def make_with(make: Callable[..., Any], arguments: tuple[Any, ...], first: dict[str, Any]) -> Any:
    """Return an object that has its first attributes."""
    made = make(*arguments)
    vars(made).update(first)
    return made


class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler with `REDUCERS`; what loads its pickles needs nothing of ours."""

    def reducer_override(self, obj: Any) -> Any:
        reduce = REDUCERS.get(type(obj))
        return super().reducer_override(obj) if reduce is None else reduce(obj)


class Pickler(CodePickler):
    """Pickles whatever a task returns or raises."""

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        reduce = array_reducer(kind) or reducer_of_hashed(kind)
        if reduce is not None:
            return reduce(obj)
        if kind is LRU_CACHE and by_value(obj):
            return reduce_lru_cache(obj)
        reduced = super().reducer_override(obj)
        is_class = issubclass(kind, type) and isinstance(reduced, tuple) and len(reduced) > 2
        return reduce_class(obj) if is_class else reduced


def dumps(value: Any, pickler: type[CodePickler] = Pickler) -> bytes:
    """Return `value` pickled."""
    file = io.BytesIO()
    pickler(file, PROTOCOL).dump(value)
    return file.getvalue()
