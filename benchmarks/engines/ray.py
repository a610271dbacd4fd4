"""Ray on this machine: one remote task for each item; and joblib's way to it."""

from __future__ import annotations

import ray  # type: ignore[import-not-found]
from ray.util.joblib import register_ray  # type: ignore[import-not-found]

from benchmarks.engines.base import BaseEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

register_ray()


class Engine(BaseEngine):
    """A Ray of as many CPUs as there are workers, without its dashboard."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)

    def map(
        self, f: Callable[[Any], Any], items: Sequence[Any], chunk: int | None = None
    ) -> list[Any]:
        task = ray.remote(f)
        results: list[Any] = ray.get([task.remote(item) for item in items])
        return results

    def close(self) -> None:
        ray.shutdown()
