"""A job's facts, to be changed where a test looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudbutton_backend.job_model import BatchRecord, JobState
from cloudbutton_backend.journal import ErrorRecord, JobRow
from cloudbutton_backend.report import JobFacts

NOON = 1_790_000_000.0
MakeFacts = Callable[..., JobFacts]


def batch(number: int, **changes: Any) -> BatchRecord:
    fields: dict[str, Any] = {
        "job_id": "abcd2345", "batch": number, "worker": f"local-{number % 4 + 1}",
        "first": 4 * number, "count": 4, "start": NOON + number, "end": NOON + number + 1.5,
        "status": "done", "cpu": 1.0, "memory_peak": 80_000_000,
    }  # fmt: skip
    return BatchRecord(**(fields | changes))


@pytest.fixture
def facts() -> MakeFacts:
    def make(**changes: Any) -> JobFacts:
        fields: dict[str, Any] = {
            "id": "abcd2345", "name": "scores", "kind": "map", "backend": "lambda",
            "state": JobState.FAILED, "created": NOON, "ended": NOON + 60, "pid": 1, "host": "here",
            "n_items": 200, "done": 198, "failed": 2, "workers": 4, "worker_memory": 1769,
            "task_seconds": 230.0, "spend": 0.23, "budget": 0.5,
            "estimate": 0.21, "estimate_low": 0.18, "estimate_high": 0.26,
            "estimate_basis": "2 earlier runs",
            "notebook": "analysis.ipynb", "source": "fit(C)\n", "seed": 4711,
            "options": {"workers": 4, "budget": 0.5, "errors": "keep"},
            "capture": {
                "function": "fit", "payload_nbytes": 2_100, "blobs_nbytes": 80_000_000,
                "values": [{"name": "X", "type": "ndarray", "nbytes": 80_000_000,
                            "travels": "blob", "how": "blob, sent once"}],
                "packages": {"numpy": "2.1"}, "user_modules": ["helpers"],
            },
            "error": "ValueError: no (item 3: 3)", "warnings": ("tasks changed `model`",),
            "batches": [batch(number) for number in range(50)],
            "errors": [ErrorRecord("abcd2345", 3, "C=3", "ValueError", "no", "line 3, in fit\n")],
        }  # fmt: skip
        fields |= changes
        batches, errors = fields.pop("batches"), fields.pop("errors")
        row = JobRow(**fields)
        return JobFacts(
            record=row, progress=row.progress(NOON + 61), capture=row.capture, batches=batches,
            errors=errors, written=NOON + 61, version="1.0",
        )  # fmt: skip

    return make
