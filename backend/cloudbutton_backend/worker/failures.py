"""Turns an exception into something that surely travels."""

from __future__ import annotations

import linecache
import pickle
import reprlib
import traceback
from types import TracebackType
from typing import Any, NamedTuple, TypedDict

from cloudbutton_backend.worker.pickling import dumps

PackedFrame = tuple[str, str, int, str, int]
"""A `TracebackFrame` as it travels."""


class TracebackFrame(NamedTuple):
    """A line of a traceback."""

    file: str
    function: str
    line: int
    source: str
    """The text of that line."""
    first: int
    """The first line of the function."""


class PackedLink(TypedDict):
    """One exception of a chain."""

    relation: str
    """How the one before came of it: `cause` or `context`; empty for the first."""
    type: str
    message: str
    packed: bytes | None
    """A pickle from which one of its type can be built, if there is one."""
    frames: list[PackedFrame]


class _AnyPackedError(TypedDict):
    kind: str
    """exception | load (the function) | item (could not be read) | unsendable (result)"""
    item: str
    """What the user calls the item, or a repr of it."""


class PackedError(_AnyPackedError, total=False):
    """An item's error, as plain data."""

    links: list[PackedLink]
    """The exception and those it came of; missing where the result is unsendable."""
    type: str
    """Of an unsendable result."""
    reason: str
    """Why it is one."""


_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = 120
_CHAIN = 5


def short_repr(value: Any) -> str:
    """Return a bounded repr that never raises."""
    try:
        return _shortener.repr(value)[:200]
    except BaseException as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def _rebuild(
    kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    """Build an exception without calling its `__init__`, which may want other arguments."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _travels(value: Any) -> bool:
    try:
        pickle.loads(dumps(value))
    except BaseException:
        return False
    return True


def _pack(error: BaseException) -> bytes | None:
    """Return bytes from which an exception of the same type can surely be built, or None."""
    try:
        packed = dumps(error)
        if type(pickle.loads(packed)).__name__ == type(error).__name__:
            return packed
    except BaseException:  # an odd __init__, or something in it that cannot travel
        pass
    args = tuple(a if _travels(a) else short_repr(a) for a in error.args)
    state = {name: value for name, value in vars(error).items() if _travels(value)}
    try:
        packed = dumps((_rebuild, (type(error), args, state)))
        build, arguments = pickle.loads(packed)
        build(*arguments)
    except BaseException:
        return None
    return packed


def _frames(trace: TracebackType | None, skip: str) -> list[PackedFrame]:
    """Return the user's part of a traceback."""
    frames: list[PackedFrame] = []
    for frame, lineno in traceback.walk_tb(trace):
        code = frame.f_code
        if code.co_filename == skip:
            continue
        line = linecache.getline(code.co_filename, lineno, frame.f_globals).strip()
        frames.append((code.co_filename, code.co_name, lineno, line, code.co_firstlineno))
    return frames[:50] + frames[-50:] if len(frames) > 100 else frames


def describe(error: BaseException, item: Any, own_file: str) -> PackedError:
    """Return `error` as plain data: type, message, frames, its chain, and a pickle if it has one.

    Parameters
    ----------
    error
        What the user's code raised.
    item
        The item it was raised for; only its bounded repr is kept.
    own_file
        The file whose frames are ours and not shown.
    """
    links: list[PackedLink] = []
    seen: set[int] = set()
    relation = ""
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(links) < _CHAIN:
        seen.add(id(link))
        links.append(
            {
                "relation": relation,
                "type": type(link).__name__,
                "message": message_of(link),
                "packed": _pack(link),
                "frames": _frames(link.__traceback__, own_file),
            }
        )
        if link.__cause__ is not None:
            relation, link = "cause", link.__cause__
        elif link.__context__ is not None and not link.__suppress_context__:
            relation, link = "context", link.__context__
        else:
            link = None
    return {"kind": "exception", "item": short_repr(item), "links": links}


def not_sendable(value: Any, item: Any, reason: BaseException) -> PackedError:
    """Return the failure of an item whose result cannot be pickled."""
    return {
        "kind": "unsendable",
        "item": short_repr(item),
        "type": type(value).__name__,
        "reason": f"{type(reason).__name__}: {message_of(reason)}",
    }


def message_of(error: BaseException) -> str:
    """Return an exception's message, cut to 2,000 characters; making it may itself raise."""
    try:
        return str(error)[:2000]
    except BaseException:
        return "<its message could not be made>"
