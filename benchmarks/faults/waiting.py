"""Waiting at the edge of real processes, never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 90.0
"""Seconds after which what should happen counts as never happening."""


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait at a real process's edge.

    Raises
    ------
    TimeoutError
        If it has not come true in time.
    """
    limit = time.monotonic() + patience
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"in {patience:g} s it never came true that {what}")
        time.sleep(0.001)
