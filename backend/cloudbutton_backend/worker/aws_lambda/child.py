"""Worker processes inside a function, forked off its handler.

Nothing it could need is imported here for the first time: the handler has done so while the platform
started it, and every child has it from there.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import signal
import tempfile
import warnings

from cloudbutton_backend.worker.child_process import ProcessEnds
from cloudbutton_backend.worker.loop import run_worker, stub_extension

for _name in ("failures", "output", "result_file", "runner", "unpickling", "watch"):
    importlib.import_module(f"cloudbutton_backend.worker.{_name}")  # each child would do so again


def fork_worker(ends: ProcessEnds) -> int:
    """Start a worker process by forking this one; return its id."""
    with warnings.catch_warnings():
        # No thread of ours runs now; one of the runtime's, if there is one, waits for a call.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _run(ends)
    return pid


def _run(ends: ProcessEnds) -> None:
    """Be a worker, in a process just forked; never return."""
    try:
        os.setsid()  # so that what tasks start can be ended with this process
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # The runtime's own handler would prefix what tasks log; a notebook shows it as it is.
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
        os.chdir(tempfile.gettempdir())  # the only place that can be written
        if importlib.util.find_spec("cloudbutton_ext") is None:
            stub_extension()
        run_worker(ends.socket, ends.page.map, ends.lifeline, ends.tail)
    finally:
        os._exit(1)
