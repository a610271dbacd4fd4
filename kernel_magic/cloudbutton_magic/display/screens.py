"""Draw a view where it belongs: in a notebook's output, on a terminal's line, or in a log.

The live view in a notebook has a Cancel button, which interrupts the kernel through the notebook's server.
A comm message would wait behind the cell that blocks the kernel; the server does not.
So the button sends the request that ■ sends, and the waiting cell cancels its job.
It shows only where there is a Jupyter server to ask (its page names it) and scripts may run: in JupyterLab
and Notebook, while the output is fresh; not in a saved notebook, nbconvert, VS Code or Colab.
"""

from __future__ import annotations

import re
import shutil
import sys
from typing import Any, Final, Protocol, TextIO

from cloudbutton_backend.job_model.timeline import Timeline
from cloudbutton_magic.display.rendering import html_of, terminal_line, text_of
from cloudbutton_magic.display.view_model import View

_CANCEL_SCRIPT: Final = """
(() => {
  const config = document.getElementById("jupyter-config-data");
  if (!config) return;
  for (const button of document.querySelectorAll(".cb-cancel[hidden]")) {
    button.hidden = false;
    // Not "click": the view is redrawn several times a second, also between press and release.
    const press = event => {
      if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      const page = JSON.parse(config.textContent);
      const found = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
      const headers = {"X-XSRFToken": found ? decodeURIComponent(found[1]) : ""};
      if (page.token) headers["Authorization"] = "token " + page.token;
      const path = "api/kernels/" + button.dataset.kernel + "/interrupt";
      fetch((page.baseUrl || "/") + path, {method: "POST", credentials: "same-origin", headers});
      button.textContent = "Cancelling…";
      button.disabled = true;
    };
    button.addEventListener("pointerdown", press);
    button.addEventListener("keydown", press);
  }
})();
"""


def kernel_id(shell: Any) -> str:
    """Return the id that the server knows a shell's kernel by, empty if it has none."""
    application = getattr(getattr(shell, "kernel", None), "parent", None)
    file = str(getattr(application, "connection_file", ""))
    found = re.search(r"kernel-([0-9a-zA-Z-]+)\.json$", file)
    return found[1] if found else ""


def cancel_button(kernel: str) -> str:
    """Return the button as HTML; it stays hidden where it could not work."""
    if not kernel:
        return ""
    return (
        f'<button type="button" class="cb-cancel" hidden data-kernel="{kernel}" '
        f'title="Stop this job; what has finished is kept">Cancel</button>'
        f"<script>{_CANCEL_SCRIPT}</script>"
    )


class Screen(Protocol):
    """A screen on which a view is drawn repeatedly."""

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
    """Draws only the summary at the end: for pipes, logs and scripts."""

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
