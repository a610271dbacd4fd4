"""Finds which captured value stopped the pickling, and the way to it. Runs after a failure only."""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from cloudbutton_backend.capture.closure import closure_of
from cloudbutton_backend.capture.pickling import Contents, ValuePickler
from cloudbutton_backend.capture.unpicklable import (
    CannotTravel,
    NotPicklable,
    RefusedObject,
    TooDeep,
    describe,
    refusal,
)
from cloudbutton_backend.capture.user_modules import by_value
from cloudbutton_backend.errors import CaptureError
from cloudbutton_backend.worker.atoms import PLAIN
from cloudbutton_backend.worker.failures import message_of

#: Looking for the culprit stops here and names what is known by then.
_SECONDS: Final = 2.0
_OBJECTS: Final = 200_000

Named = tuple[str, Any]


def diagnose(roots: Iterable[Named], error: BaseException) -> CaptureError:
    """Return the error to raise for `error`, which pickling the values in `roots` ended with."""
    named = list(roots)
    deadline = time.monotonic() + _SECONDS
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        path, value = _first_failing(named, deadline) or (named[0] if named else ("?", None))
        return TooDeep(path, type(value).__name__, sys.getrecursionlimit())
    target = error.value if isinstance(error, RefusedObject) else None
    found = _search(named, target, deadline)
    if found is not None:
        path, value = found
        why = refusal(value)
        if why is not None:
            return CannotTravel(path, describe(value, why), why.advice)
    if isinstance(error, RefusedObject):  # out of reach of the search: too far, or in a C object
        whole = _first_failing(named, time.monotonic() + _SECONDS)
        path = f"something inside {whole[0]}" if whole else "a captured value"
        return CannotTravel(path, describe(error.value, error.refusal), error.refusal.advice)
    return _unpicklable(named, error, deadline)


def roots_of(function: Any) -> list[Named]:
    """Return the values `function` holds by name, for `diagnose`."""
    name = getattr(function, "__name__", type(function).__name__)
    return [*((held.name, held.value) for held in closure_of(function).held), (name, function)]


def _search(roots: list[Named], target: object, deadline: float) -> Named | None:
    """Return the nearest refused object: `target`, or any when there is none; breadth first."""
    queue = deque(roots)
    seen: dict[int, Any] = {}
    while queue and len(seen) < _OBJECTS and time.monotonic() < deadline:
        path, value = queue.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value  # held, so that the id stays its own
        if value is target if target is not None else _is_refused(value):
            return path, value
        queue.extend(islice(_children(path, value), _OBJECTS))
    return None


def _unpicklable(roots: list[Named], error: BaseException, deadline: float) -> CaptureError:
    """Follow the failure down: a part that fails alone is nearer to the cause than its whole."""
    culprit = _first_failing(roots, deadline)
    if culprit is None:
        path, value = roots[-1] if roots else ("?", None)
        return NotPicklable(path, type(value).__name__, _reason(error))
    seen = {id(culprit[1])}
    while True:
        children = islice(_children(*culprit), _OBJECTS)
        parts = [part for part in children if id(part[1]) not in seen]
        seen.update(id(value) for _, value in parts)
        nearer = _first_failing(parts, deadline)
        if nearer is None:
            break
        culprit = nearer
    path, value = culprit
    return NotPicklable(path, type(value).__name__, _reason(_attempt(value) or error))


def _first_failing(parts: Iterable[Named], deadline: float) -> Named | None:
    for path, value in parts:
        if time.monotonic() > deadline:
            return None
        if type(value) not in PLAIN and _attempt(value) is not None:
            return path, value
    return None


class _Nowhere(io.BytesIO):
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def _attempt(value: Any) -> BaseException | None:
    """Return what pickling `value` fails with, or None."""
    buffers: list[pickle.PickleBuffer] = []  # out of band: they are not the problem
    pickler = ValuePickler(_Nowhere(), Contents(), buffers.append)
    try:
        pickler.dump(value)
    except (Exception, SystemExit) as error:
        return error
    finally:
        pickler.release()
    return None


def _reason(error: BaseException) -> str:
    text = message_of(error).strip().rstrip(".") or type(error).__name__
    return (
        text
        if isinstance(error, (TypeError, pickle.PicklingError))
        else (f"{type(error).__name__}: {text}")
    )


def _children(path: str, value: Any) -> Iterator[Named]:
    """Yield the objects that pickling `value` visits next; none of an object that raises when inspected."""
    with contextlib.suppress(Exception, SystemExit):
        yield from _parts(path, value)


def _parts(path: str, value: Any) -> Iterator[Named]:
    """Yield the objects that pickling `value` visits next, each with the expression that reaches it."""
    kind = type(value)
    if kind in PLAIN or isinstance(value, ModuleType):
        return
    if isinstance(value, dict):
        for key, part in list(value.items()):
            if type(part) not in PLAIN:
                yield f"{path}[{_short(key)}]", part
        for key in list(value):
            if type(key) not in PLAIN:
                yield f"a key of {path}", key
    elif isinstance(value, (list, tuple, deque)):
        for i, part in enumerate(list(value)):
            if type(part) not in PLAIN:
                yield f"{path}[{i}]", part
    elif isinstance(value, (set, frozenset)):
        for part in list(value):
            yield f"an element of {path}", part
    elif isinstance(value, functools.partial):
        yield f"{path}.func", value.func
        for i, part in enumerate(value.args):
            yield f"{path}.args[{i}]", part
        for key, part in value.keywords.items():
            yield f"{path}.keywords[{_short(key)}]", part
    elif isinstance(value, MethodType):
        yield f"{path}.__self__", value.__self__
    elif isinstance(value, FunctionType):
        if by_value(value):
            for held in closure_of(value).held:
                yield f"{held.name} (used by {path})", held.value
        return
    elif isinstance(value, type):
        if by_value(value):
            for name, part in list(vars(value).items()):
                if not name.startswith("__"):
                    yield f"{path}.{name}", part
        return
    if kind.__module__ != "builtins":
        yield from _state(path, value)


def _state(path: str, value: Any) -> Iterator[Named]:
    """Yield the attributes of an instance that its pickle holds."""
    kind = type(value)
    custom = getattr(kind, "__getstate__", None)
    if custom is not None and custom is not getattr(object, "__getstate__", None):
        yield from _state_parts(path, _quietly(value.__getstate__))
        return
    if _reduces_itself(kind):
        reduced = _quietly(lambda: value.__reduce_ex__(5))
        if isinstance(reduced, tuple):
            for part in reduced[1:2]:
                yield from ((path, argument) for argument in part or ())
            yield from _state_parts(path, reduced[2] if len(reduced) > 2 else None)
            return
    yield from _state_parts(path, getattr(value, "__dict__", None))
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield f"{path}.{name}", getattr(value, name)


def _reduces_itself(kind: type) -> bool:
    names = ("__reduce_ex__", "__reduce__")
    return not issubclass(kind, BaseException) and any(
        getattr(kind, name) is not getattr(object, name) for name in names
    )


def _state_parts(path: str, state: Any) -> Iterator[Named]:
    if isinstance(state, dict):
        for name, part in list(state.items()):
            yield f"{path}.{name}", part
    elif (
        isinstance(state, tuple)
        and len(state) == 2
        and all(part is None or isinstance(part, dict) for part in state)
    ):
        for part in state:
            yield from _state_parts(path, part)
    elif state is not None:
        yield path, state


def _quietly(function: Any) -> Any:
    try:
        return function()
    except (Exception, SystemExit):  # the failure itself is found by pickling the object
        return None


def _is_refused(value: Any) -> bool:
    return _quietly(functools.partial(refusal, value)) is not None


def _short(key: object) -> str:
    text = (
        repr(key) if isinstance(key, (str, int, float, tuple, bytes)) else f"<{type(key).__name__}>"
    )
    return text if len(text) <= 40 else text[:37] + "…"
