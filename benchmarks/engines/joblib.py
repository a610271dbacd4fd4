"""joblib over loky, with its memory map for large arrays."""

from __future__ import annotations

from joblib import Parallel, delayed

from benchmarks.engines.base import BaseEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any


class Engine(BaseEngine):
    """joblib.Parallel; the loky workers beneath stay up between calls."""

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        parallel = Parallel(n_jobs=self.workers, backend="loky", batch_size=chunk or "auto")
        results: list[Any] = parallel(delayed(f)(item) for item in items)
        return results

    def stream(self, f: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        parallel = Parallel(n_jobs=self.workers, backend="loky", return_as="generator_unordered")
        results: Iterator[Any] = parallel(delayed(f)(item) for item in items)
        return results
