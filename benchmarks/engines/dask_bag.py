"""A bag on the same cluster: Dask's collection for items, in the partitions that it makes by itself."""

from __future__ import annotations

import dask.bag

from benchmarks.engines import dask as client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Engine(client.Engine):
    """`dask.bag.from_sequence(items).map(f)`, computed by the cluster."""

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        bag = dask.bag.from_sequence(items, partition_size=chunk)
        results: list[Any] = bag.map(f).compute(scheduler=self.client)
        return results
