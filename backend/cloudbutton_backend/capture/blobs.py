"""Large captured values: recognised cheaply, pickled once, addressed by content."""

from __future__ import annotations

import pickle
import sys
from collections import deque
from collections.abc import Set
from types import FunctionType
from typing import Any, Final

import xxhash

from cloudbutton_backend.capture.pickling import Contents, ModulesFound, ReduceCall, dumps
from cloudbutton_backend.capture.user_modules import by_value
from cloudbutton_backend.worker.pool.protocol import Blob
from cloudbutton_backend.worker.wire import Buffer

_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict, deque})
_PLAIN: Final = _CONTAINERS | {str, bytes, bytearray}


def surely_large(value: Any, threshold: int) -> bool:
    """Return whether `value` will take more than `threshold` bytes, without pickling it.

    Looks at what the value says of itself, and one level into its attributes. False means "not
    known": `capture` measures what remains when the whole turns out to be large.
    """
    return _large(type(value), value, threshold) or (
        _has_attributes(value)
        and any(_large(type(part), part, threshold) for part in list(vars(value).values()))
    )


def _large(kind: type, value: Any, threshold: int) -> bool:
    if kind in _PLAIN:
        # In a container each element takes two bytes or more (None, True and False take one).
        return len(value) > (threshold // 2 if kind in _CONTAINERS else threshold)
    if kind.__module__ == "builtins":
        return False
    if hasattr(kind, "nbytes"):  # NumPy and what follows its ways
        return _number(value, "nbytes") > threshold
    if hasattr(kind, "memory_usage"):  # pandas; 8 bytes for each cell, objects more
        return 8 * _number(value, "size") > threshold
    return False


def _number(value: Any, attribute: str) -> int:
    try:
        number = getattr(value, attribute)
    except Exception:  # the user's property: not ours to report
        return 0
    try:
        return int(number)
    except (TypeError, ValueError):
        return 0


def _has_attributes(value: Any) -> bool:
    return type(value).__module__ != "builtins" and type(getattr(value, "__dict__", None)) is dict


def pickled_parts(value: Any) -> tuple[list[Buffer], Contents]:
    """Return the stream of `value` and its buffers, none of them copied; and what it needs."""
    kind = type(value)
    guess = kind not in _PLAIN and kind.__module__ != "numpy" and by_value(kind)
    return parts_of(
        ReduceCall(kind, pickle.PickleBuffer(value)) if kind in _BYTES else value, guess
    )


_BYTES: Final = frozenset({bytes, bytearray})


def parts_of(
    value: Any, has_modules: bool, known_classes: Set[str] = frozenset()
) -> tuple[list[Buffer], Contents]:
    """Pickle `value` with its buffers out of band, a second time if it holds user modules."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        stream, contents = dumps(
            value,
            has_modules=has_modules,
            buffer_callback=buffers.append,
            known_classes=known_classes,
        )
    except ModulesFound:
        return parts_of(value, True, known_classes)
    return [stream, *(buffer.raw() for buffer in buffers)], contents


def total(parts: list[Buffer]) -> int:
    """Return the bytes of all `parts`."""
    return sum(memoryview(part).nbytes for part in parts)


def make_blob(parts: list[Buffer]) -> Blob:
    """Return the blob of these parts: hashing is all it costs."""
    lengths = [memoryview(part).nbytes for part in parts]
    state = xxhash.xxh3_128(repr(lengths).encode())
    for part in parts:
        state.update(part)
    return Blob(state.hexdigest(), sum(lengths), tuple(parts))


def rough_size(value: Any) -> int:
    """Return about how many bytes `value` takes, from a glance at most at its first elements."""
    try:
        return _rough_size(value)
    except Exception:  # a `__sizeof__` or `__iter__` of the user's that fails: not our business
        return 0


def _rough_size(value: Any) -> int:
    kind = type(value)
    if kind in (int, float, bool, type(None), complex):
        return 9
    if kind in (str, bytes, bytearray):
        return len(value) + 4
    if kind in _CONTAINERS:
        return _rough_container(value)
    if kind is FunctionType:
        code = value.__code__
        return len(code.co_code) + sum(len(name) for name in code.co_names) + 300
    if kind.__module__ != "builtins" and hasattr(kind, "nbytes"):
        return _number(value, "nbytes") + 150
    if _has_attributes(value):
        return 60 + _rough_container(vars(value))
    return sys.getsizeof(value)


def _rough_container(value: Any) -> int:
    sample = []
    for element in value.items() if type(value) is dict else value:
        sample.append(element)
        if len(sample) == 8:
            break
    if not sample:
        return 4
    flat = [part for element in sample for part in (element if type(value) is dict else (element,))]
    each = sum(
        _rough_size(part) if type(part) not in _CONTAINERS else sys.getsizeof(part) for part in flat
    )
    return 4 + each * len(value) // len(sample)
