"""loky, the executor beneath joblib."""

from __future__ import annotations

from loky import ProcessPoolExecutor  # type: ignore[import-untyped]

from benchmarks.engines.executor import ExecutorEngine


class Engine(ExecutorEngine):
    """loky's executor with its own fork-exec start."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.executor = ProcessPoolExecutor(workers)
