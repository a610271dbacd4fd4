"""The outcome of one item of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


class Output(NamedTuple):
    """Output of an item while it ran."""

    kind: Literal["stdout", "stderr", "display", "log"]
    data: str | dict[str, Any]
    """Text; for ``display`` a MIME bundle ``{"data": {...}, "metadata": {...}}``; for ``log`` the fields of a
    log record."""


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """The value or the error of one item, and what it printed."""

    index: int
    value: Any = None
    error: BaseException | None = None
    outputs: tuple[Output, ...] = ()
    began: bool = True
    """False if the function could not even be loaded: nothing of it ran."""
