"""multiprocessing.Pool at its default start method."""

from __future__ import annotations

import multiprocessing

from benchmarks.engines.base import BaseEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any


class Engine(BaseEngine):
    """The standard library's older pool."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._pool = multiprocessing.Pool(workers)

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        return self._pool.map(f, items, chunksize=chunk)

    def stream(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        return self._pool.imap_unordered(f, items)

    def close(self) -> None:
        self._pool.terminate()
