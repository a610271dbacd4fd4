"""What the jobs of the scenarios run: items whose right value is known, and which note each execution."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.waiting import wait_until

_NOTE = 8
"""Bytes of an item's number."""
LARGE = 100_000
"""Bytes of every tenth value: above what travels through a socket, so that both ways are used."""


def value(index: int) -> tuple[int, bytes]:
    """Return what an item's result must be."""
    return index, bytes([index % 251]) * (LARGE if index % 10 == 3 else 10)


class Ledger:
    """Item numbers in the order in which they were noted, by any process, each in one append.

    What was appended is there whatever kills the process next.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, index: int) -> None:
        note(str(self.path), index)

    def __len__(self) -> int:
        try:
            return self.path.stat().st_size // _NOTE
        except FileNotFoundError:
            return 0

    def wait_for(self, notes: int, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait until so many executions were noted, or something else has happened."""
        wait_until(lambda: len(self) >= notes or unless(), f"{notes} items had begun")

    def counts(self) -> Counter[int]:
        """Return how often each item was noted."""
        if not self.path.exists():
            return Counter()
        data = self.path.read_bytes()
        parts = (data[at : at + _NOTE] for at in range(0, len(data), _NOTE))
        return Counter(int.from_bytes(part, "little") for part in parts)


def note(path: str, index: int) -> None:
    """Append an item's number."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, index.to_bytes(_NOTE, "little"))
    finally:
        os.close(descriptor)


def noted(ledger: Ledger, seconds: float) -> Callable[[int], tuple[int, bytes]]:
    """Return a function that takes about so long, between half and one and a half times, and is noted."""
    path = str(ledger.path)

    def run(index: int) -> tuple[int, bytes]:
        note(path, index)
        time.sleep(seconds * (0.5 + index * 7919 % 100 / 100))
        return value(index)

    return run


def sized(nbytes: int) -> Callable[[int], bytes]:
    """Return a function whose values have so many bytes, no two of neighbours the same."""

    def run(index: int) -> bytes:
        return index.to_bytes(8, "little") * (nbytes // 8)

    return run
