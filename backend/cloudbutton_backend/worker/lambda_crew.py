"""The processes that run items inside a function, seen from the handler; they live as long as it does."""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import select
import signal
import socket
import sys
import tempfile
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.worker import messages as m
from cloudbutton_backend.worker import status
from cloudbutton_backend.worker.frames import Buffer, Decoder, encode, receive, send_some
from cloudbutton_backend.worker.lambda_child import fork, run_child
from cloudbutton_backend.worker.lambda_storage import Shelf, fetch
from cloudbutton_backend.worker.lambda_wire import Order, Part

VCPU: Final = 1769
"""MiB of memory that come with one vCPU."""
_KEEP_JOBS: Final = 4
"""Functions that a process keeps loaded."""
_LAST_WORDS: Final = 4000
#: A process for each vCPU: more threads than one in each would stand in each other's way.
_THREADS: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended."""

    code: int
    """As `os.waitstatus_to_exitcode` has it."""
    peak: int
    """Bytes of memory at most."""
    words: str
    """The end of what its C code printed."""


class Child:
    """One process, from its fork to its end."""

    def __init__(self, others: Sequence[Child]) -> None:
        self.page = mmap.mmap(-1, status.SIZE)
        self.words = status.view(self.page)
        status.reset(self.words)
        self._tail = _tail_file()
        self.socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            for other in (*others, self):  # else they would hear of each other's end, not of ours
                other.socket.close()
                os.close(other._lifeline)
            run_child(theirs, self.page, lifeline, self._tail)
        theirs.close()
        os.close(lifeline)
        self.socket.setblocking(False)
        self.jobs: OrderedDict[str, None] = OrderedDict()
        self.blobs: set[str] = set()
        self.next_ordinal = 0
        self.holds_items_of: int = -1
        """The batch whose items it was sent."""
        self.hung_up = False
        self.death: Death | None = None
        self._decoder = Decoder()
        self._outbox: deque[tuple[memoryview, Sequence[int]]] = deque()

    def post(
        self, kind: int, meta: Any, body: Sequence[Buffer] = (), fds: Sequence[int] = ()
    ) -> None:
        """Queue a message and send what the socket takes now."""
        for number, piece in enumerate(encode(kind, meta, body, len(fds))):
            if view := memoryview(piece):
                self._outbox.append((view, fds if number == 0 else ()))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        while self._outbox:
            view, fds = self._outbox[0]
            try:
                sent = send_some(self.socket, view, fds)
            except BlockingIOError:
                return
            except OSError:
                self._outbox.clear()
                self.hung_up = True
                return
            if sent == len(view):
                self._outbox.popleft()
            else:
                self._outbox[0] = (view[sent:], ())

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outbox)

    def read(self) -> list[tuple[int, Any, bytes, list[int]]]:
        """Return the messages that have arrived."""
        messages: list[tuple[int, Any, bytes, list[int]]] = []
        while True:
            try:
                data = receive(self.socket, self._decoder)
            except BlockingIOError:
                return messages
            except OSError:
                data = b""
            if not data:
                self.hung_up = True
                return messages
            messages += self._decoder.feed(data)

    @property
    def is_busy(self) -> bool:
        """Whether it runs the user's code now."""
        return bool(self.words[status.BUSY])

    def memory(self) -> int:
        """Return the bytes of memory it has resident now."""
        return resident(self.pid)

    def forbid_all(self) -> None:
        """Have it begin no other item of what it was sent."""
        status.revoke(self.words, 0, self.next_ordinal)

    def interrupt(self) -> None:
        """Ask it to drop the item it runs, if that item is forbidden."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it and what it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def has_ended(self, *, wait: bool = False) -> bool:
        """Return whether it has ended, taking note of how."""
        if self.death is not None:
            return True
        try:
            pid, code, usage = os.wait4(self.pid, 0 if wait else os.WNOHANG)
        except ChildProcessError:  # somebody else in this process reaped it
            self.death = Death(-signal.SIGKILL, 0, self._last_words())
            return True
        if pid == 0:
            return False
        peak = usage.ru_maxrss * 1024
        self.death = Death(os.waitstatus_to_exitcode(code), peak, self._last_words())
        return True

    def _last_words(self) -> str:
        size = os.fstat(self._tail).st_size
        data = os.pread(self._tail, _LAST_WORDS, max(0, size - _LAST_WORDS))
        return data.decode("utf-8", "replace").strip()

    def dispose(self) -> None:
        """Release what belongs to a process that has ended."""
        self.kill()  # what its tasks forked off
        self.socket.close()
        os.close(self._lifeline)
        os.close(self._tail)
        self.words.release()
        self.page.close()


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has resident, 0 where that cannot be told."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):
        return 0


def exceed(pids: Sequence[int], limit: float) -> bool:
    """Whether processes have more bytes of memory than `limit`, what they share being counted once."""
    # The second takes long where there is much.
    return sum(map(resident, pids)) > limit and sum(map(_share, pids)) > limit


def _share(pid: int) -> int:
    """Return a process's bytes of memory; of what it has in common with others, its part."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            line = next(line for line in file if line.startswith("Pss:"))
            return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError, StopIteration):
        return resident(pid)


def _tail_file() -> int:
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            return os.memfd_create("cloudbutton-tail", os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp(prefix="cloudbutton-")
    os.unlink(path)
    return fd


class Crew:
    """The processes of this environment, as many as its memory buys vCPUs.

    Parameters
    ----------
    memory
        MiB that the function has.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.size = max(1, memory // VCPU)
        self.children: list[Child] = []
        self._shelf: Shelf | None = None
        self._packages = ""
        """SHA-256 of the archive of packages that was unpacked here."""
        self._functions: OrderedDict[str, bytes] = OrderedDict()
        self._names: dict[str, set[str]] = {}
        """By SHA-256: the digests under which functions know a blob."""

    def muster(self, most: int) -> list[Child]:
        """Return as many living processes as there are vCPUs, and no more than `most`."""
        for child in [child for child in self.children if child.has_ended()]:
            self.bury(child)
        while len(self.children) < min(self.size, most):
            self.children.append(Child(self.children))
        return self.children[:most]

    def bury(self, child: Child) -> None:
        """Forget a process that has ended."""
        child.dispose()
        self.children.remove(child)

    def learn(self, order: Order, until: float) -> None:
        """Fetch what a job needs, unless it is here, in the time there is."""
        if order.function.data is None and order.function.sha256 not in self._functions:
            self._functions[order.function.sha256] = fetch(order.function, until)
            if len(self._functions) > _KEEP_JOBS:
                self._functions.popitem(last=False)
        if self._shelf is None:
            self._shelf = Shelf()
        if order.packages is not None and order.packages.sha256 != self._packages:
            self._unpack(order.packages, until)
        for sha256 in self._shelf.make_room(order.blobs.values()):
            digests = self._names.pop(sha256, set())
            for child in self.children:
                child.post(m.FORGET, ((), tuple(child.blobs & digests), ()))
                child.blobs -= digests
        for digest, blob in order.blobs.items():
            self._shelf.get(blob, until)
            self._names.setdefault(blob.sha256, set()).add(digest)

    def _unpack(self, packages: Part, until: float) -> None:
        """Have packages that were too large to come with the function."""
        import zipfile

        assert self._shelf is not None
        fd, _ = self._shelf.get(packages, until)
        folder = tempfile.mkdtemp(prefix="cloudbutton-packages-")
        with open(os.dup(fd), "rb") as file, zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
        self._shelf.drop(packages)
        sys.path.insert(0, os.path.join(folder, "python"))
        importlib.invalidate_caches()
        self._packages = packages.sha256
        for child in list(self.children):  # they do not have them
            child.kill()
            child.has_ended(wait=True)
            self.bury(child)

    def introduce(self, child: Child, order: Order) -> None:
        """Tell a process of a job, unless it knows it."""
        if order.job_id in child.jobs:
            child.jobs.move_to_end(order.job_id)
            return
        for digest, blob in order.blobs.items():
            if digest not in child.blobs:
                assert self._shelf is not None
                fd, nbytes = self._shelf.get(blob)
                child.post(m.BLOB, (digest, nbytes, None), (), (fd,))
                child.blobs.add(digest)
        function = order.function.data
        if function is None:
            function = self._functions[order.function.sha256]
        meta = (
            order.job_id,
            order.seed,
            order.guard,
            "",  # no result file: everything goes through the socket
            order.timeout is not None,
            tempfile.gettempdir(),
            {**os.environ, **_THREADS, **order.variables},
            None,
            order.displays,
            order.stop_on_error,
        )
        child.post(m.JOB, meta, (function,))
        child.jobs[order.job_id] = None
        if len(child.jobs) > _KEEP_JOBS:
            child.post(m.FORGET, ((child.jobs.popitem(last=False)[0],), (), ()))

    def wait(self, children: Sequence[Child], seconds: float) -> list[Child]:
        """Wait until some of `children` have sent something, at most for so long; return those."""
        poll = select.poll()
        by_fd = {child.socket.fileno(): child for child in children if not child.hung_up}
        for fd, child in by_fd.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if child.wants_to_write else 0))
        ready = []
        for fd, mask in poll.poll(max(0.0, seconds) * 1000):
            child = by_fd[fd]
            if mask & select.POLLOUT:
                child.flush()
            if mask & ~select.POLLOUT:
                ready.append(child)
        return ready
