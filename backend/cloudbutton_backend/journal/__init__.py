"""The on-disk job log: one writer per kernel, many readers.

Kernels use `Journal`; the panel, the command line and other notebooks use `JournalReader`.
docs/journal-format.md describes the file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cloudbutton_backend.journal.records import ErrorRecord, JobCommand, JobRow, LogRecord
from cloudbutton_backend.journal.writer import Journal

if TYPE_CHECKING:
    from cloudbutton_backend.journal.reader import JournalReader
    from cloudbutton_backend.journal.retention import Freed, gc

__all__ = [
    "ErrorRecord",
    "Freed",
    "JobCommand",
    "JobRow",
    "Journal",
    "JournalReader",
    "LogRecord",
    "gc",
]

#: What a kernel rarely needs is loaded when it is first named.
_ELSEWHERE = {"Freed": "retention", "gc": "retention", "JournalReader": "reader"}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)
