"""The processes that run items inside a function, seen from the handler; they live as long as it does."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from cloudbutton_backend.worker.aws_lambda.call_wire import CallPart, CallSpec
from cloudbutton_backend.worker.aws_lambda.child import fork_worker
from cloudbutton_backend.worker.aws_lambda.storage import FetchedBlobs, fetch
from cloudbutton_backend.worker.child_process import ChildProcess, exceed
from cloudbutton_backend.worker.messages import BlobMessage, ForgetMessage, JobMessage

VCPU: Final = 1769
"""MiB of memory that come with one vCPU."""
_KEEP_JOBS: Final = 4
"""Functions that a process keeps loaded."""
_FULL: Final = 0.95
"""Of its memory that a function may use: the platform would end it with all it has done."""
#: A process for each vCPU: more threads than one in each would stand in each other's way.
_THREADS: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


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
        self._blob_cache: FetchedBlobs | None = None
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
        """Forget a process that has ended."""
        child.dispose()
        self.children.remove(child)

    def learn(self, order: CallSpec, until: float) -> None:
        """Fetch what a job needs, unless it is here, in the time there is."""
        if order.function.data is None and order.function.sha256 not in self._functions:
            self._functions[order.function.sha256] = fetch(order.function, until)
            if len(self._functions) > _KEEP_JOBS:
                self._functions.popitem(last=False)
        if self._blob_cache is None:
            self._blob_cache = FetchedBlobs()
        if order.packages is not None and order.packages.sha256 != self._packages:
            self._unpack(order.packages, until)
        for sha256 in self._blob_cache.make_room(order.blobs.values()):
            digests = self._names.pop(sha256, set())
            for child in self.children:
                child.post(ForgetMessage(blobs=tuple(child.blobs & digests)))
                child.blobs -= digests
        for digest, blob in order.blobs.items():
            self._blob_cache.fetched(blob, until)
            self._names.setdefault(blob.sha256, set()).add(digest)

    def _unpack(self, packages: CallPart, until: float) -> None:
        """Have packages that were too large to come with the function."""
        import zipfile

        assert self._blob_cache is not None
        fd = self._blob_cache.fetched(packages, until)
        folder = tempfile.mkdtemp(prefix="cloudbutton-packages-")
        with open(os.dup(fd), "rb") as file, zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
        self._blob_cache.remove(packages.sha256)
        sys.path.insert(0, os.path.join(folder, "python"))
        importlib.invalidate_caches()
        self._packages = packages.sha256
        for child in list(self.children):  # they do not have them
            child.end()
            self.reap(child)

    def send_job(self, child: ChildProcess, order: CallSpec) -> None:
        """Tell a process of a job, unless it knows it."""
        if order.job_id in child.jobs:
            child.jobs.move_to_end(order.job_id)
            return
        for digest, blob in order.blobs.items():
            if digest not in child.blobs:
                assert self._blob_cache is not None
                fd = self._blob_cache.fetched(blob)
                child.post(BlobMessage(digest, blob.nbytes, None), (), (fd,))
                child.blobs.add(digest)
        function = order.function.data
        if function is None:
            function = self._functions[order.function.sha256]
        message = JobMessage(
            job_id=order.job_id,
            seed=order.seed,
            guard=order.guard,
            results="",
            results_key=b"",
            timed=order.timeout is not None,
            cwd=tempfile.gettempdir(),
            environment={**os.environ, **_THREADS, **order.variables},
            path=None,
            displays=order.displays,
            stop_on_error=order.stop_on_error,
        )
        child.post(message, (function,))
        child.jobs[order.job_id] = None
        if len(child.jobs) > _KEEP_JOBS:
            child.post(ForgetMessage(jobs=(child.jobs.popitem(last=False)[0],)))
