"""What happened, on disk: the kernel writes it in batches, everybody else reads it.

Kernels use `Journal`; the panel, the command line and other notebooks use `JournalReader`.
docs/journal-format.md describes the file.
"""

from cloudbutton_backend.journal.gc import Freed, gc
from cloudbutton_backend.journal.reader import JournalReader
from cloudbutton_backend.journal.records import Command, ErrorRecord, JobRow, LogRecord
from cloudbutton_backend.journal.writer import Journal

__all__ = [
    "Command",
    "ErrorRecord",
    "Freed",
    "JobRow",
    "Journal",
    "JournalReader",
    "LogRecord",
    "gc",
]
