"""From a function to what travels: code and values by value, large values as blobs, a report."""

from __future__ import annotations

from .blobs import Blob
from .capturing import (
    THRESHOLD,
    Captured,
    capture,
    dump_items,
    explain,
    imports_of_items,
)
from .modules import user_module
from .packages import third_party
from .refusals import CannotTravel, NotPicklable, TooDeep
from .report import CapturedValue, CaptureReport
from .restore import ResultUnpickler, load_result

__all__ = [
    "THRESHOLD",
    "Blob",
    "CannotTravel",
    "CaptureReport",
    "Captured",
    "CapturedValue",
    "NotPicklable",
    "ResultUnpickler",
    "TooDeep",
    "capture",
    "dump_items",
    "explain",
    "imports_of_items",
    "load_result",
    "third_party",
    "user_module",
]
