"""Our own pool through its public API, at its defaults: no chunk sizes, journal on."""

from __future__ import annotations

import time

from benchmarks.engines.base import BaseEngine, Survival
from cloudbutton_ext import map as cloud_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

#: Switches the journal off, for the case that asks what it costs.
JOURNAL_OFF = {"CLOUDBUTTON_INTERNAL_JOURNAL": "off"}


class Engine(BaseEngine):
    """`cloud.map`; the pool starts with the first call and stays."""

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        return list(cloud_map(f, items, quiet=True).results())

    def stream(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        return (value for _, value in cloud_map(f, items, quiet=True).as_completed())

    def survive(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Survival:
        kept: list[Any] = []
        first_error: BaseException | None = None
        known_at: float | None = None
        for _, value in cloud_map(f, items, quiet=True, errors="keep").as_completed():
            if not isinstance(value, BaseException):
                kept.append(value)
            elif first_error is None:
                first_error, known_at = value, time.monotonic()
        return Survival(kept, first_error, known_at)
