"""What the user has put into libraries and code finds there: functions, methods, accessors, codecs."""

from __future__ import annotations

import encodings
import functools
import gc
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Final

from cloudbutton_backend.capture.pickling import Contents, ReduceCall
from cloudbutton_backend.capture.user_modules import user_module, users_code
from cloudbutton_backend.worker.process_state import CODECS, REPLACED, Replacement, extend_state

_EXTENDED: Final = {
    "pandas": ("DataFrame", "Series", "Index"),
    "xarray": ("Dataset", "DataArray"),
}
"""Classes whose instances the code may be given without naming them, and that are made to be extended."""
_DECODING: Final = frozenset({"decode", "encode", "open", "read_text", "write_text"})


def state_in_libraries(*contents: Contents) -> dict[str, Any]:
    """Return what the code in these pickles finds in libraries, as a part of the process's state."""
    found = {REPLACED: _replacements(contents), CODECS: _codec_searches(contents)}
    return {name: value for name, value in found.items() if value}


def bringing(value: Any, *contents: Contents) -> Any:
    """Return what, pickled in the place of `value`, puts into libraries there what its code finds here."""
    state = state_in_libraries(*contents) if any(each.names for each in contents) else {}
    if not state:
        return value
    return ReduceCall(operator.getitem, (ReduceCall(extend_state, state), value), 1)


def _replacements(contents: Iterable[Contents]) -> list[Replacement]:
    """Return what the code names and the user has set as attributes of libraries and their classes."""
    names: set[str] = set().union(*(each.names for each in contents))
    classes: set[type] = set().union(*(each.foreign_classes for each in contents))
    modules = dict(_modules({*(name for each in contents for name in each.foreign_modules)}, names))
    found = []
    for module_name, module in modules.items():
        space = vars(module)
        found += [
            Replacement(module_name, "", name, space[name])
            for name in names & space.keys()
            if users_code(space[name])
        ]
        classes.update(_changeable(module_name, len(space)))
    for library, extended in _EXTENDED.items():
        if library in sys.modules:
            classes.update(
                found_class
                for name in extended
                if (found_class := getattr(sys.modules[library], name, None)) is not None
            )
    for each in classes:
        own = each.__dict__
        found += [
            Replacement(each.__module__, each.__qualname__, name, own[name])
            for name in names
            if name in own and users_code(own[name])
        ]
    return sorted(set(found), key=lambda each: each[:3])


@functools.cache
def _changeable(module: str, _size: int) -> tuple[type, ...]:
    """Return the classes of a module of this size that attributes can be set on."""
    found = [value for value in vars(sys.modules[module]).values() if isinstance(value, type)]
    return tuple(each for each in found if each.__flags__ & _IN_PYTHON == _HEAP)


_HEAP: Final = 1 << 9
_IN_PYTHON: Final = _HEAP | 1 << 8
"""Of a type's flags: made by a `class` statement, or by compiled code that lets nobody change it."""


def _modules(wanted: set[str], names: set[str]) -> Iterator[tuple[str, ModuleType]]:
    """Yield installed modules, and those inside them that the code names."""
    stack = [*wanted, "builtins"]
    while stack:
        name = stack.pop()
        module = sys.modules.get(name)
        if type(module) is ModuleType and not user_module(module):
            yield name, module
            if hasattr(module, "__path__"):
                stack += [f"{name}.{inner}" for inner in names if f"{name}.{inner}" in sys.modules]


def _codec_searches(contents: Iterable[Contents]) -> list[Callable[[str], Any]]:
    """Return what the user gave to `codecs.register`, if the code reads or writes text."""
    if all(_DECODING.isdisjoint(each.names) for each in contents):
        return []
    return [search for search in _search_path() if users_code(search)]


@functools.cache
def _search_path() -> list[Any]:
    """Return the interpreter's own list of them, which has no other name; it is the one with Python's own."""
    for found in gc.get_referrers(encodings.search_function):
        if type(found) is list and found[0] is encodings.search_function:
            return found
    return []
