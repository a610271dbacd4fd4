"""When a job whose work is free will end, as its first items tell: made once, and kept to be compared."""

from __future__ import annotations

from typing import Final

from cloudbutton_backend.cost.duration_samples import samples_of
from cloudbutton_backend.cost.run_model import CostModel, predict
from cloudbutton_backend.journal import Journal

_AFTER: Final = 1.0
"""Seconds; a job that is over sooner needs no outlook, and should not have to pay for one."""
_LEAST, _MOST = 4, 32
"""Results that it rests on."""
_DRAWS: Final = 200


class EtaEstimate:
    """The expected end of one job. Used on the driver's thread."""

    def __init__(self, job_id: str, journal: Journal, batch_seconds: float) -> None:
        self._job_id = job_id
        self._journal = journal
        self._batch_seconds = batch_seconds
        self._each: list[float] = []
        self._is_made = False

    def work(self, items: int, seconds: float) -> None:
        """Some items have run in so many seconds of a worker's time."""
        if not self._is_made and len(self._each) < _MOST and items:
            self._each.append(seconds / items)

    def judge(self, total: int | None, finished: int, workers: int, elapsed: float) -> None:
        """Record when the job will end, once there is something to tell it by."""
        if self._is_made or elapsed < _AFTER or total is None or len(self._each) < _LEAST:
            return
        self._is_made = True
        terms = CostModel(backend="", workers=max(1, workers), batch_seconds=self._batch_seconds)
        left = max(0, total - finished)
        found = predict(samples_of(self._each, _DRAWS), left, terms, elapsed=elapsed).seconds
        self._journal.update_job(
            self._job_id,
            estimate_seconds=found.expected,
            estimate_seconds_low=found.low,
            estimate_seconds_high=found.high,
            estimate_basis=f"its first {finished} items",
        )
