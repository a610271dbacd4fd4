"""When a call stops, so that its results can still be sent: on a clock that the test moves."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudbutton_backend.capture import capture, dump_items
from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.call_runner import CallRunner
from cloudbutton_backend.worker.child_process import ChildProcess
from cloudbutton_backend.worker.dask.process_host import HostedCall, ProcessHost, Slot
from cloudbutton_backend.worker.wire import layout

LARGE = 1_000_000
SENDING = LARGE / 20e6
"""Seconds that sending a result of this size is taken to need."""
RUNNING = SENDING / 10
"""Seconds that an item runs."""


class Ahead(Slot):
    """A process that ends an item at every look at it, however little of its results has arrived."""

    def __init__(self, site: ProcessHost, gate: Path) -> None:
        super().__init__(site)
        os.mkfifo(gate)
        self._gate = os.open(gate, os.O_RDWR)
        self.ended = 0

    def clock(self) -> float:
        return self.ended * RUNNING

    def is_full(self, children: Sequence[ChildProcess]) -> bool:
        (child,) = children
        if not child.words[status_page.HIGH]:  # it has not been told to stop
            os.write(self._gate, b"!")
            self.ended += 1
            deadline = time.monotonic() + 60
            while child.words[status_page.CURRENT] != self.ended or not child.packed[0]:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        return False

    def end(self) -> None:
        super().end()
        os.close(self._gate)


def test_a_call_stops_in_time_to_send_what_has_not_even_arrived(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def large(_: int) -> bytes:
        with open(gate, "rb", buffering=0) as file:
            file.read(1)
        return bytes(LARGE)

    site = ProcessHost(None, str(tmp_path), threads=1, memory=0)
    place = Ahead(site, gate)
    lease = 10 * (RUNNING + SENDING)
    try:
        call = CallRunner(
            place, task_of(large, 100), lease, "lease", lambda: False, 1e9, place.clock
        )
        call.run(b"".join(layout(dump_items(list(range(100))))[0]))
    finally:
        place.end()
        site.close()
    assert call.ending.why == "lease"
    assert place.ended == call.ending.ran == 10


def task_of(function: Any, count: int) -> HostedCall:
    job = {
        "seed": 0,
        "guard": "off",
        "cwd": os.getcwd(),
        "environment": None,
        "variables": {},
        "path": None,
        "displays": False,
        "payload": capture(function).payload,
    }
    return HostedCall("job", bytes(32), 1, 0, count, None, False, job, {})
