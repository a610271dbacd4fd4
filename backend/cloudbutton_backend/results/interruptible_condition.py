"""Waiting for a change in a way that Ctrl-C can end at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable


class InterruptibleCondition:
    """Wakes those who wait for a change.

    Unlike with a `threading.Condition`, whoever waits holds no lock that whoever rings needs: an
    interrupt that lands while one is being taken or given back would leave it locked for ever.
    """

    def __init__(self) -> None:
        self._waiting: list[threading.Lock] = []

    def ring(self) -> None:
        """Wake all who wait. What they wait for must have been changed before."""
        waiting, self._waiting = self._waiting, []
        for sleeper in waiting:
            sleeper.release()

    def wait(self, is_over: Callable[[], bool], timeout: float) -> None:
        """Wait until the bell rings, `is_over` holds already or `timeout` seconds have passed."""
        sleeper = threading.Lock()
        sleeper.acquire(blocking=False)
        self._waiting.append(sleeper)
        # Only now: a bell that rang before this one waits would not wake it.
        if not is_over():
            sleeper.acquire(timeout=timeout)
