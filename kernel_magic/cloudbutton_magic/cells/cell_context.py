"""The context of a cell: its text, its name in tracebacks, its notebook."""

from __future__ import annotations

import linecache
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from IPython.core.compilerop import code_name

from cloudbutton_backend.session.launcher import JobSource, Kind
from cloudbutton_backend.settings import resolve
from cloudbutton_magic.display.screens import Screen, screen_for

_CELL: Final = re.compile(r"<ipython-input-(\d+)-\w+>")
"""What IPython calls a cell: its number, and a digest of its text."""


@dataclass(frozen=True, kw_only=True)
class CellContext:
    """The cell and its notebook, as running the cell needs them."""

    namespace: dict[str, Any]
    text: str
    """The whole cell, with its first line, as it is recorded."""
    filename: str = "<cell>"
    """What tracebacks know the cell by."""
    flags: int = 0
    """The notebook's `from __future__` imports, as the compiler wants them."""
    interactivity: str = "last_expr"
    """Of which statements the values are shown, in IPython's words."""
    notebook: str | None = None
    cell_id: str | None = None
    screen: Screen

    def job_source(self, kind: Kind, name: str | None, before: int = 0) -> JobSource:
        """Return what is recorded of where a job of this cell was started."""
        return JobSource(
            kind=kind,
            name=name,
            source=self.text,
            notebook=self.notebook,
            cell_id=self.cell_id,
            before=before,
        )


def context_of_cell(shell: Any, line: str, cell: str, *, quiet: bool = False) -> CellContext:
    """Describe the cell that `shell` is running.

    The text is registered as IPython does it for any cell, so that tracebacks show the user's
    own lines under the cell's own number.
    """
    text = f"%%cloud {line}".rstrip() + f"\n{cell}"
    return _context(shell, text, text, quiet)


def context_of_button_cell(shell: Any, line: str, cell: str, source: str) -> CellContext:
    """Describe a cell that runs as with `%%cloud` above it, though its text does not say so.

    Tracebacks show `source`, as they would for the plain cell; what is recorded is the text that
    does the same.
    """
    return _context(shell, f"%%cloud {line}".rstrip() + f"\n{cell}", source, quiet=False)


_OF_FIRST_LINES: Final = (" ", "\t", "%%", ">>>", "In [")
"""What IPython takes away, or calls, where a cell begins with it."""


def transform_below(shell: Any, cell: str) -> str:
    """Return what is below `%%cloud` as Python, each line with its number in the whole cell."""
    below = cell.lstrip("\n")
    if "\n" in below.rstrip() and not below.startswith(_OF_FIRST_LINES):
        return str(shell.transform_cell(f"#\n{cell}"))
    blank = len(cell) - len(below) + 1
    return "\n" * blank + str(shell.transform_cell(below))


def _context(shell: Any, text: str, shown: str, quiet: bool) -> CellContext:
    return CellContext(
        namespace=shell.user_ns,
        text=text,
        filename=_register(shell, shown),
        flags=shell.compile.flags,
        interactivity=shell.ast_node_interactivity,
        notebook=notebook_of(shell),
        cell_id=cell_id_of(shell),
        screen=screen_for(shell, "none" if quiet else resolve().view),
    )


def _register(shell: Any, text: str) -> str:
    """Make the cell's text known to tracebacks; return the name it goes by.

    The name is IPython's own, also in a kernel: there, cells go by names of files that do not
    exist, for which IPython shows the wrong lines of a function whose frame is not a live one.
    """
    number = _number_of_running_cell(shell)
    name = code_name(text, number)
    shell.compile._filename_map[name] = number
    _cache_lines(name, text)
    return name


def register_source_lines(error: BaseException, text: str) -> None:
    """Make tracebacks of errors raised in a cell of another kernel show the cell's lines.

    Parameters
    ----------
    text
        The cell, as it was recorded.
    """
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            name = frame.f_code.co_filename
            numbered = _CELL.fullmatch(name)
            if (
                numbered
                and name not in linecache.cache
                and name == code_name(text, int(numbered[1]))
            ):
                _cache_lines(name, text)
        link = link.__cause__ or link.__context__


def _cache_lines(name: str, text: str) -> None:
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)


def _number_of_running_cell(shell: Any) -> int:
    """Return the number by which IPython's tracebacks call the cell that runs now.

    When the shell's counter moves on differs from one version of IPython to the next.
    """
    known: dict[str, int] = shell.compile._filename_map
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename not in known:
        frame = frame.f_back
    return int(shell.execution_count if frame is None else known[frame.f_code.co_filename])


_notebooks: Final[dict[str, str]] = {}
"""By the front end's session (a page's connection to this kernel): its notebook's path."""


def remember_notebook(shell: Any, path: str) -> None:
    """Remember the notebook's present path, which the front end's request gives."""
    _notebooks[front_end_session(shell)] = os.path.normpath(os.path.expanduser(path))


def notebook_of(shell: Any) -> str | None:
    """Return the path of the notebook as its front end tells it, or None.

    The server tells it when it starts the kernel. Since then the notebook may have been renamed, or
    another one connected to the kernel; so the front end's own word counts, if it has the same files.
    """
    told = _notebooks.get(front_end_session(shell))
    if told is None or not os.path.isfile(told):
        told = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return str(told) if told else None


def front_end_session(shell: Any) -> str:
    """Return the session of the front end whose request is being answered; empty without one."""
    return str(request_of(shell).get("header", {}).get("session", ""))


def request_of(shell: Any) -> Mapping[str, Any]:
    """Return the message that the shell's kernel is answering; empty without a kernel."""
    parent = getattr(shell, "get_parent", None)
    return (parent() or {}) if parent is not None else {}


def cell_id_of(shell: Any) -> str | None:
    """Return the id that the front end gave the running cell, or None."""
    found = request_of(shell).get("metadata", {}).get("cellId")
    return str(found) if found else None
