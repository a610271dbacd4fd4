"""The loop of a worker process: read a message, act on it, answer.

Started by a kernel, a process beside a Dask worker or a Lambda function's handler, with one end of a
socket pair, a shared status page, a pipe that closes when that process dies, and a file for what C code
prints.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import mmap
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.worker import messages as m
from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.messages import Message, Received
from cloudbutton_backend.worker.wire import (
    ONE_WRITE,
    Buffer,
    Decoder,
    encode,
    layout,
    receive,
    split,
)

if TYPE_CHECKING:
    from cloudbutton_backend.worker.failures import PackedError

INLINE: Final = 64 * 1024
"""Results larger than this go straight into the job's result file."""


def _references_of_one_owner() -> int:
    alone = object()
    return sys.getrefcount(alone)


_ONE_OWNER: Final = _references_of_one_owner()
"""What `getrefcount` says of an object that one local variable refers to."""


def watch_lifeline(lifeline: int) -> None:
    """Wait for the kernel's death, then end this process and all that it started."""
    while True:
        try:
            if not os.read(lifeline, 1):  # ends: with the kernel, which has the other end
                break
        except OSError:
            break
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class Channel:
    """The worker's end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._decoder = Decoder()
        self._inbox: deque[Received] = deque()
        self._held: list[Buffer] = []
        self._poll: Any = None
        if hasattr(select, "poll"):  # `select` knows no descriptor above 1023; the kernel may
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    def pending(self) -> bool:
        """Whether a message can be read without waiting."""
        if self._inbox:
            return True
        if self._poll is not None:
            return bool(self._poll.poll(0))
        return bool(select.select([self.sock], [], [], 0)[0])

    def next(self) -> Received:
        """Wait for the next message.

        The wait has no time-out: the lifeline's watcher ends the process when the kernel dies.
        """
        while not self._inbox:
            data = receive(self.sock, self._decoder)
            if not data:
                os._exit(0)
            self._inbox.extend(self._decoder.feed(data))
        return self._inbox.popleft()

    def send(self, message: Message, body: Any = ()) -> None:
        """Send a message, behind those that were held for it."""
        pieces, self._held = self._held + encode(message, body), []
        if sum(map(len, pieces)) <= ONE_WRITE:  # one call wakes the kernel once
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self.sock.sendall(piece)  # ends: the lifeline ends this process with the kernel

    def hold(self, message: Message, body: Any = ()) -> None:
        """Keep a message, to be sent together with the next one, which follows at once."""
        self._held += encode(message, body)


def map_shared(fds: list[int], nbytes: int, tag: str | None, *, writable: bool) -> memoryview:
    """Return shared memory named by a descriptor, or by a tag where there are no descriptors."""
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    if tag is not None:
        return memoryview(mmap.mmap(-1, nbytes, tagname=tag, access=access))  # type: ignore[call-arg]
    (fd,) = fds
    try:
        return memoryview(mmap.mmap(fd, nbytes, access=access))
    finally:
        os.close(fd)


class WorkerLoop:
    """The state and loop of one worker process: jobs, blobs, shared segments."""

    def __init__(self, channel: Channel, words: memoryview, tail_fd: int | None) -> None:
        from cloudbutton_backend.worker import output, process_state
        from cloudbutton_backend.worker.result_file import SegmentWriter
        from cloudbutton_backend.worker.runner import BatchRunner, Interrupted

        self._interrupted = Interrupted
        self._writer = SegmentWriter
        self._channel = channel
        self._words = words
        self._output = output
        self._tail = output.install(tail_fd)
        self._runner = BatchRunner(words, self._tail)
        self._blobs: dict[str, list[memoryview]] = {}
        """Captured values mapped here, by digest."""
        self._segments: dict[int, Any] = {}
        self._window: Callable[[Any, int, int], Any]
        self._jobs: dict[str, Any] = {}
        self._writers: dict[str, Any] = {}
        self._imports: deque[str] = deque()
        self._environment = dict(_raw_environment())
        self._path = list(sys.path)
        self._apply_state = process_state.apply_state
        self._state_of = ""
        """The job whose state this process is in."""
        self._struck = -1
        """The item that was last interrupted; a second interrupt could hit us instead of it."""
        self._batch = -1
        self._payload = memoryview(b"")
        self._items: list[Any] | None = None
        """The items of the batch, until none of them is left; None while they are in the payload."""
        self._job: Any = None
        signal.signal(signal.SIGINT, self._on_interrupt)
        os.register_at_fork(after_in_child=self._after_fork) if hasattr(
            os, "register_at_fork"
        ) else None

    def _on_interrupt(self, _signal: int, _frame: Any) -> None:
        words = self._words
        ordinal = words[status_page.CURRENT]
        if not words[status_page.BUSY] or ordinal == self._struck:
            return
        if words[status_page.LOW] <= ordinal < words[status_page.HIGH]:
            self._struck = ordinal
            raise self._interrupted

    def _after_fork(self) -> None:
        """A task forked: the child must neither talk to the kernel nor go on with the batch."""
        self._runner.forked.append(True)
        self._output.outputs.forked = True
        self._channel.sock.close()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def serve(self) -> None:
        """Handle messages for ever."""
        self._channel.send(m.ReadyMessage(os.getpid()))
        while True:
            while self._imports and not self._channel.pending():
                self._import(self._imports.popleft())
            self._words[status_page.WAITING] = 1
            received = self._channel.next()
            self._words[status_page.WAITING] = 0
            self._handle(*received)

    def _handle(self, message: Message, body: bytes, fds: list[int]) -> None:
        if isinstance(message, m.BatchMessage):
            self._run_batch(message, body)
        elif isinstance(message, m.JobMessage):
            self._open_job(message, body)
        elif isinstance(message, m.BlobMessage):
            shared = map_shared(fds, message.nbytes, message.tag, writable=False)
            self._blobs[message.digest] = split(shared)
        elif isinstance(message, m.SegmentMessage):
            self._map_segment(message, fds)
        elif isinstance(message, m.ForgetMessage):
            self._forget(message)
        elif isinstance(message, m.ImportsMessage):
            self._imports.extend(message.modules)

    def _import(self, name: str) -> None:
        """Import a module ahead of its use; what fails here fails later, where it is used."""
        try:
            __import__(name)
        except BaseException:
            sys.modules.pop(name, None)

    def _open_job(self, job: m.JobMessage, body: bytes) -> None:
        from cloudbutton_backend.worker import failures
        from cloudbutton_backend.worker.process_state import ProcessState
        from cloudbutton_backend.worker.runner import WorkerJob
        from cloudbutton_backend.worker.unpickling import blob_loader, load_function

        if job.environment is not None:
            _set_environment({**job.environment, "MPLBACKEND": self._output.MPL_BACKEND})
            self._environment = dict(_raw_environment())
        if job.path is not None:
            self._path = list(job.path)
        sys.path[:] = self._path  # and drop what tasks of earlier jobs have added
        signal.signal(signal.SIGINT, self._on_interrupt)
        self._enter(job.cwd, self._environment)
        function, state, error = None, ProcessState(), None
        try:
            if job.displays:
                from cloudbutton_backend.worker.output import patch_ipython

                patch_ipython()
            function, state = load_function(body, blob_loader(self._blobs))
            self._apply_state(
                state
            )  # last: packages that were imported have filters of warnings of their own
            self._state_of = job.job_id
        except BaseException as caught:
            error = failures.describe(caught, None, __file__)
            error["kind"] = "load"
        _reseed()
        watch = _guard(function) if job.guard != "off" and error is None else None
        self._jobs[job.job_id] = WorkerJob(
            id=job.job_id,
            seed=job.seed,
            function=function,
            load_error=error,
            guard=watch,
            results=job.results,
            results_key=job.results_key,
            timed=job.timed,
            stop_on_error=job.stop_on_error,
            cwd=job.cwd,
            environment=self._environment,
            state=state,
        )

    def _enter(self, cwd: str, environment: dict[Any, Any]) -> None:
        """Go to the directory and environment that the notebook had, whatever tasks did since."""
        self._output.restore_streams()
        with contextlib.suppress(OSError):  # it is gone; relative paths fail where they are used
            os.chdir(cwd)
        if _raw_environment() != environment:
            _set_environment({_text(name): _text(value) for name, value in environment.items()})

    def _map_segment(self, message: m.SegmentMessage, fds: list[int]) -> None:
        shared = map_shared(fds, message.nbytes, message.tag, writable=True)
        self._segments[message.segment] = shared
        import ctypes  # only where large items come; NumPy has it anyway

        self._window = lambda shared, start, length: (ctypes.c_ubyte * length).from_buffer(
            shared, start
        )

    def _forget(self, message: m.ForgetMessage) -> None:
        for job_id in message.jobs:
            self._jobs.pop(job_id, None)
            self._drop_writer(job_id)
            if self._job is not None and self._job.id == job_id:
                self._job = None
        for digest in message.blobs:
            self._blobs.pop(digest, None)
        for segment in message.segments:
            self._segments.pop(segment, None)

    def _run_batch(self, message: m.BatchMessage, body: bytes) -> None:
        self._batch, self._job = message.batch, self._jobs[message.job_id]
        window = None
        if message.place is not None:
            segment, offset, length = message.place
            window = self._window(self._segments[segment], offset, length)
            self._payload, self._items = memoryview(window).cast("B"), None
        elif body:
            # Arrays among the items must be writable here, as they are in the notebook.
            self._payload, self._items = memoryview(bytearray(body)), None
        ran, unreadable = self._run_items(self._job, message)
        kept = False
        if window is not None:
            # Whatever still uses the items' memory (an array that a task stored away) holds the window.
            self._payload = memoryview(b"")
            kept = sys.getrefcount(window) > _ONE_OWNER
        spoilt = self._runner.is_spoilt
        self._channel.send(m.EndedMessage(message.batch, ran, spoilt, kept, unreadable))
        if spoilt:  # another takes its place
            os._exit(0)

    def _run_items(self, job: Any, message: m.BatchMessage) -> tuple[int, bool]:
        """Run items of the batch; return how many ran, and whether they could not be read."""
        words, base, first, count = self._words, message.base, message.first, message.n_items
        if words[status_page.LOW] <= base and base + count <= words[status_page.HIGH]:
            return 0, False
        if job.load_error is not None:
            self._send_failures(job, first, count, job.load_error)
            return count, False
        self._enter(job.cwd, job.environment)
        if self._state_of != job.id:
            self._apply_state(job.state)
            self._state_of = job.id
        try:
            items = self._take_items(message.skip, count)
        except BaseException as caught:
            if count > 1:
                return 0, True
            self._report_item_error(caught, job, first)
            return 1, False
        return self._runner.run(job, base, first, items, self), False

    def _take_items(self, skip: int, count: int) -> list[Any]:
        """Return `count` items of the batch behind the first `skip`, and keep those behind them."""
        if self._items is None:
            stream, *buffers = split(self._payload)
            self._items = pickle.loads(stream, buffers=buffers)
            self._payload = memoryview(b"")
        items = self._items
        if skip + count >= len(items):  # spans come in order: none of this batch follows
            self._items = None
        return items[skip : skip + count]

    def _report_item_error(self, caught: BaseException, job: Any, first: int) -> None:
        from cloudbutton_backend.worker import failures

        error = failures.describe(caught, None, __file__)
        error["kind"] = "item"
        error["item"] = f"item {first}"
        self._send_failures(job, first, 1, error)

    def _send_failures(self, job: Any, first: int, count: int, error: PackedError) -> None:
        from cloudbutton_backend.worker.runner import PackedResult

        meta = BatchMeta(errors=dict.fromkeys(range(count), error))
        self._job = job
        self.send(PackedResult(first, count, meta, [pickle.dumps([None] * count, 5)]))

    def send(self, parcel: Any) -> None:
        """Send a parcel: in the message if small, through the job's result file if there is one."""
        send = self._channel.hold if parcel.is_last else self._channel.send
        pieces, length = layout(parcel.parts)
        parcel.meta.memory_peak = peak_memory()
        self._words[status_page.PACKED] += parcel.count
        self._words[status_page.PACKED_BYTES] += length
        place = None
        if length > INLINE and self._job.results:
            place = self._write(parcel, pieces, length)
        message = m.ResultsMessage(
            self._batch, parcel.first, parcel.count, parcel.meta.packed(), place, length
        )
        send(message, pieces if place is None else ())

    def _write(self, parcel: Any, pieces: list[Buffer], length: int) -> tuple[str, int, int] | None:
        """Append a parcel to the job's result file; return where it is, None if that is impossible."""
        job = self._job
        try:
            if job.id not in self._writers:
                self._writers[job.id] = self._writer(job.results, job.results_key)
            writer = self._writers[job.id]
            return writer.path, *writer.append(
                self._batch, parcel.first, parcel.count, parcel.meta, pieces, length
            )
        except FileNotFoundError:  # it was removed; the kernel sees to its directory
            self._drop_writer(job.id)
        except OSError:  # the disk is full: the kernel holds it in memory until it is not
            pass
        return None

    def _drop_writer(self, job_id: str) -> None:
        writer = self._writers.pop(job_id, None)
        if writer is not None:
            writer.close()


def _reseed() -> None:
    """Seed the shared random generators from the system.

    A task of an earlier job may have seeded them, in every worker alike: the workers would all
    draw the same numbers from then on.
    """
    for name in ("random", "numpy.random"):
        seed = getattr(sys.modules.get(name), "seed", None)
        if seed is not None:
            with contextlib.suppress(Exception):  # a module of the user's by that name
                seed()


def _guard(function: Any) -> Any:
    """Return a guard of a function's values; None if looking at them is more than they bear."""
    from cloudbutton_backend.worker.watch import Guard

    try:
        return Guard(function)
    except Exception:
        return None


def _raw_environment() -> dict[Any, Any]:
    """Return what `os.environ` holds, without decoding it: it is compared before every batch."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]


def _set_environment(environment: dict[str, str]) -> None:
    """Give this process these variables, and the time zone that they name."""
    zone = os.environ.get("TZ")
    os.environ.clear()
    os.environ.update(environment)
    if os.environ.get("TZ") != zone and hasattr(time, "tzset"):
        time.tzset()


def _text(value: Any) -> str:
    return os.fsdecode(value)


def peak_memory() -> int:
    """Return this process's resident peak in bytes, 0 if unknown."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(config: str) -> None:
    """Run a worker. `config` is the JSON that `child_process.exec_worker` wrote on the command line."""
    settings = json.loads(config)
    sys.prefix, sys.exec_prefix = settings["prefix"]
    sys.argv = [""]
    if settings.get("share"):  # Windows: the socket comes through standard input
        # ends: the kernel writes it at once, or has died and left the pipe closed
        sock = socket.fromshare(bytes.fromhex(sys.stdin.readline()))  # type: ignore[attr-defined]
        page = mmap.mmap(-1, status_page.SIZE, tagname=settings["page"])  # type: ignore[call-arg]
    else:
        sock = socket.socket(fileno=settings["socket"])
        page = mmap.mmap(settings["page"], status_page.SIZE)
        os.close(settings["page"])
        sock.setblocking(True)
        for fd in (settings["socket"], settings["lifeline"], settings["tail"]):
            os.set_inheritable(fd, False)
    sys.modules["__main__"].__dict__.pop("main", None)
    if settings.get("stub"):
        stub_extension()
    run_worker(sock, page, settings.get("lifeline"), settings.get("tail"))


def run_worker(
    sock: socket.socket, page: mmap.mmap, lifeline: int | None, tail: int | None
) -> None:
    """Run a worker in this process; never return."""
    if lifeline is not None:
        _thread.start_new_thread(watch_lifeline, (lifeline,))
    worker = WorkerLoop(Channel(sock), status_page.view(page), tail)
    import faulthandler
    import traceback

    faulthandler.enable(2)
    try:
        worker.serve()
    except BaseException:  # threads of a task may go on for ever: end without them
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        os._exit(1)


def stub_extension() -> None:
    """Make `import cloudbutton_ext as cloud; cloud.rng()` work in tasks where it is not installed."""
    import types

    from cloudbutton_backend.worker.context import rng

    module = types.ModuleType("cloudbutton_ext", "What tasks may use of Cloud Button.")
    module.rng = rng  # type: ignore[attr-defined]
    sys.modules["cloudbutton_ext"] = module
