"""Runs an executor's calls, each item being one."""

from __future__ import annotations

from typing import Any


class Call:
    """A function and its arguments."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs

    def __reduce__(self) -> Any:
        return Call, (self.function, self.args, self.kwargs)

    def __repr__(self) -> str:
        shown = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        return f"{getattr(self.function, '__name__', self.function)}({', '.join(shown)})"


def run_call(call: Call | None) -> Any:
    """Run a call; None stands for one that was cancelled before it was sent."""
    if call is not None:
        return call.function(*call.args, **call.kwargs)
    return None
