"""How an error looks under the cell: the user's own lines, never ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from cloudbutton_backend.errors import CloudError, UsageError

_OURS = ("cloudbutton_ext", "cloudbutton_magic", "cloudbutton_backend")
_RED, _PLAIN = "\x1b[31m", "\x1b[39m"


@contextmanager
def shown_plainly(shell: Any) -> Iterator[None]:
    """Let errors pass with their type, and arrange how IPython will draw them.

    Our own errors appear as their message, which is advice; the user's with the traceback of
    their own code; a `SyntaxError` of a cell as Python prints it.
    """
    try:
        yield
    except SyntaxError as error:
        if users_part(error.__traceback__) is not None:
            raise  # raised by code that ran, not by the cell's own text
        drawn = shell.SyntaxTB.structured_traceback(type(error), error, [])
        mistake = UsageError(str(error))
        _draw(mistake, lambda: drawn)
        raise mistake from None
    except CloudError as error:
        advice = f"{_RED}{type(error).__name__}{_PLAIN}: {error}"
        _draw(error, lambda: [advice])
        raise
    except KeyboardInterrupt as error:
        _draw(error, lambda: [f"{_RED}KeyboardInterrupt{_PLAIN}"])
        raise
    except Exception as error:
        _draw_users(shell, error)
        raise


def users_part(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame that is not ours, or None."""
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return trace


def _is_ours(trace: TracebackType) -> bool:
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in _OURS or module in ("contextlib", "concurrent.futures._base")


def _draw_users(shell: Any, error: BaseException) -> None:
    trace = users_part(error.__traceback__)
    if trace is None:
        return  # a bug of ours, which wants all its frames

    def lines() -> list[str]:
        drawn: list[str] = shell.InteractiveTB.structured_traceback(
            type(error), error, trace, tb_offset=0
        )
        return drawn

    _draw(error, lines)


def _draw(error: BaseException, lines: Callable[[], list[str]]) -> None:
    """Have IPython draw `error` as `lines`, once."""
    if hasattr(error, "_render_traceback_"):
        return

    def render() -> list[str]:
        # It must not stay: with it the exception could not be pickled any more.
        error.__dict__.pop("_render_traceback_", None)
        return lines()

    error._render_traceback_ = render  # type: ignore[attr-defined]
