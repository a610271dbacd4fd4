"""The parent's side of a worker process: writes to it, reads from it, watches it, ends it."""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.messages import (
    BlobMessage,
    ForgetMessage,
    JobMessage,
    Message,
    Received,
)
from cloudbutton_backend.worker.shared_memory import SharedRegion, anonymous_file
from cloudbutton_backend.worker.wire import Buffer, Decoder, encode, receive, send_some

UNKNOWN_CODE: Final = -256
"""Exit code of a process whose code was collected by something else in this process."""
_ONE_SENDING: Final = 8192
_WHOLE_READ: Final = 1 << 17
"""Bytes: after a read of fewer, nothing more is there."""
_LAST_WORDS: Final = 4000
_KEEP_JOBS: Final = 4
"""Functions that a process keeps loaded, where `open_job` sent them."""
_BOOT: Final = (
    "import sys; sys.path[:] = {path!r}; from cloudbutton_backend.worker.loop import main; "
    "main(sys.argv[1])"
)


@dataclass(frozen=True, slots=True)
class ProcessDeath:
    """The end of a process."""

    code: int
    """As `os.waitstatus_to_exitcode` has it, or `UNKNOWN_CODE`."""
    peak: int
    """Bytes of memory at most; 0 if unknown."""
    words: str
    """The end of what its C code printed."""

    def explain(self) -> str:
        """Describe the death for the user: how, why, how large."""
        code = self.code
        if code == UNKNOWN_CODE:
            text = "it ended, and something else in this process collected its exit code"
        elif code >= 0:
            text = f"it exited with code {code}"
            if code in (0, 1, 2):
                text += " (code in the task ended the process: `os._exit`, or a library did)"
        else:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = "unknown signal"
            text = f"killed by signal {-code} ({name})"
            text += {
                "SIGKILL": ", often the system running out of memory",
                "SIGSEGV": ", a crash in compiled code or endless recursion in it",
                "SIGABRT": ", compiled code gave up",
                "SIGBUS": ", a mapped file shrank or the disk is full",
                "SIGILL": ", a library built for another processor",
            }.get(name, "")
        if self.peak:
            text += f"; its memory peaked at {self.peak / 1e6:,.0f} MB"
        if self.words:
            lines = [line for line in self.words.splitlines() if line.strip()]
            text += "\nits last words:\n  " + "\n  ".join(lines[-12:])
        return text


@dataclass(frozen=True, slots=True)
class ProcessEnds:
    """The new process's ends of what connects it with this one, which closes them once it is started."""

    socket: socket.socket
    page: SharedRegion
    """The page of `status_page`."""
    lifeline: int
    """Descriptor of a pipe that closes when this process ends; -1 on Windows."""
    tail: int
    """Descriptor of a file for what C code prints; -1 on Windows."""


def exec_worker(
    ends: ProcessEnds,
    path: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    flags: Sequence[str] = (),
    **config: Any,
) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter as a worker process.

    Parameters
    ----------
    path
        Its `sys.path`.
    flags
        For the interpreter, beside those that this one was started with.
    config
        For `worker.loop.main`.
    """
    config["prefix"] = (sys.prefix, sys.exec_prefix)
    options: dict[str, Any]
    if sys.platform == "win32":
        config |= {"share": True, "page": ends.page.tag}
        options = {"stdin": subprocess.PIPE, "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    else:
        fds = (ends.socket.fileno(), ends.page.fd, ends.lifeline, ends.tail)
        config |= {"socket": fds[0], "page": fds[1], "lifeline": fds[2], "tail": fds[3]}
        options = {"stdin": subprocess.DEVNULL, "pass_fds": fds, "start_new_session": True}
    own_flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    boot = _BOOT.format(path=list(path))
    output = None if ends.tail < 0 else ends.tail
    process = subprocess.Popen(
        [sys.executable, *own_flags, *flags, "-c", boot, json.dumps(config)],
        env=environment,
        stdout=output,
        stderr=output,
        **options,
    )
    if sys.platform == "win32":
        assert process.stdin is not None
        process.stdin.write(ends.socket.share(process.pid).hex().encode() + b"\n")
        process.stdin.close()
    return process


class ChildProcess:
    """One worker process, from its start to its end.

    Parameters
    ----------
    start
        Starts the process and returns it, or its id if it was forked.
    """

    def __init__(self, start: Callable[[ProcessEnds], subprocess.Popen[bytes] | int]) -> None:
        self.page = SharedRegion(status_page.SIZE)
        self.words = status_page.view(self.page.map)
        status_page.reset(self.words)
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        self._tail = self._lifeline = lifeline = -1
        if sys.platform != "win32":
            self._tail = anonymous_file()
            lifeline, self._lifeline = os.pipe()
        _living.add(self)
        try:
            started = start(ProcessEnds(theirs, self.page, lifeline, self._tail))
        except BaseException:  # it could not be started: nothing of it must stay
            self._close()
            raise
        finally:
            theirs.close()
            if lifeline >= 0:
                os.close(lifeline)
        self._popen = None if isinstance(started, int) else started
        self.pid = started if isinstance(started, int) else started.pid
        self.jobs: OrderedDict[str, None] = OrderedDict()
        """Jobs it knows, the one used last at the end."""
        self.blobs: set[str] = set()
        self.next_ordinal = 0
        self.hung_up = False
        """Whether its socket has closed, which its death follows."""
        self.kill_reason: str | None = None
        self.death: ProcessDeath | None = None
        self._decoder = Decoder()
        self._outbox: deque[tuple[memoryview, Sequence[int]]] = deque()

    # -- talking

    def post(self, message: Message, body: Sequence[Buffer] = (), fds: Sequence[int] = ()) -> None:
        """Queue a message and send what the socket takes now."""
        self.queue(message, body, fds)
        self.flush()

    def queue(self, message: Message, body: Sequence[Buffer] = (), fds: Sequence[int] = ()) -> None:
        """Queue a message, to be sent with the next one: each sending may wake the process."""
        outbox = self._outbox
        for number, piece in enumerate(encode(message, body, len(fds))):
            view = memoryview(piece)
            if number == 0 and not fds and outbox and _fits(outbox[-1], view):
                outbox[-1] = (memoryview(bytes(outbox[-1][0]) + piece), outbox[-1][1])
            elif view:
                outbox.append((view, fds if number == 0 else ()))

    def flush(self) -> None:
        """Send what the socket takes now; what a dead process cannot take is dropped with it."""
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

    def knows(self, job_id: str) -> bool:
        """Whether it has been told of a job, which thereby becomes the one used last."""
        if job_id in self.jobs:
            self.jobs.move_to_end(job_id)
        return job_id in self.jobs

    def open_job(self, message: JobMessage, function: Buffer) -> None:
        """Tell it of a job, and have it drop the job that was used least recently if it has many."""
        self.post(message, (function,))
        self.jobs[message.job_id] = None
        if len(self.jobs) > _KEEP_JOBS:
            self.post(ForgetMessage(jobs=(self.jobs.popitem(last=False)[0],)))

    def map_blob(self, digest: str, fd: int, nbytes: int) -> None:
        """Make it map a file with a captured value."""
        self.post(BlobMessage(digest, nbytes, None), (), (fd,))
        self.blobs.add(digest)

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outbox)

    def read(self) -> list[Received]:
        """Return the messages that have arrived, also those of a process that has died since."""
        messages: list[Received] = []
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
            if len(data) < _WHOLE_READ:
                return messages

    # -- where it is

    @property
    def is_busy(self) -> bool:
        """Whether it runs the user's code now."""
        return bool(self.words[status_page.BUSY])

    @property
    def is_at_work(self) -> bool:
        """Whether it is busy with what it was sent, or has not read that yet, being slow or stopped."""
        return not self.words[status_page.WAITING] or bool(_unread(self.socket))

    @property
    def packed(self) -> tuple[int, int]:
        """The number of items whose results it has packed so far, and their bytes."""
        # The bytes are read first, as they are stored last: never too many.
        nbytes = self.words[status_page.PACKED_BYTES]
        return self.words[status_page.PACKED], nbytes

    def memory(self) -> int:
        """Return the bytes of memory it alone has resident now, 0 if unknown."""
        resident, shared = _memory(self.pid)
        return resident - shared

    # -- its end

    def forbid_all(self) -> None:
        """Forbid it to begin any other item that it was sent."""
        status_page.revoke(self.words, 0, self.next_ordinal)

    def interrupt(self) -> None:
        """Ask it to drop the item it runs, if that item is revoked."""
        if sys.platform == "win32":
            self.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def kill(self, reason: str = "killed") -> None:
        """End it and what it started, now."""
        self.kill_reason = self.kill_reason or reason
        if self.death is not None:
            return
        if sys.platform == "win32":
            self._popen.kill()
            return
        self._kill_group()
        with contextlib.suppress(ProcessLookupError):  # just forked, it may have no group yet
            os.kill(self.pid, signal.SIGKILL)

    def end(self, within: float = math.inf) -> None:
        """Kill it and wait until it is gone, at most `within` seconds."""
        self.kill()
        until = time.monotonic() + within
        while not self.has_ended() and time.monotonic() < until:
            time.sleep(0.001)

    def has_ended(self) -> bool:
        """Return whether it has ended, taking note of how."""
        if self.death is None:
            found = self._collect()
            if found is None:
                return False
            if self._popen is not None:
                self._popen.returncode = found[0]
            self.death = ProcessDeath(*found, self._last_words())
        return True

    def _collect(self) -> tuple[int, int] | None:
        """Return its exit code and peak memory; None while it lives."""
        if not hasattr(os, "wait4"):
            assert self._popen is not None
            code = self._popen.poll()
            return None if code is None else (code, 0)
        try:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:  # something else in this process reaped it
            return UNKNOWN_CODE, 0
        if pid == 0:
            return None
        scale = 1 if sys.platform == "darwin" else 1024
        return os.waitstatus_to_exitcode(status), usage.ru_maxrss * scale

    def _last_words(self) -> str:
        if self._tail < 0:
            return ""
        size = os.fstat(self._tail).st_size
        data = os.pread(self._tail, _LAST_WORDS, max(0, size - _LAST_WORDS))
        return data.decode("utf-8", "replace").strip()

    def _kill_group(self) -> None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def dispose(self) -> None:
        """Release what belongs to a process that has ended, and end what its tasks forked off."""
        self._kill_group()
        self._close()

    def hang_up(self) -> None:
        """Close what this one would notice the end of this process by."""
        _living.discard(self)
        self.socket.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _close(self) -> None:
        self.hang_up()
        if self._tail >= 0:
            os.close(self._tail)
            self._tail = -1
        self.words.release()
        self.page.close()


_living: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


def _hang_up_in_fork() -> None:
    """In a process forked off this one: its life must not keep worker processes alive."""
    for child in list(_living):
        child.hang_up()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hang_up_in_fork)


def _fits(last: tuple[memoryview, Sequence[int]], view: memoryview) -> bool:
    """Whether two pieces are small enough to go in one sending."""
    return len(last[0]) + len(view) <= _ONE_SENDING


def _unread(sock: socket.socket) -> int:
    """Return how many bytes the other end has not read yet, 0 where that cannot be told."""
    try:
        import fcntl
        import termios

        found = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    except (ImportError, OSError):
        return 0
    return int.from_bytes(found, sys.byteorder)


def _memory(pid: int) -> tuple[int, int]:
    """Return a process's bytes of resident memory and how many of them it shares, 0 where unknown."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            _size, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0, 0
    return resident * mmap.PAGESIZE, shared * mmap.PAGESIZE


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has resident, 0 if unknown."""
    return _memory(pid)[0]


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


def wait_for(children: Sequence[ChildProcess], seconds: float) -> list[ChildProcess]:
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
