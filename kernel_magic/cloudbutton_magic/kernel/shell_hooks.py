"""Hook into an IPython shell's cells: warm workers up, and cancel what an interrupted cell leaves running."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from cloudbutton_backend.capture import user_module
from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.session import session
from cloudbutton_backend.settings import resolve

CANCEL_WITHIN: Final = 0.5
"""Seconds to wait for the end of the jobs; the cell must end within one second."""


class ShellHook:
    """Base of our hooks: registers callbacks with a shell's events, and takes them back."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def callbacks(self) -> Mapping[str, Callable[..., None]]:
        """Return what to call, by the names of IPython's events."""
        return {}

    def register(self) -> None:
        """Register the callbacks. Safe to repeat."""
        for event, callback in self.callbacks().items():
            if callback not in self._shell.events.callbacks[event]:
                self._shell.events.register(event, callback)

    def unregister(self) -> None:
        """Take the callbacks back. Safe to repeat."""
        for event, callback in self.callbacks().items():
            if callback in self._shell.events.callbacks[event]:
                self._shell.events.unregister(event, callback)


class WarmUpHook(ShellHook):
    """Starts workers between cells, and tells the session of each new import once."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._told: set[str] = set()

    def callbacks(self) -> Mapping[str, Callable[..., None]]:
        return {"post_run_cell": self.after_cell}

    def register(self) -> None:
        """Start workers in the background, unless the settings say otherwise.

        The first cell that needs the settings reports what is wrong with them; it may be fixed by then.
        """
        with contextlib.suppress(CloudError):
            if resolve().prewarm:
                session.current().warm_up()
                super().register()

    def after_cell(self, result: Any = None) -> None:
        """Make workers import what the cell has imported."""
        new = imported_packages(self._shell.user_ns) - self._told
        if new:
            self._told |= new
            session.current().warm_imports(sorted(new))


def imported_packages(namespace: Mapping[str, Any]) -> set[str]:
    """Return the modules that a notebook's names come from, of installed packages only.

    The notebook's own modules may change under the user's hands, so they travel by value and are
    not imported ahead; the standard library costs next to nothing.
    """
    found = set()
    for name, value in list(namespace.items()):
        if name.startswith("_"):
            continue
        try:
            if isinstance(value, ModuleType):
                module_name: Any = value.__name__
            elif isinstance(value, type) or callable(value):
                module_name = getattr(value, "__module__", None)
            else:
                continue
        except (Exception, SystemExit):  # what cannot be looked at imports nothing
            continue
        if isinstance(module_name, str) and _is_worth_importing(module_name):
            found.add(module_name)
    return found


def _is_worth_importing(name: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top.startswith(("cloudbutton_", "IPython")):
        return False
    module = sys.modules.get(name)
    return module is not None and top != "__main__" and not user_module(module)


class InterruptHook(ShellHook):
    """Cancels the jobs of a cell that Ctrl-C (■) interrupts.

    The cell that waits for a job cancels it itself. But an interrupt may land at any moment: after a
    job has begun and before the wait has, or between two waits. This hook cancels what that missed
    when the cell has ended.
    """

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._before: frozenset[str] = frozenset()

    def callbacks(self) -> Mapping[str, Callable[..., None]]:
        return {"pre_run_cell": self.before_cell, "post_run_cell": self.after_cell}

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
