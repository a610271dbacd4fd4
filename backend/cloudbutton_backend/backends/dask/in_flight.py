"""A call under way, as it stands between its submission and its end."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cloudbutton_backend.backends.dask.scattered_data import JobData
from cloudbutton_backend.backends.protocol import BatchCall

Ready = concurrent.futures.Future[JobData]


@dataclass(eq=False, slots=True)
class DaskCall:
    """A call, from its submission to its end."""

    call: BatchCall
    name: str
    ready: Ready
    placement: Mapping[str, Any]
    lasting: bool = False
    """Whether it goes on when this process ends."""
    parts: list[BatchCall] = field(default_factory=list)
    """Its tasks' items."""
    futures: list[Any] = field(default_factory=list)
    """Dask's, once the tasks are there."""
    answered: int = 0
    """How many of its tasks have been answered."""
    seconds: float = 0.0
    """What they took."""
    cost: float = 0.0
    published: str | None = None
    """The name by which the cluster keeps it."""
    sent_at: float | None = None
    released: bool = False
    """Whether its result is no longer wanted."""
    outlives: bool = False
    """Whether it goes on nevertheless: this process ends."""
    give_up_at: float | None = None
    """When to wait no longer, if it was told to stop."""
    alone: bool = False
    """Whether no other suspect was under way with it."""

    @property
    def rest(self) -> BatchCall:
        """Its items without an answer."""
        if not self.answered:
            return self.call
        done = sum(part.count for part in self.parts[: self.answered])
        return replace(self.call, first=self.call.first + done, count=self.call.count - done)

    @property
    def names(self) -> list[str]:
        """The names of its tasks without an answer."""
        return [f"{self.name}-{number}" for number in range(self.answered, len(self.parts))]


@dataclass(frozen=True, slots=True)
class KeptResult:
    """A call's answer that stays on the cluster."""

    first: int
    count: int
    future: Any
    key: bytes
    """With which it is sealed."""


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """A call that ended: its answer, or its error."""

    flight: DaskCall
    answer: bytes | None
    """Of its next task."""
    error: BaseException | None
