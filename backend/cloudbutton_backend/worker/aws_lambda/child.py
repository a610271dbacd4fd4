"""A process that runs items inside a function: the local worker's loop, forked off the handler.

Nothing it could need is imported here for the first time: the handler has done so while the platform
started it, and every child has it from there.
"""

from __future__ import annotations

import _thread
import importlib
import importlib.util
import logging
import os
import pickle
import signal
import sys
import tempfile
import types
import warnings
from typing import Any

from cloudbutton_backend.worker import messages as m
from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.child_process import ProcessEnds
from cloudbutton_backend.worker.loop import Channel, WorkerLoop, peak_memory, watch_lifeline
from cloudbutton_backend.worker.wire import layout, split

for _name in ("failures", "guard", "output", "result_file", "runner", "unpickling"):
    importlib.import_module(f"cloudbutton_backend.worker.{_name}")  # each child would do so again


class FunctionWorker(WorkerLoop):
    """A worker that sends all results through its socket, and runs a batch in several spans.

    The items of a batch come with its first span and are kept for the others. A span's meta is that
    of `messages.BATCH`, with the number of items that come before it in place of a slot.
    """

    def __init__(self, channel: Channel, words: memoryview, tail_fd: int | None) -> None:
        super().__init__(channel, words, tail_fd)
        self._body = b""
        self._items: Any = None

    def _run_batch(self, meta: Any, body: bytes, _fds: list[int]) -> None:
        batch, job_id, base, first, count, skip = meta
        if body:
            self._body, self._items = body, None
        if self._words[status_page.LOW] <= base and base + count <= self._words[status_page.HIGH]:
            self._channel.send(m.ENDED, (batch, 0, True, False, False))
            return
        self._job = job = self._jobs[job_id]
        self._enter(job.cwd, job.environment)
        self._batch = batch
        if job.load_error is not None:
            self._report_load_error(job, first, count)
            self._channel.send(m.ENDED, (batch, count, False, False, False))
            return
        try:
            if self._items is None:
                # Arrays among the items must be writable here, as they are in the notebook.
                stream, *buffers = split(memoryview(bytearray(self._body)))
                self._items, self._body = pickle.loads(stream, buffers=buffers), b""
        except BaseException as caught:
            if count == 1:
                self._report_item_error(caught, job, first)
            self._channel.send(m.ENDED, (batch, int(count == 1), False, False, count > 1))
            return
        items = self._items[skip : skip + count]
        ran, revoked = self._runner.run(job, base, first, items, self)
        self._channel.send(m.ENDED, (batch, ran, revoked, False, False))

    def send(self, parcel: Any) -> None:
        """Send a parcel: there is no file here that anybody else could read."""
        send = self._channel.hold if parcel.is_last else self._channel.send
        pieces, length = layout(parcel.parts)
        parcel.meta["rss"] = peak_memory()
        self._words[status_page.PACKED] += parcel.count
        self._words[status_page.PACKED_BYTES] += length
        send(
            m.RESULTS, (self._batch, parcel.first, parcel.count, parcel.meta, None, length), pieces
        )


def fork_worker(ends: ProcessEnds) -> int:
    """Start a worker process by forking this one; return its id."""
    with (
        warnings.catch_warnings()
    ):  # no thread of ours runs now; one of the runtime's waits for a call
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _run(ends)
    return pid


def _run(ends: ProcessEnds) -> None:
    """Be a worker, in a process just forked; never return."""
    code = 1
    try:
        os.setsid()  # so that what tasks start can be ended with this process
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # The runtime's own handler would prefix what tasks log; a notebook shows it as it is.
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
        os.chdir(tempfile.gettempdir())  # the only place that can be written
        _thread.start_new_thread(watch_lifeline, (ends.lifeline,))
        if importlib.util.find_spec("cloudbutton_ext") is None:
            stand_in()
        worker = FunctionWorker(Channel(ends.socket), status_page.view(ends.page.map), ends.tail)
        import faulthandler

        faulthandler.enable(2)
        worker.serve()
        code = 0
    finally:
        os._exit(code)


def stand_in() -> None:
    """Let `import cloudbutton_ext as cloud; cloud.rng()` work in tasks: the package is not here."""
    from cloudbutton_backend.worker.context import rng

    module = types.ModuleType("cloudbutton_ext", "What tasks may use of Cloud Button.")
    module.rng = rng  # type: ignore[attr-defined]
    sys.modules["cloudbutton_ext"] = module
