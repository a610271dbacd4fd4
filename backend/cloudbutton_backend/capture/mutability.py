"""Whether a captured value can be changed in place, so that a guard should watch it."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Final

from cloudbutton_backend.worker.atoms import is_atom

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
    if is_atom(value) or isinstance(value, (type, types.FunctionType)):
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
