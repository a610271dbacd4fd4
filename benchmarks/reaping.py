"""Ends a measured process and whatever its pool left behind, without leaking shared memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import psutil

#: How long the resource trackers of multiprocessing and loky may take to remove what they track.
TRACKER_SECONDS = 2.0


@contextlib.contextmanager
def reaped(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """End `child`, which leads a session of its own, and that session, however the block ends."""
    try:
        yield
    finally:
        if child.poll() is None:
            _end_tree(child)
        child.wait()
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # the group is the child's own


def _end_tree(child: subprocess.Popen[bytes]) -> None:
    """Kill the tree but for the resource trackers, which clean up once all others are gone."""
    trackers: list[psutil.Process] = []
    descendants = psutil.Process(child.pid).children(recursive=True)
    child.kill()
    for process in descendants:
        with contextlib.suppress(psutil.Error):
            if "resource_tracker" in " ".join(process.cmdline()):
                trackers.append(process)
            else:
                process.kill()
    psutil.wait_procs(trackers, timeout=TRACKER_SECONDS)
