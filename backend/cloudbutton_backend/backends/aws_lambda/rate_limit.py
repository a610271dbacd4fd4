"""Limits the invocations under way, and schedules retries of refused ones. Pure.

AWS refuses what exceeds the account's concurrency, or the speed at which it grows. The window closes
by a part when that happens, and opens by a little with each answer: as TCP does, and for the same
reason (how much room there is is unknown, and others want some, too).
"""

from __future__ import annotations

import random
from typing import Final

_CUT: Final = 0.7
_CUT_PAUSE: Final = 0.5
"""Seconds in which refusals count as one: they were all on their way when the window closed."""
_GROWTH: Final = 4.0
"""By how much the window grows while as many answers come as it is wide."""
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 5.0


class AimdLimiter:
    """The number of invocations that may be under way.

    Parameters
    ----------
    most
        Never more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = float(most)
        self._cut_at = float("-inf")
        self.under_way = 0

    def __repr__(self) -> str:
        return f"<Window: {self.under_way} of {self.size} under way, at most {self._most}>"

    @property
    def size(self) -> int:
        return max(1, int(self._size))

    @property
    def is_open(self) -> bool:
        return self.under_way < self.size

    def widen(self, most: int) -> None:
        """Raise the upper limit."""
        if most > self._most:
            self._size = max(self._size, float(most)) if self._size >= self._most else self._size
            self._most = most

    def refused(self, now: float) -> None:
        """Record that an invocation was refused because too many are under way."""
        if now - self._cut_at >= _CUT_PAUSE:
            self._cut_at = now
            self._size = max(1.0, min(self._size, self.under_way) * _CUT)

    def answered(self) -> None:
        """Record that an invocation was accepted."""
        self._size = min(float(self._most), self._size + _GROWTH / max(1.0, self._size))


class OutageTimer:
    """Tells when nothing has succeeded for so long that it is time to give up.

    Parameters
    ----------
    patience
        Seconds for which everything may be refused.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._since: float | None = None
        self.reason = ""

    def failed(self, now: float, reason: str) -> bool:
        """Record a failure; return whether it is time to give up."""
        self.reason = reason
        if self._since is None:
            self._since = now
        return now - self._since >= self.patience

    def succeeded(self) -> None:
        """Record that something succeeded or is under way."""
        self._since = None


def delay(attempt: int, chance: random.Random) -> float:
    """Return how long to wait before a refused request is repeated, the first time `attempt` being 0."""
    return chance.uniform(0.5, 1.0) * min(_LONGEST_DELAY, _FIRST_DELAY * 2.0**attempt)
