"""concurrent.futures.ProcessPoolExecutor at its default start method."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

from benchmarks.engines.executor import ExecutorEngine


class Engine(ExecutorEngine):
    """The standard library's process pool."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.executor = ProcessPoolExecutor(workers)
