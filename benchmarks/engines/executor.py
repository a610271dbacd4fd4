"""What the engines with the interface of concurrent.futures have in common."""

from __future__ import annotations

import time
from concurrent.futures import Executor, as_completed

from benchmarks.engines.base import BaseEngine, Survival

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any


class ExecutorEngine(BaseEngine):
    """An adapter over any `concurrent.futures.Executor`."""

    executor: Executor

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        return list(self.executor.map(f, items, chunksize=chunk or 1))

    def stream(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        futures = [self.executor.submit(f, item) for item in items]
        return (future.result() for future in as_completed(futures))

    def survive(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Survival:
        kept: list[Any] = []
        first_error: BaseException | None = None
        known_at: float | None = None
        for future in as_completed([self.executor.submit(f, item) for item in items]):
            error = future.exception()
            if error is None:
                kept.append(future.result())
            elif first_error is None:
                first_error, known_at = error, time.monotonic()
        return Survival(kept, first_error, known_at)

    def close(self) -> None:
        self.executor.shutdown()
