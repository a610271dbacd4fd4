"""Whether two live values are connected: one inside the other, or in the same memory."""

from __future__ import annotations

import sys
import types
from typing import Any

from cloudbutton_magic.analysis import type_facts


def shares_memory(one: object, other: object) -> bool:
    """Tell whether writing to `one` may show in `other` because of common memory."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    return any(
        numpy.may_share_memory(mine, theirs) for mine in _arrays(one) for theirs in _arrays(other)
    ) and not (_is_frame(one) and _is_frame(other) and _frames_copy_on_write())


def _arrays(value: object) -> list[Any]:
    """Return the arrays that hold the content of an array, a series or a frame."""
    if isinstance(value, sys.modules["numpy"].ndarray):
        return [value]
    if _is_frame(value):
        blocks = getattr(getattr(value, "_mgr", None), "blocks", ())
        held = [getattr(block, "values", None) for block in blocks]
        return [array for array in held if isinstance(array, sys.modules["numpy"].ndarray)]
    return []


def _is_frame(value: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series))


def _frames_copy_on_write() -> bool:
    return int(sys.modules["pandas"].__version__.partition(".")[0]) >= 3


def reaches(start: object, wanted: object, limit: int = 20_000) -> bool:
    """Tell whether `wanted` is inside the containers and objects reached from `start`."""
    if not isinstance(wanted, (list, dict, set, bytearray)) and not hasattr(wanted, "__dict__"):
        return False
    stack, seen = [start], set[int]()
    while stack and len(seen) < limit:
        value = stack.pop()
        if value is wanted:
            return True
        if id(value) in seen or isinstance(value, (*type_facts.ATOMS, type)):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            stack.extend(value)
        elif isinstance(value, types.FunctionType):
            continue
        elif type(value).__module__.partition(".")[0] not in ("pandas", "numpy", "sklearn"):
            stack.extend(getattr(value, "__dict__", {}).values())
    return False
