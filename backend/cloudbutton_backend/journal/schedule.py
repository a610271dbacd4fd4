"""When the journal's thread does what: a pure timetable."""

from __future__ import annotations

from typing import Final

#: Seconds that entries gather before a transaction.
GATHER: Final = 0.1
#: Seconds between two looks at the commands while a job runs: a Cancel acts within a second.
POLL: Final = 0.2
#: The same for a process that only has finished jobs, for "retry".
IDLE_POLL: Final = 1.0
#: Seconds between two heartbeats of live jobs; readers get suspicious after ten.
BEAT: Final = 2.0


class WriteSchedule:
    """Tells what is due at a time, and how long nothing will be. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._next_beat = 0.0
        self._next_poll = 0.0

    def beat_is_due(self, now: float, *, live: bool) -> bool:
        """Whether live jobs need a heartbeat now; if so, the next one is planned."""
        if not live:
            self._next_beat = now + BEAT  # a job that begins has its first one in its row
            return False
        if now < self._next_beat:
            return False
        self._next_beat = now + BEAT
        return True

    def poll_is_due(self, now: float, *, live: bool) -> bool:
        """Whether to look for commands now; if so, the next look is planned."""
        if now < self._next_poll:
            return False
        self._next_poll = now + (POLL if live else IDLE_POLL)
        return True

    def wait(self, now: float, *, live: bool, listening: bool) -> float | None:
        """Return the seconds until something is due; None when nothing ever is."""
        times = [self._next_beat] * live + [self._next_poll] * listening
        return max(0.0, min(times) - now) if times else None
