"""Captures a function for travel: code and values by value, large values as blobs, with a report."""

from __future__ import annotations

from cloudbutton_backend.capture.distributions import third_party
from cloudbutton_backend.capture.payload import (
    THRESHOLD,
    Captured,
    capture,
    dump_items,
    explain,
    imports_of_items,
)
from cloudbutton_backend.capture.report import CapturedValue, CaptureReport
from cloudbutton_backend.capture.unpicklable import CannotTravel, NotPicklable, TooDeep
from cloudbutton_backend.capture.unpickling import ResultUnpickler, load_result
from cloudbutton_backend.capture.user_modules import user_module
from cloudbutton_backend.worker.pool.protocol import Blob

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
