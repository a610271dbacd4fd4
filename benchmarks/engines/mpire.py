"""mpire at its default start method, workers kept alive between maps."""

from __future__ import annotations

from mpire.pool import WorkerPool

from benchmarks.engines.base import BaseEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any


class Engine(BaseEngine):
    """mpire.WorkerPool."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._pool = WorkerPool(n_jobs=workers, keep_alive=True)

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        results: list[Any] = self._pool.map(
            f, items, chunk_size=chunk, concatenate_numpy_output=False
        )
        return results

    def stream(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        results: Iterator[Any] = self._pool.imap_unordered(f, items)
        return results

    def close(self) -> None:
        self._pool.terminate()
