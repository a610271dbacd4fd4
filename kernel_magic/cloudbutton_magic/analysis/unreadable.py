"""Objects that raise when they are looked at: the loop that uses one runs here, and the reason names it.

Analysis, checks and capture look at live objects in many ways: their class, attributes, hash, equality,
items. Each of these may run the user's code or a library's, and that may raise. The plain cell never asked,
so nothing of it may reach the user as an error: `stays_here` turns it into a verdict.
"""

from __future__ import annotations

import types
from collections.abc import Iterable

from cloudbutton_magic.analysis.namespace import UNKNOWN, LiveNames
from cloudbutton_magic.analysis.verdict import NotIndependent, Reason


def stays_here(
    error: BaseException, line: int, names: Iterable[str], live: LiveNames
) -> NotIndependent:
    """Return the verdict on a loop whose objects could not be looked at.

    Parameters
    ----------
    error
        What looking at them raised.
    line
        The loop's.
    names
        The names that the loop uses.
    live
        The namespace, to find out which of the names stands for the object that raised.

    Raises
    ------
    KeyboardInterrupt
        `error` is one: that is the user's wish, not the object's.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    asked = _objects_asked(error.__traceback__)
    name = next((name for name in sorted(names) if id(live.get(name)) in asked), "")
    if not name:
        name = next((kind for kind in asked.values() if kind), "")
    what = f"`{name}`" if name else "an object"
    detail = f"uses {what}, which raised {type(error).__name__} when the button looked at it"
    return NotIndependent(Reason.UNSUPPORTED, line, name, detail)


def _objects_asked(traceback: types.TracebackType | None) -> dict[int, str]:
    """Return the first arguments of the calls under way, the innermost first: class names by id."""
    asked: dict[int, str] = {}
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        code = frame.f_code
        if code.co_argcount and not frame.f_globals.get("__name__", "").startswith("cloudbutton_"):
            value = frame.f_locals.get(code.co_varnames[0], UNKNOWN)
            asked = {id(value): type(value).__name__} | asked
    return asked
