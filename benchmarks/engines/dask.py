"""Dask's own way to map: `Client.map`, on a cluster of processes on this machine."""

from __future__ import annotations

from distributed import Client, LocalCluster

from benchmarks.engines.base import BaseEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Engine(BaseEngine):
    """A cluster with a process of one thread for each worker."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.client = Client(self.cluster)

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        # `pure=False`: equal items are items, too, and not one task.
        futures = self.client.map(f, items, pure=False, batch_size=chunk)
        results: list[Any] = self.client.gather(futures)
        return results

    def close(self) -> None:
        self.client.close()
        self.cluster.close()
