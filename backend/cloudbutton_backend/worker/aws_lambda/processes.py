"""The worker processes of a Lambda function, which live as long as its handler."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import signal
import sys
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from cloudbutton_backend.worker.aws_lambda.call_wire import CallPart, CallSpec
from cloudbutton_backend.worker.aws_lambda.storage import FetchedBlobs, fetch
from cloudbutton_backend.worker.child_process import ChildProcess, ProcessEnds, exceed
from cloudbutton_backend.worker.loop import run_worker, stub_extension
from cloudbutton_backend.worker.messages import ForgetMessage, JobMessage

VCPU: Final = 1769
"""MiB of memory that come with one vCPU."""
_KEEP_FUNCTIONS: Final = 4
"""Functions of jobs that are kept where they had to be fetched."""
_FULL: Final = 0.95
"""Of its memory that a function may use: the platform would end it with all it has done."""
#: A process for each vCPU: more threads than one in each would stand in each other's way.
_THREADS: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)

# What children need is imported here, while the platform starts the handler: they have it from there.
for _name in ("failures", "output", "result_file", "runner", "unpickling", "watch"):
    importlib.import_module(f"cloudbutton_backend.worker.{_name}")


class ChildProcesses:
    """The processes of this environment, as many as its memory buys vCPUs.

    Parameters
    ----------
    memory
        MiB that the function has.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.size = max(1, memory // VCPU)
        self.children: list[ChildProcess] = []
        self._blobs = FetchedBlobs()
        self._packages = ""
        """SHA-256 of the archive of packages that was unpacked here."""
        self._functions: OrderedDict[str, bytes] = OrderedDict()
        self._names: dict[str, set[str]] = {}
        """By SHA-256: the digests under which functions know a blob."""

    def ensure_started(self, most: int) -> list[ChildProcess]:
        """Return as many living processes as there are vCPUs, and no more than `most`."""
        for child in [child for child in self.children if child.has_ended()]:
            self.reap(child)
        while len(self.children) < min(self.size, most):
            self.children.append(ChildProcess(fork_worker))
        return self.children[:most]

    def is_full(self, children: Sequence[ChildProcess]) -> bool:
        """Whether the function will soon have no memory left."""
        return exceed(
            [os.getpid(), *(child.pid for child in children)], _FULL * (self.memory << 20)
        )

    def reap(self, child: ChildProcess) -> None:
        """Release a process that has ended."""
        child.dispose()
        self.children.remove(child)

    def prepare(self, call: CallSpec, until: float) -> None:
        """Fetch what a call needs and is not here, before the deadline `until`."""
        if call.function.data is None and call.function.sha256 not in self._functions:
            self._functions[call.function.sha256] = fetch(call.function, until)
            if len(self._functions) > _KEEP_FUNCTIONS:
                self._functions.popitem(last=False)
        if call.packages is not None and call.packages.sha256 != self._packages:
            self._unpack(call.packages, until)
        for sha256 in self._blobs.make_room(call.blobs.values()):
            digests = self._names.pop(sha256, set())
            for child in self.children:
                child.post(ForgetMessage(blobs=tuple(child.blobs & digests)))
                child.blobs -= digests
        for digest, blob in call.blobs.items():
            self._blobs.fetched(blob, until)
            self._names.setdefault(blob.sha256, set()).add(digest)

    def _unpack(self, packages: CallPart, until: float) -> None:
        """Install packages that were too large to come with the function."""
        import zipfile

        fd = self._blobs.fetched(packages, until)
        folder = tempfile.mkdtemp(prefix="cloudbutton-packages-")
        with open(os.dup(fd), "rb") as file, zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
        self._blobs.remove(packages.sha256)
        sys.path.insert(0, os.path.join(folder, "python"))
        importlib.invalidate_caches()
        self._packages = packages.sha256
        for child in list(self.children):  # they do not have them
            child.end()
            self.reap(child)

    def send_job(self, child: ChildProcess, call: CallSpec) -> None:
        """Tell a process of a job, unless it knows it."""
        if child.knows(call.job_id):
            return
        for digest, blob in call.blobs.items():
            if digest not in child.blobs:
                child.map_blob(digest, self._blobs.fetched(blob), blob.nbytes)
        function = call.function.data
        if function is None:
            function = self._functions[call.function.sha256]
        message = JobMessage(
            job_id=call.job_id,
            seed=call.seed,
            guard=call.guard,
            results="",
            results_key=b"",
            timed=call.timeout is not None,
            cwd=tempfile.gettempdir(),
            environment={**os.environ, **_THREADS, **call.variables},
            path=None,
            displays=call.displays,
            stop_on_error=call.stop_on_error,
        )
        child.open_job(message, function)


def fork_worker(ends: ProcessEnds) -> int:
    """Start a worker process by forking this one; return its id."""
    with warnings.catch_warnings():
        # None of our threads runs now; one of the runtime's, if there is one, waits for a call.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _run(ends)
    return pid


def _run(ends: ProcessEnds) -> None:
    """Run a worker in a process just forked; never return."""
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
