"""Draws errors under the cell: the user's own lines, never ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final

from cloudbutton_backend.errors import CloudError, UsageError

_OURS: Final = ("cloudbutton_ext", "cloudbutton_magic", "cloudbutton_backend")
_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[39m"


class PlainErrors:
    """Passes errors on with their type, and sets how IPython will draw them.

    Our own errors appear as their message, which is advice; the user's with the traceback of
    their own code; a `SyntaxError` of a cell as Python prints it.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __enter__(self) -> None:
        """Nothing has gone wrong yet."""

    # No generator with `@contextmanager`: that one assigns to the exception, which may be frozen.
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Prepare an error's drawing; it goes on by itself."""
        shell = self._shell
        if isinstance(error, SyntaxError):
            # With a frame of the user's it was raised by code that ran, not by the cell's text.
            if user_traceback(trace) is None:
                drawn = shell.SyntaxTB.structured_traceback(kind, error, [])
                mistake = UsageError(str(error))
                mistake.__dict__["_render_traceback_"] = lambda: drawn
                raise mistake from None
        elif isinstance(error, CloudError):
            advice = f"{_error_name(shell, error)}: {error}"
            _draw_as(error, lambda: [advice])
        elif isinstance(error, KeyboardInterrupt):
            name = _error_name(shell, error)
            _draw_as(error, lambda: [name])
        elif isinstance(error, Exception):
            _draw_user_error(shell, error, user_traceback(trace))


def _error_name(shell: Any, error: BaseException) -> str:
    name = type(error).__name__
    has_colors = str(shell.colors).lower() != "nocolor"
    return f"{_RED}{name}{_PLAIN}" if has_colors else name


def user_traceback(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame that is not ours, or None."""
    while trace is not None and _is_own_frame(trace):
        trace = trace.tb_next
    return trace


def without_own_frames(trace: TracebackType) -> TracebackType:
    """Return a traceback without our frames, except those at its end: there, our code failed."""
    whole = list(_frames(trace))
    end = len(whole)
    while end and _is_own_frame(whole[end - 1]):
        end -= 1
    kept = [
        link for link in whole[:end] if not (_is_own_frame(link) or _replaces_comprehension(link))
    ]
    rest: TracebackType | None = None
    for link in reversed(kept + whole[end:]):
        rest = TracebackType(rest, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return rest or trace


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _replaces_comprehension(trace: TracebackType) -> bool:
    """Tell whether a frame is of what stands in for a comprehension: its line is there already."""
    from cloudbutton_magic.rewriting.loop_functions import ITERABLE_ARGUMENT

    return trace.tb_frame.f_code.co_varnames[:1] == (ITERABLE_ARGUMENT,)


def _is_own_frame(trace: TracebackType) -> bool:
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in _OURS


def _draw_user_error(shell: Any, error: BaseException, trace: TracebackType | None) -> None:
    if trace is None:
        return  # our own bug, which needs all its frames
    shown = without_own_frames(trace)

    def lines() -> list[str]:
        drawn: list[str] = shell.InteractiveTB.structured_traceback(
            type(error), error, shown, tb_offset=0
        )
        return drawn

    _draw_as(error, lines)


def _draw_as(error: BaseException, lines: Callable[[], list[str]]) -> None:
    """Make IPython draw `error` as `lines`, once."""
    if hasattr(error, "_render_traceback_"):
        return

    def render() -> list[str]:
        # It must not stay: with it the exception could not be pickled any more.
        error.__dict__.pop("_render_traceback_", None)
        return lines()

    # Past any `__setattr__`: a frozen dataclass may be an exception too.
    error.__dict__["_render_traceback_"] = render
