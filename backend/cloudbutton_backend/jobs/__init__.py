"""Jobs as values: what was asked, how it goes, what came of it."""

from cloudbutton_backend.jobs.estimate import Estimate, Expectation
from cloudbutton_backend.jobs.model import (
    EMULATED,
    LIFE_CYCLE,
    BatchRecord,
    JobOptions,
    JobRecord,
    JobState,
    new_job_id,
)
from cloudbutton_backend.jobs.outcome import ItemOutcome, Output
from cloudbutton_backend.jobs.progress import Progress

__all__ = [
    "EMULATED",
    "LIFE_CYCLE",
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
