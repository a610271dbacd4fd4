"""Types whose values never change, so that a value and its copy are the same.

Types of modules that may not be loaded are named, not imported: a value of theirs means that the module is.
"""

from __future__ import annotations

import enum
import re
import sys
import types
from typing import Any, Final
from weakref import WeakKeyDictionary

PLAIN: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Exactly these, no subclasses: nothing can go wrong with pickling, comparing or hashing their values."""

_IMMUTABLE: Final = (
    *PLAIN, range, slice, types.EllipsisType, types.NotImplementedType, types.BuiltinFunctionType,
    types.ModuleType, re.Pattern, re.Match, enum.Enum,
)  # fmt: skip
_NAMED: Final = (
    ("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID"), ("pathlib", "PurePath"),
    ("datetime", "date"), ("datetime", "time"), ("datetime", "timedelta"), ("datetime", "tzinfo"),
    ("numpy", "generic"), ("numpy", "dtype"), ("numpy", "ufunc"),
)  # fmt: skip

_verdicts: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def is_atom(value: Any) -> bool:
    """Return whether `value` can never change, nor anything inside it."""
    return is_atomic(type(value))


def is_atomic(kind: type) -> bool:
    """Return whether the values of a type can never change."""
    if kind in PLAIN:
        return True
    try:
        return _verdicts[kind]
    except KeyError:
        is_record = issubclass(kind, _loaded((("numpy", "void"),)))  # which can be assigned to
        verdict = issubclass(kind, (*_IMMUTABLE, *_loaded(_NAMED))) and not is_record
        _verdicts[kind] = verdict
        return verdict


def _loaded(names: tuple[tuple[str, str], ...]) -> tuple[type, ...]:
    found = (getattr(sys.modules.get(module), name, None) for module, name in names)
    return tuple(kind for kind in found if isinstance(kind, type))
