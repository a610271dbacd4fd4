"""Notices that work is handed out which nobody does: a fault of ours, never to be waited for. Pure."""

from __future__ import annotations

from typing import Final

LOOK_EVERY: Final = 0.25
"""Seconds between two looks, while nothing is heard."""
STALLED_AFTER: Final = 1.0
"""Seconds for which nothing must be under way …"""
_LEAST_LOOKS: Final = 4
"""… and looks at which nothing was: this process may have been stopped for those seconds."""
_MOST_REPAIRS: Final = 3
"""After so many in a row nothing is expected of another one."""


class Watchdog:
    """Looks now and then whether what was handed out is under way."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._looks = self._repairs = 0

    def hear(self, *, is_result: bool) -> None:
        """Something has happened."""
        self._since, self._looks = None, 0
        if is_result:
            self._repairs = 0

    def is_stalled(self, now: float, *, is_under_way: bool) -> bool:
        """Take note of one look; return whether it is time to repair."""
        if is_under_way:
            self._since, self._looks = None, 0
            return False
        self._since = now if self._since is None else self._since
        self._looks += 1
        if now - self._since < STALLED_AFTER or self._looks < _LEAST_LOOKS:
            return False
        self._since, self._looks = None, 0
        self._repairs += 1
        return True

    @property
    def is_hopeless(self) -> bool:
        """Whether it was repaired again and again, and nothing came of it."""
        return self._repairs > _MOST_REPAIRS
