"""Runs a few of a job's items here, in processes of their own, to see what they take."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.backends import registry
from cloudbutton_backend.backends.protocol import Charged, JobSpec, Results
from cloudbutton_backend.capture import capture
from cloudbutton_backend.cost.measurements import Measurement
from cloudbutton_backend.dispatch.actions import AskForMoney, BatchLost, OverBudget
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.dispatch.item_source import ItemSource, SequenceSource
from cloudbutton_backend.dispatch.job_state import DispatchPlan
from cloudbutton_backend.job_model import JobOptions, JobState, new_job_id
from cloudbutton_backend.results.result_record import ResultRecord
from cloudbutton_backend.worker.timing import TimedFunction, Timing

MOST_ITEMS: Final = 16
ENOUGH_ITEMS: Final = 8
"""Items after which `ENOUGH_SECONDS` are time enough."""
ENOUGH_SECONDS: Final = 2.0
WITHIN: Final = 10.0
"""Seconds for all of it, by default."""
_PROCESSES: Final = 2
_OTHERS: Final = 3
"""The least number of items from which it shows whether a worker's first one took longer."""
_OWN_START: Final = 0.06
"""CPU seconds that a worker takes until it can run anything at all, nothing being imported for it."""


def spread(total: int, most: int = MOST_ITEMS) -> list[int]:
    """Return which items to try: the first, then ever finer parts of the whole, so that any beginning of
    the list is spread over all of it.
    """
    chosen = dict.fromkeys(
        min(total - 1, int(_reversed_bits(number) * total)) for number in range(4 * most)
    )
    return list(chosen)[: min(most, total)] if total else []


def _reversed_bits(number: int) -> float:
    """Return 0, 1/2, 1/4, 3/4, 1/8, 5/8, … (van der Corput's sequence)."""
    value, part = 0.0, 0.5
    while number:
        value += part * (number & 1)
        number, part = number >> 1, part / 2
    return value


def sample(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    options: JobOptions,
    *,
    within: float = WITHIN,
) -> Measurement | None:
    """Run some of the items here and return what they took; None if none ended in time.

    The function and the items travel by value, as in a job; nothing is recorded, and the processes end.

    Raises
    ------
    CaptureError
        If something that the function uses cannot travel.
    """
    chosen = [items[index] for index in spread(len(items))]
    captured = capture(TimedFunction(function), threshold=options.threshold_bytes)
    backend = registry.create("local", workers=min(_PROCESSES, len(chosen)))
    listener = _Listener(SequenceSource(chosen), captured.classes)
    spec = JobSpec(
        id=new_job_id(),
        payload=captured.payload,
        blobs=captured.blobs,
        seed=0 if options.seed is None else options.seed,
        guard="off",
        timeout=options.timeout,
        memory=None,
        results=str(Path(tempfile.gettempdir()) / "cloudbutton-sample"),
        cwd=str(Path.cwd()) if os.path.isdir(os.curdir) else os.path.expanduser("~"),
        environment=dict(os.environ),
        path=tuple(sys.path),
        displays=captured.displays,
    )
    driver = Driver(backend)
    began = time.monotonic()
    try:
        backend.prepare(spec, set)
        plan = DispatchPlan(job_id=spec.id, n_items=len(chosen), stop_on_error=False)
        driver.open(spec, plan, listener)
        listener.wait(began + ENOUGH_SECONDS, began + within)
    finally:
        listener.close()
        driver.close()
    took = time.monotonic() - began
    return _measured(listener.timings(), listener.peak, listener.lost, len(items), took)


class _Listener:
    """Collects a driver's reports on the sample. All but `wait` and `timings` is called on its thread."""

    def __init__(self, source: ItemSource, known_classes: frozenset[str]) -> None:
        self.source = source
        self.known_classes = known_classes
        self.peak = 0
        self.lost: list[str] = []
        """Why items ended without telling what they took."""
        self._entries: list[ResultRecord] = []
        self._n_done = 0
        self._ended = False
        self._change = threading.Condition()

    def wait(self, enough: float, limit: float) -> None:
        """Wait until all is done, or enough is and it is late; on the monotonic clock."""
        with self._change:
            while not self._ended:
                now = time.monotonic()
                if now >= limit or (now >= enough and self._n_done >= ENOUGH_ITEMS):
                    return
                self._change.wait((enough if now < enough else limit) - now)

    def close(self) -> None:
        """End the sampling: what comes from now on is due to that."""
        with self._change:
            self._ended = True

    def timings(self) -> list[Timing]:
        """Return what the items took that have ended."""
        with self._change:
            entries = list(self._entries)
        return [value for entry in entries for value in entry.values() if value is not None]

    def on_accept(self, results: Results, skip: frozenset[int]) -> None:
        entry = ResultRecord(
            results.first, results.count, results.meta, results.payload, results.path,
            results.offset, results.length, crc=results.crc,
        )  # fmt: skip
        with self._change:
            if results.meta.errors:  # it could not be loaded or read there
                self.lost += [
                    str(each.get("reason") or each.get("kind"))
                    for each in results.meta.errors.values()
                ]
            else:
                self._entries.append(entry)
            self.peak = max(self.peak, results.meta.memory_peak)
            self._n_done += results.count
            self._change.notify_all()

    def on_fail_item(self, index: int, kind: str, cause: str, attempts: int) -> None:
        with self._change:
            if self._ended:
                return
            self.lost.append(f"{kind}: {cause}".partition("\n")[0])
            self._n_done += 1

    def on_finish(self, state: JobState) -> None:
        with self._change:
            self._ended = True
            self._change.notify_all()

    def on_broken(self, error: BaseException) -> None:
        with self._change:
            if not self._ended:
                self.lost.append(str(error).partition("\n")[0])

    def on_lacking(self, error: BaseException) -> None:
        """Ignored: the items are available."""

    def on_batch_lost(self, lost: BatchLost) -> None:
        """The item that was running is tried again."""

    def on_running(self, state: JobState, items: int, workers: int, retried: int) -> None:
        """Progress is not shown."""

    def on_charged(self, charged: Charged) -> None:
        """Nothing is charged here."""

    def on_spent(self, dollars: float, committed: float) -> None:
        """Nothing is spent here."""

    def on_over_budget(self, over: OverBudget) -> None:
        """There is no budget."""

    def on_asks(self, asks: AskForMoney, answer: Callable[[float], None]) -> None:
        answer(0.0)  # nothing is spent here

    def warn(self, line: str) -> None:
        """Drop a warning: the job itself will give it when it runs."""


def _measured(
    timings: Sequence[Timing], peak: int, lost: Sequence[str], total: int, took: float
) -> Measurement | None:
    """Return what the timings of some items say; None without any."""
    if not timings:
        return None
    # What others on this machine make us wait for is not the items' own.
    seconds = [max(1e-7, each.wall - each.waited) for each in timings]
    cpu = [each.cpu for each in timings]
    loads = []
    for at, each in enumerate(timings):
        if each.loaded:
            late = _beyond_usual(at, seconds, timings)
            loads.append(max(0.0, each.loaded - _OWN_START) + late)
            cpu[at] *= 1 - late / seconds[at]
            seconds[at] -= late
    which = "1 item" if total == 1 else f"{len(timings):,} of {total:,} items"
    return Measurement(
        seconds=tuple(seconds),
        basis=f"{which} run here, {took:.1f} s",
        cpu_share=min(1.0, sum(cpu) / sum(seconds)),
        waiting=sum(each.waited for each in timings) / sum(seconds),
        memory_peak=peak,
        load=sum(loads) / len(loads) if loads else 0.0,
        result_bytes=sum(each.result_bytes for each in timings) / len(timings),
        failures=(*(each.error for each in timings if each.error), *lost),
    )


def _beyond_usual(at: int, seconds: Sequence[float], timings: Sequence[Timing]) -> float:
    """Return by how much a worker's first item took longer than others do: it may import what they use.

    Nothing, unless enough others are there and the difference is none that items have among themselves.
    """
    others = sorted(took for took, each in zip(seconds, timings) if not each.loaded)
    if len(others) < _OTHERS or seconds[at] < 2 * others[-1] or seconds[at] - others[-1] < 0.02:
        return 0.0
    return seconds[at] - others[len(others) // 2]
