"""Rebuilds a traceback from its lines, so that the notebook shows the user's own cell; or writes it down.

A traceback object needs real frames. Each is made by running a function that raises, compiled so
that its file, name, first line and failing line are those of the original: tools such as IPython find the
source through the first as well as the failing line.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import re
import sys
from collections.abc import Sequence
from types import CodeType, FunctionType, TracebackType
from typing import Final

from cloudbutton_backend.worker.failures import PackedFrame, TracebackFrame

_OURS: Final = re.compile(r"[/\\]cloudbutton_(backend|magic|ext)[/\\]")
#: What IPython calls a cell: by its number, or in a kernel by a file that does not exist.
_NUMBERED_CELL: Final = re.compile(r"<ipython-input-(\d+)-\w+>")
_CELL: Final = re.compile(r".*[/\\]ipykernel_\d+[/\\]\d+\.py")


class _Marker(Exception):
    """Raised by the made-up functions."""


def _code(filename: str, function: str, lineno: int, first: int) -> CodeType:
    """Return code of a function that raises on line `lineno` of `filename`."""
    first = max(1, min(first, lineno))
    gap = " " if lineno <= first else "\n" * (lineno - first) + " "
    text = "\n" * (first - 1) + "def _():" + gap + "raise _error"
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.stmt, ast.expr)):
            # Python underlines by columns; those of the made-up line are not those of the user's.
            node.col_offset = node.end_col_offset = -1
    module = compile(tree, filename, "exec")
    inner = next(part for part in module.co_consts if isinstance(part, CodeType))
    if sys.version_info >= (3, 11):
        return inner.replace(co_name=function, co_qualname=function)
    return inner.replace(co_name=function)


def traceback_from(frames: Sequence[PackedFrame]) -> TracebackType | None:
    """Return a traceback that shows `frames`, outermost first; None if there are none."""
    trace: TracebackType | None = None
    for frame in itertools.starmap(TracebackFrame, reversed(frames)):
        code = _code(frame.file, frame.function, max(1, frame.line), frame.first)
        raiser = FunctionType(code, {"__name__": "__main__", "_error": _Marker})
        try:
            raiser()
        except _Marker as error:
            assert error.__traceback__ is not None
            made = error.__traceback__.tb_next
            assert made is not None
            trace = TracebackType(trace, made.tb_frame, made.tb_lasti, made.tb_lineno)
    return trace


def traceback_text(frames: Sequence[PackedFrame]) -> str:
    """Return the user's own frames as Python writes them, outermost first, for the journal.

    A worker does not have the lines of cells; this process has them if the cells ran here.
    """
    written = []
    for frame in itertools.starmap(TracebackFrame, frames):
        if _OURS.search(frame.file):
            continue
        is_cell = frame.function.startswith(("<module>", "__cb_"))
        within = "" if is_cell else f", in {frame.function}"
        line = frame.source or linecache.getline(frame.file, frame.line).strip()
        written.append(
            f"{_shown(frame.file)}, line {frame.line}{within}" + (f"\n    {line}" if line else "")
        )
    return "\n".join(written)


def _shown(filename: str) -> str:
    if numbered := _NUMBERED_CELL.fullmatch(filename):
        return f"Cell In[{numbered[1]}]"
    return "A cell" if _CELL.fullmatch(filename) else filename
