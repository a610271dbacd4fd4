"""What runs inside a Dask worker: each call in a process of its own, which Dask's thread waits for.

::

    Dask worker: a thread for each task                     a process for each task under way, kept between
    ───────────────────────────────────                     ─────────────────────────────────────────────
    Site.run ─▶ Shift: time-outs, memory, deaths ─socket──▶ the local worker's loop: prints, figures,
             ◀─ records, and how the call ended ◀─────────  directory, environment, signals are its own
    blobs: Dask's data ─▶ files ───────────────────fd─────▶ mapped read-only, by all processes
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.worker import messages as m
from cloudbutton_backend.worker.children import Child, Ends, exceed
from cloudbutton_backend.worker.lambda_records import sealed_record
from cloudbutton_backend.worker.shift import TICK, Shift

_BOOT: Final = (
    "import sys; sys.path[:] = {path!r}; from cloudbutton_backend.worker.dask_child import main; "
    "main(sys.argv[1])"
)
_KEEP_JOBS: Final = 4
"""Functions that a process keeps loaded."""
_KEEP_BYTES: Final = 4 << 30
"""Captured values that are kept in files for later jobs."""
_MiB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Task:
    """One call, as `Shift` wants to know it, and the job it belongs to."""

    job_id: str
    key: bytes
    batch: int
    first: int
    count: int
    timeout: float | None
    stop_on_error: bool
    job: Mapping[str, Any]
    blobs: Mapping[str, bytes]


class Berth:
    """The process for one call at a time.

    Parameters
    ----------
    memory
        MiB that it may have; None for any number.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.memory = 0
        self.child: Child | None = None

    def muster(self, most: int) -> list[Child]:
        """Return the process, alive."""
        if self.child is not None and self.child.has_ended():
            self.bury(self.child)
        if self.child is None:
            self.child = Child(self._site.start)
        return [self.child]

    def bury(self, child: Child) -> None:
        """Forget a process that has ended."""
        child.dispose()
        self.child = None

    def is_full(self, children: Sequence[Child]) -> bool:
        """Whether the process has more memory than it may."""
        return bool(self.memory) and exceed([child.pid for child in children], self.memory * _MiB)

    def introduce(self, child: Child, task: Task) -> None:
        """Tell the process of a job, unless it knows it."""
        if task.job_id in child.jobs:
            child.jobs.move_to_end(task.job_id)
            return
        for digest, data in task.blobs.items():
            if digest not in child.blobs:
                fd, nbytes = self._site.shelve(digest, data)
                child.post(m.BLOB, (digest, nbytes, None), (), (fd,))
                child.blobs.add(digest)
        job = task.job
        environment = job["environment"]
        meta = (
            task.job_id,
            job["seed"],
            job["guard"],
            "",  # no result file: everything goes through the socket
            task.timeout is not None,
            job["cwd"],
            {**os.environ, **job["variables"]} if environment is None else environment,
            job["path"],
            job["displays"],
            task.stop_on_error,
        )
        child.post(m.JOB, meta, (job["payload"],))
        child.jobs[task.job_id] = None
        if len(child.jobs) > _KEEP_JOBS:
            child.post(m.FORGET, ((child.jobs.popitem(last=False)[0],), (), ()))


class Site:
    """The processes beside one Dask worker.

    Parameters
    ----------
    folder
        Where our code lies, if it was brought here; None if it is installed.
    scratch
        The Dask worker's own folder on disk.
    """

    def __init__(self, folder: str | None, scratch: str | None) -> None:
        self._folder, self._scratch = folder, scratch
        self._lock = threading.Lock()
        self._idle: list[Berth] = []
        self._berths: set[Berth] = set()
        self._unwanted: OrderedDict[str, None] = OrderedDict()
        """Calls that must stop, or not begin."""
        self._blobs: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """File descriptor and length, by digest."""
        self._used: Counter[str] = Counter()
        """By how many calls under way each is used."""
        self._closed = False

    def start(self, _child: Child, ends: Ends) -> int:
        """Start a process."""
        path = [entry for entry in sys.path if entry != self._folder]
        if self._folder is not None:
            path.insert(0, self._folder)
        config = {
            "socket": ends.socket.fileno(),
            "page": ends.page,
            "lifeline": ends.lifeline,
            "tail": ends.tail,
            "alone": self._folder is not None,
        }
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        process = subprocess.Popen(
            [sys.executable, *flags, "-c", _BOOT.format(path=path), json.dumps(config)],
            stdin=subprocess.DEVNULL,
            stdout=ends.tail,
            stderr=ends.tail,
            pass_fds=(ends.socket.fileno(), ends.page, ends.lifeline, ends.tail),
            start_new_session=True,
        )
        process.returncode = 0  # `Child` waits for it; nobody else must
        return process.pid

    def run(
        self,
        call: Mapping[str, Any],
        job: Mapping[str, Any],
        blobs: Mapping[str, bytes],
        is_released: Callable[[], bool],
    ) -> bytes:
        """Run a call's items; return sealed records, the last of which tells how it ended.

        Parameters
        ----------
        is_released
            Asked now and then: whether Dask wants the call no more.
        """
        begin = time.monotonic()
        name = call["name"]
        task = Task(
            job["id"],
            job["key"],
            call["batch"],
            call["first"],
            call["count"],
            job["timeout"],
            job["stop_on_error"],
            job,
            blobs,
        )
        berth = self._take(blobs)
        berth.memory = job["memory"] or 0
        until = math.inf if call["lease"] is None else begin + call["lease"]
        shift = Shift(
            berth, task, until, "lease", lambda: name in self._unwanted or is_released(), TICK
        )
        try:
            if name in self._unwanted:
                shift.ending.why = "cancelled"
                pieces: list[Any] = []
            else:
                pieces = shift.run(call["items"])
        finally:
            self._unwanted.pop(name, None)
            self._give_back(berth, blobs)
        meta = {"end": shift.ending.as_meta(), "seconds": time.monotonic() - begin, "gets": 0}
        pieces += sealed_record(task.batch, task.first, 0, meta, [], 0, task.key)
        return b"".join(pieces)

    def stop(self, names: Sequence[str]) -> None:
        """Have calls stop that run here, or would."""
        self._unwanted.update(dict.fromkeys(names))
        for name in list(self._unwanted)[:-1000]:
            self._unwanted.pop(name, None)

    def _take(self, digests: Iterable[str]) -> Berth:
        with self._lock:
            if self._closed:
                raise RuntimeError("this Dask worker is closing")
            self._used.update(list(digests))
            berth = self._idle.pop() if self._idle else Berth(self)
            self._berths.add(berth)
            return berth

    def _give_back(self, berth: Berth, digests: Iterable[str]) -> None:
        with self._lock:
            self._used.subtract(list(digests))
            self._idle.append(berth)

    def shelve(self, digest: str, data: bytes) -> tuple[int, int]:
        """Return a file with a captured value, and its length."""
        with self._lock:
            if digest not in self._blobs:
                with tempfile.TemporaryFile(dir=self._scratch) as file:
                    file.write(data)
                    file.flush()
                    self._blobs[digest] = os.dup(file.fileno()), len(data)
                self._make_room()
            self._blobs.move_to_end(digest)
            return self._blobs[digest]

    def _make_room(self) -> None:
        """Drop what no call has used for longest, beyond the room there is."""
        total = sum(nbytes for _, nbytes in self._blobs.values())
        for digest in [digest for digest in self._blobs if not self._used[digest]]:
            if total <= _KEEP_BYTES:
                return
            fd, nbytes = self._blobs.pop(digest)
            os.close(fd)  # processes that map it keep it
            total -= nbytes

    def close(self) -> None:
        """End all processes. Safe to repeat."""
        with self._lock:
            self._closed = True
            berths, self._berths = self._berths, set()
            for berth in berths:
                if berth.child is not None:
                    berth.child.kill()
            for fd, _ in self._blobs.values():
                os.close(fd)
            self._blobs.clear()
