"""The real local workers as the button's engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.job_model.outcome import ItemOutcome
from cloudbutton_backend.session.launcher import JobSource
from cloudbutton_backend.session.session import Session


class Pool:
    """Runs items as jobs of a session of its own."""

    def __init__(self, home: Path) -> None:
        self._session = Session(home)

    def __call__(
        self,
        body: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        label: str,
        line: int,
        before: int,
        plan: Callable[[], str],
    ) -> Iterator[ItemOutcome]:
        # The button watches captured values by itself.
        options = JobOptions(guard="off")
        job = self._session.map(
            body, items, options=options, origin=JobSource(kind="button", name=label, source="")
        )
        try:
            yield from job.outcomes()
        finally:
            job.cancel()

    def close(self) -> None:
        self._session.close()
