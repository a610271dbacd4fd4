"""Processes that run items for the one that started them: written to, read from, watched, ended."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.wire import Buffer, Decoder, encode, receive, send_some

_LAST_WORDS: Final = 4000


@dataclass(frozen=True, slots=True)
class ProcessDeath:
    """How a process ended."""

    code: int
    """As `os.waitstatus_to_exitcode` has it."""
    peak: int
    """Bytes of memory at most."""
    words: str
    """The end of what its C code printed."""


@dataclass(frozen=True, slots=True)
class ProcessEnds:
    """What a process needs of what connects it with ours. All of it is closed here once it has it."""

    socket: socket.socket
    page: int
    """Descriptor of the page of `status`."""
    lifeline: int
    """Descriptor of a pipe that closes when we end."""
    tail: int
    """Descriptor of a file for what C code prints."""


class ChildProcess:
    """One process, from its start to its end.

    Parameters
    ----------
    start
        Starts a process that goes by `messages`, and returns its id.
    """

    def __init__(self, start: Callable[[ChildProcess, ProcessEnds], int]) -> None:
        page = _anonymous_file()
        os.ftruncate(page, status_page.SIZE)
        self.page = mmap.mmap(page, status_page.SIZE)
        self.words = status_page.view(self.page)
        status_page.reset(self.words)
        self._tail = _anonymous_file()
        self.socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        try:
            self.pid = start(self, ProcessEnds(theirs, page, lifeline, self._tail))
        except BaseException:  # it could not be started: nothing of it must stay
            self._close()
            raise
        finally:
            theirs.close()
            os.close(lifeline)
            os.close(page)
        self.socket.setblocking(False)
        self.jobs: OrderedDict[str, None] = OrderedDict()
        self.blobs: set[str] = set()
        self.next_ordinal = 0
        self.holds_items_of: int = -1
        """The batch whose items it was sent."""
        self.hung_up = False
        self.death: ProcessDeath | None = None
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
        return bool(self.words[status_page.BUSY])

    @property
    def packed(self) -> tuple[int, int]:
        """How many items' results it has packed so far, and their bytes."""
        nbytes = self.words[
            status_page.PACKED_BYTES
        ]  # read first, as it is stored last: never too many
        return self.words[status_page.PACKED], nbytes

    def memory(self) -> int:
        """Return the bytes of memory it has resident now."""
        return resident(self.pid)

    def forbid_all(self) -> None:
        """Have it begin no other item of what it was sent."""
        status_page.revoke(self.words, 0, self.next_ordinal)

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
            self.death = ProcessDeath(-signal.SIGKILL, 0, self._last_words())
            return True
        if pid == 0:
            return False
        peak = usage.ru_maxrss * 1024
        self.death = ProcessDeath(os.waitstatus_to_exitcode(code), peak, self._last_words())
        return True

    def _last_words(self) -> str:
        size = os.fstat(self._tail).st_size
        data = os.pread(self._tail, _LAST_WORDS, max(0, size - _LAST_WORDS))
        return data.decode("utf-8", "replace").strip()

    def let_go(self) -> None:
        """In a process forked off ours: close what would keep this one from hearing of our end."""
        self.socket.close()
        os.close(self._lifeline)

    def dispose(self) -> None:
        """Release what belongs to a process that has ended."""
        self.kill()  # what its tasks forked off
        self._close()

    def _close(self) -> None:
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


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            return os.memfd_create("cloudbutton", os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp(prefix="cloudbutton-")
    os.unlink(path)
    return fd
