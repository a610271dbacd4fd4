"""One worker process seen from the kernel: started, written to, read from, and its death explained."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cloudbutton_backend.backends.local.shared_memory import SharedRegion
from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.wire import Buffer, Decoder, encode, receive, send_some

_ONE_SENDING = 8192
_BOOT = (
    "import sys; sys.path[:] = {path!r}; from cloudbutton_backend.worker.loop import main; "
    "main(sys.argv[1])"
)


_lifelines: set[int] = set()
"""The kernel's ends of the workers' lifelines."""


def _let_go() -> None:
    """In a process forked off the kernel: its life must not keep the workers alive."""
    for fd in _lifelines:
        with contextlib.suppress(OSError):
            os.close(fd)
    _lifelines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@dataclass(slots=True)
class BatchInWorker:
    """A batch that a worker holds."""

    batch: int
    job_id: str
    base: int
    """Ordinal of its first item, see `worker.status_page`."""
    first: int
    count: int
    slot: int | None
    """Number of the segment with its items."""


def _needs_site() -> bool:
    """Whether import hooks of editable installs are in use, which only `site` sets up.

    They are called ``__editable___NAME_finder``, ``_editable_impl_NAME`` or ``editables.redirector``.
    """
    modules = (
        getattr(finder, "__module__", "") or type(finder).__module__ for finder in sys.meta_path
    )
    return any("editable" in module for module in modules)


def _command(config: dict[str, Any]) -> list[str]:
    # What shadows the standard library in the notebook's folder must not do so while we start.
    own = [entry for entry in sys.path if entry not in ("", os.getcwd())]
    path = [*own, *(entry for entry in sys.path if entry not in own)]
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    site = [] if _needs_site() else ["-S"]
    return [sys.executable, *flags, *site, "-c", _BOOT.format(path=path), json.dumps(config)]


class WorkerProcess:
    """A worker, from its start to the explanation of its end."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.name = name
        self.page = SharedRegion(status_page.SIZE)
        self.words = status_page.view(self.page.map)
        status_page.reset(self.words)
        self.tail = SharedRegion(mmap.PAGESIZE)
        if self.tail.fd >= 0:
            os.ftruncate(self.tail.fd, 0)
        ours, theirs = socket.socketpair()
        self.socket = ours
        ours.setblocking(False)
        config: dict[str, Any] = {"prefix": (sys.prefix, sys.exec_prefix)}
        options: dict[str, Any] = {}
        lifeline_end = -1
        self._lifeline = -1
        if sys.platform == "win32":
            config |= {"share": True, "page": self.page.tag}
            options = {
                "stdin": subprocess.PIPE,
                "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP,
            }
        else:
            lifeline_end, self._lifeline = os.pipe()
            _lifelines.add(self._lifeline)
            tail = os.dup(self.tail.fd)
            page = os.dup(self.page.fd)
            fds = (theirs.fileno(), page, lifeline_end, tail)
            config |= {"socket": fds[0], "page": fds[1], "lifeline": fds[2], "tail": fds[3]}
            options = {"stdin": subprocess.DEVNULL, "pass_fds": fds, "start_new_session": True}
        try:
            self.popen = subprocess.Popen(
                _command(config),
                env=environment,
                stdout=None if self.tail.fd < 0 else self.tail.fd,
                stderr=None if self.tail.fd < 0 else self.tail.fd,
                **options,
            )
            if sys.platform == "win32":
                assert self.popen.stdin is not None
                self.popen.stdin.write(theirs.share(self.popen.pid).hex().encode() + b"\n")
                self.popen.stdin.close()
        except BaseException:  # it could not be started: nothing of it must stay
            ours.close()
            self._close_ours()
            raise
        finally:
            theirs.close()
            if lifeline_end >= 0:
                for fd in (lifeline_end, tail, page):
                    os.close(fd)
        self.pid = self.popen.pid
        self.pidfd = _pidfd(self.pid)
        self.up = False
        self.hung_up = False
        """Its socket has closed, which its death follows."""
        self.held: dict[int, BatchInWorker] = {}
        self.next_ordinal = 0
        self.jobs: set[str] = set()
        self.ended: list[str] = []
        """Jobs that it was not yet told to forget."""
        self.blobs: set[str] = set()
        self.segments: set[int] = set()
        self.path: tuple[str, ...] | None = None
        self.environment: dict[str, str] | None = None
        self.kill_reason: str | None = None
        self.force_at: float | None = None
        """When to kill it if it has not stopped by then."""
        self.overdue: int = -1
        self.rusage_peak = 0
        self._decoder = Decoder()
        self._outbox: deque[tuple[memoryview, Sequence[int]]] = deque()

    # -- talking

    def post(
        self, kind: int, meta: Any, body: Sequence[Buffer] = (), fds: Sequence[int] = ()
    ) -> None:
        """Queue a message and send what the socket takes now."""
        self.queue(kind, meta, body, fds)
        self.flush()

    def queue(
        self, kind: int, meta: Any, body: Sequence[Buffer] = (), fds: Sequence[int] = ()
    ) -> None:
        """Queue a message, to be sent with the next one: each sending may wake the worker."""
        outbox = self._outbox
        for number, piece in enumerate(encode(kind, meta, body, len(fds))):
            view = memoryview(piece)
            if number == 0 and not fds and outbox and _fits(outbox[-1], view):
                outbox[-1] = (memoryview(bytes(outbox[-1][0]) + piece), outbox[-1][1])
            elif view:
                outbox.append((view, fds if number == 0 else ()))

    def flush(self) -> None:
        """Send what the socket takes now; what a dead worker cannot take is dropped with it."""
        outbox = self._outbox
        while outbox:
            view, fds = outbox[0]
            try:
                sent = send_some(self.socket, view, fds)
            except BlockingIOError:
                return
            except OSError:
                outbox.clear()
                self.hung_up = True
                return
            if sent == len(view):
                outbox.popleft()
            else:
                outbox[0] = (view[sent:], ())

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outbox)

    def read(self) -> list[tuple[int, Any, bytes, list[int]]]:
        """Return the messages that have arrived."""
        messages: list[tuple[int, Any, bytes, list[int]]] = []
        while True:  # also after it has died: what it sent before counts
            try:
                data = receive(self.socket, self._decoder)
            except BlockingIOError:
                break
            except OSError:
                self.hung_up = True
                break
            if not data:
                self.hung_up = True
                break
            messages += self._decoder.feed(data)
            if len(data) < 1 << 17:
                break
        return messages

    # -- where it is

    def current(self) -> tuple[BatchInWorker, int] | None:
        """Return the batch and item it runs or ran last, None if that is not known."""
        ordinal = self.words[status_page.CURRENT]
        for held in self.held.values():
            if held.base <= ordinal < held.base + held.count:
                return held, held.first + ordinal - held.base
        return None

    def memory(self) -> int:
        """Return the bytes of memory it alone uses now, 0 where that cannot be told."""
        try:
            with open(f"/proc/{self.pid}/statm") as file:
                _size, resident, shared, *_ = map(int, file.read().split())
        except (OSError, ValueError):
            return 0
        return (resident - shared) * mmap.PAGESIZE

    # -- its end

    def interrupt(self) -> None:
        """Ask it to drop the item it runs, if that item is revoked."""
        if sys.platform == "win32":
            self.kill("killed")
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def kill(self, reason: str) -> None:
        """End it and what it started, now."""
        self.kill_reason = self.kill_reason or reason
        if self.popen.returncode is not None:
            return
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.popen.kill()

    def reap(self) -> bool:
        """Return whether it has ended, taking note of how."""
        if self.popen.returncode is not None:
            return True
        if not hasattr(os, "wait4"):
            return self.popen.poll() is not None
        try:
            pid, wait_status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else in this process reaped it
            self.popen.returncode = -256
            return True
        if pid == 0:
            return False
        scale = 1 if sys.platform == "darwin" else 1024
        self.rusage_peak = usage.ru_maxrss * scale
        self.popen.returncode = os.waitstatus_to_exitcode(wait_status)
        return True

    def last_words(self) -> str:
        """Return the end of what C code printed, for the message about its death."""
        if self.tail.fd < 0:
            return ""
        size = os.fstat(self.tail.fd).st_size
        data = os.pread(self.tail.fd, 4000, max(0, size - 4000))
        return data.decode("utf-8", "replace").strip()

    def dispose(self) -> None:
        """Release what belongs to a dead worker."""
        if hasattr(os, "killpg"):  # what its tasks forked off
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.socket.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        self._close_ours()

    def _close_ours(self) -> None:
        if self._lifeline >= 0:
            _lifelines.discard(self._lifeline)
            os.close(self._lifeline)
            self._lifeline = -1
        self.words.release()
        self.page.close()
        self.tail.close()


def _pidfd(pid: int) -> int:
    """Return a descriptor that tells of a process's end, -1 where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # an older system than the Python was built for, a sandbox
        return -1


def _fits(last: tuple[memoryview, Sequence[int]], view: memoryview) -> bool:
    """Whether two pieces are small enough to go in one sending."""
    return len(last[0]) + len(view) <= _ONE_SENDING


def explain_death(returncode: int, peak: int, words: str) -> str:
    """Return what a person wants to know of a dead worker: how, why, how large."""
    if returncode == -256:
        text = "it ended, and something else in this process collected its exit code"
    elif returncode >= 0:
        text = f"it exited with code {returncode}"
        if returncode in (0, 1, 2):
            text += " (code in the task ended the process: `os._exit`, or a library did)"
    else:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = "unknown signal"
        text = f"killed by signal {-returncode} ({name})"
        text += {
            "SIGKILL": ", often the system running out of memory",
            "SIGSEGV": ", a crash in compiled code or endless recursion in it",
            "SIGABRT": ", compiled code gave up",
            "SIGBUS": ", a mapped file shrank or the disk is full",
            "SIGILL": ", a library built for another processor",
        }.get(name, "")
    if peak:
        text += f"; its memory peaked at {peak / 1e6:,.0f} MB"
    if words:
        lines = [line for line in words.splitlines() if line.strip()]
        text += "\nits last words:\n  " + "\n  ".join(lines[-12:])
    return text
