"""How many connections this process may have at a time: each takes a file descriptor."""

from __future__ import annotations

import contextlib
from typing import Final

_OTHERS: Final = 256
"""Descriptors that the rest of a notebook's process may need beside."""
_EACH: Final = 2
"""For a call: its own connection, and one to storage for what is too large for it."""


def room_for(calls: int) -> int:
    """Return how many of so many calls may be under way at a time, having the system's limit raised.

    Systems give a process a few hundred or a thousand descriptors at first, and more when it asks.
    """
    try:
        import resource
    except ImportError:  # Windows, where connections are none
        return calls
    wanted = _EACH * calls + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return calls
    more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):  # the system has a limit of its own above that
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
        soft = more
    return max(1, min(calls, (soft - min(_OTHERS, soft // 2)) // _EACH))
