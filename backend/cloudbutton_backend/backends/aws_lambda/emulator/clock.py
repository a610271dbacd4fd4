"""The emulator's clock: real time, which a test may push forward."""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import time
from collections.abc import Callable


class EmulatorClock:
    """The clock of retries, expiry and scaling; not of running code."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._count = itertools.count()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        return time.monotonic() + self._offset

    def call_at(self, when: float, action: Callable[[], None]) -> None:
        """Run `action` once the clock shows `when`."""
        heapq.heappush(self._alarms, (when, next(self._count), action))
        self._arm()

    async def sleep(self, seconds: float) -> None:
        """Wait until `seconds` have gone by on this clock."""
        done = asyncio.get_running_loop().create_future()
        self.call_at(self.now() + seconds, functools.partial(wake, done))
        await done  # ends: with the alarm, which an event loop rings

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self._offset += seconds
        self._ring()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._alarms:
            delay = max(0.0, self._alarms[0][0] - self.now())
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        due = []
        now = self.now()
        while self._alarms and self._alarms[0][0] <= now:
            due.append(heapq.heappop(self._alarms)[2])
        self._arm()
        for action in due:
            action()


def wake(waiter: asyncio.Future[None]) -> None:
    """Wake the task that awaits `waiter`, if it still does."""
    if not waiter.done():
        waiter.set_result(None)
