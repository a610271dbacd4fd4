"""Whether a captured value can be changed in place, so that a guard should watch it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import types
import uuid
from typing import Any, Final

_ATOMS: Final = (
    *(int, float, complex, str, bytes, type(None), type(Ellipsis), range, slice),
    *(decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath, re.Pattern, enum.Enum),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo),
    *(type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType),
)
#: Elements looked at before a long tuple is taken to be mutable; nesting likewise.
_MANY: Final = 100
_DEPTH: Final = 4


def is_mutable(value: Any) -> bool:
    """Return whether `value` may be changed in place; in doubt, True."""
    try:
        return _is_mutable(value, 0)
    except Exception:  # the user's attributes may do anything; asking must not fail a capture
        return True


def _is_mutable(value: Any, depth: int) -> bool:
    if isinstance(value, _ATOMS):
        return False
    if depth > _DEPTH:
        return True
    if isinstance(value, (tuple, frozenset)):
        return len(value) > _MANY or any(_is_mutable(part, depth + 1) for part in value)
    flags = getattr(value, "flags", None)
    if flags is not None and hasattr(flags, "writeable"):  # a NumPy array
        return bool(flags.writeable)
    parameters = getattr(type(value), "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        return any(
            _is_mutable(getattr(value, field.name, None), depth + 1)
            for field in dataclasses.fields(value)
        )
    module = type(value).__module__
    # NumPy's scalars are immutable, whatever they are called.
    return not (module == "numpy" and hasattr(value, "dtype") and flags is not None)
