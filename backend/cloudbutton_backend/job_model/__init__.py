"""Jobs as values: what was asked, how it goes, what came of it."""

from cloudbutton_backend.job_model.estimate import Estimate, Expectation
from cloudbutton_backend.job_model.outcome import ItemOutcome, Output
from cloudbutton_backend.job_model.progress import Progress
from cloudbutton_backend.job_model.records import (
    LIFE_CYCLE,
    BackendIdentity,
    BatchRecord,
    JobOptions,
    JobRecord,
    JobState,
    new_job_id,
)

__all__ = [
    "LIFE_CYCLE",
    "BackendIdentity",
    "BatchRecord",
    "Estimate",
    "Expectation",
    "ItemOutcome",
    "JobOptions",
    "JobRecord",
    "JobState",
    "Output",
    "Progress",
    "new_job_id",
]
