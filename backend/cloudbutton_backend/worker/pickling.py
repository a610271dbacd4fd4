"""Pickles code together with where it was written, whichever cloudpickle there is.

Tracebacks show the user's lines by the file name and the line numbers of code objects. cloudpickle
3.1.3 gives all code that it pickles the file name ``<dynamic-code>``; so code objects, nested ones
included, are reduced here, to the arguments of their constructor. What loads such a pickle needs nothing
of this package, and may have another cloudpickle.

Cached properties hold a lock before Python 3.12, which nothing can pickle.
"""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, Final

import cloudpickle

from cloudbutton_backend.worker.array_layout import array_reducer

PROTOCOL: Final = 5

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


REDUCERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    CodeType: reduce_code,
    functools.cached_property: reduce_cached_property,
}
"""How to reduce what cloudpickle reduces otherwise, or not at all."""


def reducer_of(kind: type) -> Callable[[Any], Any] | None:
    """Return how to reduce instances of `kind`; None if cloudpickle knows."""
    return REDUCERS.get(kind) or array_reducer(kind)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler with `REDUCERS`."""

    def reducer_override(self, obj: Any) -> Any:
        reduce = reducer_of(type(obj))
        return super().reducer_override(obj) if reduce is None else reduce(obj)


def dumps(value: Any) -> bytes:
    """Return `value` pickled."""
    file = io.BytesIO()
    Pickler(file, PROTOCOL).dump(value)
    return file.getvalue()
