"""The memory of a process and all it started, shared pages counted once."""

from __future__ import annotations

import threading
import time

import psutil


def tree_memory(process: psutil.Process) -> int:
    """Return the bytes in use now: the proportional set size where the system tells it, else RSS."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            information = member.memory_full_info()
        except psutil.Error:
            continue  # gone meanwhile
        total += getattr(information, "pss", information.rss)
    return total


class PeakMemory:
    """Watches a process tree from outside until told to stop.

    Looking costs time in the kernel in proportion to the mapped pages, so it pauses ten times as
    long as the last look took: at most a tenth of one CPU.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stopping = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            start = time.perf_counter()
            try:
                self._peak = max(self._peak, tree_memory(self._process))
            except psutil.NoSuchProcess:
                return
            self._stopping.wait(max(0.01, 10 * (time.perf_counter() - start)))

    def stop(self) -> int:
        """Return the largest number of bytes seen."""
        self._stopping.set()
        self._thread.join()
        return self._peak
