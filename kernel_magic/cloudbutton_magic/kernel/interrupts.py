"""Sees to it that Ctrl-C (■) leaves no job of the interrupted cell running.

The cell that waits for a job cancels it itself. But an interrupt may land at any moment: after a job
has begun and before the wait has, or between two waits. What it missed is cancelled when the cell
has ended.
"""

from __future__ import annotations

import time
from typing import Any, Final

from cloudbutton_backend.session import session

CANCEL_WITHIN: Final = 0.5
"""Seconds to wait for the end of the jobs; the cell must end within one second."""


class InterruptHook:
    """Hooked to a shell's cells; cancels the jobs that an interrupted cell has started."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._before: frozenset[str] = frozenset()

    def start(self) -> None:
        """Listen to the shell."""
        self._shell.events.register("pre_run_cell", self.before_cell)
        self._shell.events.register("post_run_cell", self.after_cell)

    def stop(self) -> None:
        """Listen no longer."""
        for event, callback in (
            ("pre_run_cell", self.before_cell),
            ("post_run_cell", self.after_cell),
        ):
            if callback in self._shell.events.callbacks[event]:
                self._shell.events.unregister(event, callback)

    def before_cell(self, _info: Any = None) -> None:
        """Remember which jobs are not the cell's own."""
        self._before = frozenset(job.id for job in session.current().jobs())

    def after_cell(self, result: Any = None) -> None:
        """Cancel the cell's own jobs if it was interrupted."""
        if not isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt):
            return
        running = [
            job
            for job in session.current().jobs()
            if job.id not in self._before and not job.state.is_final
        ]
        for job in running:
            job.cancel()
        until = time.monotonic() + CANCEL_WITHIN
        for job in running:
            job.wait(max(0.0, until - time.monotonic()))
