"""Results that are not collected and items that are not needed yet do not pile up in memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import cloudbutton_ext as cloud

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
MB = 1_000_000


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def growth(act: Callable[[], None]) -> int:
    """Return by how many bytes this process grew at most while `act` ran."""
    before = peak = resident()
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        act()
    finally:
        over.set()
        watcher.join()
    return max(peak, resident()) - before


def test_results_nobody_collects_wait_in_files() -> None:
    jobs: list[cloud.Job] = []

    def act() -> None:
        jobs.append(cloud.map(lambda i: np.full(MB // 8, float(i)), range(300)))
        assert jobs[0].wait(25)

    assert growth(act) < 100 * MB
    assert float(jobs[0].results()[299][7]) == 299.0


def test_a_generator_of_large_items_is_not_piled_up() -> None:
    def items() -> Iterator[np.ndarray]:
        for i in range(150):
            yield np.full(MB // 2, float(i))

    def act() -> None:
        assert cloud.map(lambda a: float(a[0]), items()).results() == [float(i) for i in range(150)]

    assert growth(act) < 150 * MB


def test_small_results_beyond_a_bound_wait_in_files_too() -> None:
    def act() -> None:
        assert cloud.map(lambda i: bytes(50_000), range(2_000)).wait(25)

    assert growth(act) < 80 * MB
