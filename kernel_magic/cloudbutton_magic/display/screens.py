"""Where a view is drawn: a notebook's output, a terminal's line, or a log."""

from __future__ import annotations

import shutil
import sys
from typing import Any, Protocol, TextIO

from cloudbutton_backend.job_model.timeline import Timeline
from cloudbutton_magic.display.cancel_button import cancel_button, kernel_id
from cloudbutton_magic.display.html import html_of
from cloudbutton_magic.display.text import terminal_line, text_of
from cloudbutton_magic.display.view_model import View


class Screen(Protocol):
    """Something a view can be drawn on, again and again."""

    def draw(self, view: View) -> None:
        """Show `view` instead of the one before."""

    def clear(self) -> None:
        """Make way for printed output."""

    def close(self, view: View, timeline: Timeline | None) -> None:
        """Show the final view, which stays."""


class NotebookScreen:
    """One output of the cell for each job, updated in place; HTML with its plain twin."""

    def __init__(self, cancel: str = "") -> None:
        self._handle: Any = None
        self._job_id: str | None = None
        self._cancel = cancel

    def draw(self, view: View) -> None:
        self._show(view.job_id, text_of(view), html_of(view, cancel=self._cancel))

    def clear(self) -> None:
        """Printed output goes below; nothing is in its way."""

    def close(self, view: View, timeline: Timeline | None) -> None:
        self._show(view.job_id, text_of(view), html_of(view, timeline))

    def _show(self, job_id: str, text: str, html: str) -> None:
        bundle = {"text/plain": text, "text/html": html}
        # A cell's next job leaves the summary of the one before where it is.
        if self._handle is not None and job_id == self._job_id:
            self._handle.update(bundle, raw=True)
            return
        from IPython.display import DisplayHandle

        self._job_id = job_id
        self._handle = DisplayHandle()
        self._handle.display(bundle, raw=True)


class TerminalScreen:
    """One line that overwrites itself, and the summary in its place at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._is_drawn = False

    def draw(self, view: View) -> None:
        width = shutil.get_terminal_size().columns
        self._stream.write(f"\r\x1b[K{terminal_line(view, width)}")
        self._stream.flush()
        self._is_drawn = True

    def clear(self) -> None:
        if self._is_drawn:
            self._stream.write("\r\x1b[K")
            self._is_drawn = False

    def close(self, view: View, timeline: Timeline | None) -> None:
        self.clear()
        self._stream.write(text_of(view) + "\n")
        self._stream.flush()


class LogScreen:
    """Nothing while it runs, the summary at the end: for pipes, logs and scripts."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def draw(self, view: View) -> None:
        """Progress would only fill the log."""

    def clear(self) -> None:
        """There is nothing in the way."""

    def close(self, view: View, timeline: Timeline | None) -> None:
        self._stream.write(text_of(view) + "\n")


class QuietScreen:
    """For `--quiet`: only what must not be missed, on standard error."""

    def draw(self, view: View) -> None:
        """Asked for."""

    def clear(self) -> None:
        """There is nothing in the way."""

    def close(self, view: View, timeline: Timeline | None) -> None:
        for warning in view.warnings:
            sys.stderr.write(f"{warning}\n")


def screen_for(shell: Any, view: str = "auto") -> Screen:
    """Return the screen that suits the shell: a notebook, a terminal, or a log.

    Parameters
    ----------
    shell
        IPython's, or None.
    view
        The setting of that name: `auto`, `html`, `text` or `none`.
    """
    if view == "none":
        return QuietScreen()
    if view == "html" or (view == "auto" and getattr(shell, "kernel", None) is not None):
        return NotebookScreen(cancel_button(kernel_id(shell)))
    return TerminalScreen() if sys.stdout.isatty() else LogScreen()
