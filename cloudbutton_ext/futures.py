"""`Executor`: the workers behind the interface of `concurrent.futures`."""

from __future__ import annotations

import atexit
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures import Executor as _Executor
from typing import Any, TypeVar

from cloudbutton_backend import session as _session
from cloudbutton_backend.errors import JobCancelled, UsageError, WorkerLost
from cloudbutton_backend.jobs import ItemOutcome, JobOptions, JobState
from cloudbutton_backend.worker.calls import Call, run_call
from cloudbutton_ext.api import options_from

T = TypeVar("T")


class Executor(_Executor):
    """A `concurrent.futures.Executor` over any backend.

    Unlike a process pool it sends functions by value, keeps what a dead worker did not take down,
    and tries the call that was lost again; if that dies each time, its future alone has the
    `BrokenExecutor`. A call is *running*, and cannot be cancelled any more, once it was sent to a
    worker. As with every executor, the calls submitted are finished before the interpreter ends.
    A task may use an executor in its turn, as it may `map`: each worker then has one more for that.

    Parameters
    ----------
    max_workers
        At most this many workers; None for as many as the backend has.
    **options
        As for `map`, but for `errors`: an error is its future's.
    """

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if "errors" in options:
            raise UsageError("An executor has no `errors` option: each error is its future's.")
        chosen = {"workers": max_workers, "name": "executor", **options, "errors": "keep"}
        self._calls = _Calls(_session.current(), options_from(chosen))
        # Not at exit: the calls are waited for then.
        weakref.finalize(self, self._calls.end).atexit = False

    def __repr__(self) -> str:
        return f"<Executor on {self._calls}>"

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a call; return its future.

        Raises
        ------
        RuntimeError
            After `shutdown`.
        BrokenExecutor
            If the job behind it was cancelled, or its backend is down.
        """
        return self._calls.add(Call(fn, args, kwargs))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Run `fn` over the iterables; return an iterator over the results, in order.

        The items are batched by their measured durations; `chunksize` is accepted and not needed.
        With `buffersize` the iterables are pulled no further ahead of the results than that.

        Raises
        ------
        TimeoutError
            From the iterator, if a result is not there within `timeout` seconds of this call.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else time.monotonic() + timeout
        futures = (self.submit(fn, *args) for args in zip(*iterables))
        ahead = deque(itertools.islice(futures, buffersize))
        return _results(ahead, futures, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those under way. Safe to repeat."""
        self._calls.end(cancel=cancel_futures)
        if wait:
            self._calls.join()


class _Calls:
    """The calls of one executor. Does not know the executor, which may be gone before they end."""

    def __init__(self, session: _session.Session, options: JobOptions) -> None:
        self._session = session
        self._options = options
        self._lock = threading.Lock()
        self._futures: dict[int, Future[Any]] = {}
        self._ended = False
        self._broken: str | None = None
        self._collector: threading.Thread | None = None

    def __repr__(self) -> str:
        state = "shut down" if self._ended else "broken" if self._broken else "open"
        return f"{self._options.backend}, {state}, {len(self._futures)} calls waiting"

    # -- from any thread

    def add(self, call: Call) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._ended or _leaving:
                what = "shutdown" if self._ended else "the interpreter's end has begun"
                raise RuntimeError(f"cannot schedule new futures after {what}")
            if self._broken is not None:
                raise BrokenExecutor(self._broken)
            if self._collector is None:
                self._open()
            index = self._source.push(call)
            self._futures[index] = future
            self._session.supply(self._job, self._source.count, False)
        return future

    def _open(self) -> None:
        """Open the job that the calls belong to, when the first one comes."""
        self._job, self._source = self._session.open_stream(run_call, self._take, self._options)
        name = "cloudbutton-executor"
        self._collector = threading.Thread(target=self._collect, name=name, daemon=True)
        self._collector.start()
        _open.add(self)

    def end(self, *, cancel: bool = False) -> None:
        """Take no more calls. Safe to repeat."""
        with self._lock:
            first, self._ended = not self._ended, True
            futures = list(self._futures.values()) if cancel else []
            if first and self._collector is not None:
                self._source.end()
                self._session.supply(self._job, self._source.count, True)
        for future in futures:  # their callbacks may call us
            future.cancel()

    def join(self) -> None:
        """Wait until every call has ended."""
        collector = self._collector
        if collector is None or collector is threading.current_thread():
            return
        while collector.is_alive():
            collector.join(1.0)  # in steps, so that Ctrl-C gets through on every system

    # -- on the driver's thread

    def _take(self, index: int, call: Call | None) -> Call | None:
        """A call is about to be sent: return it, or None if it is not wanted any more."""
        future = self._futures.get(index)
        if future is None:
            return None
        if future.running():  # it is sent once more, as its worker was lost
            return call
        if future.set_running_or_notify_cancel():
            return call
        del self._futures[index]
        return None

    # -- on the collector's thread

    def _collect(self) -> None:
        """Hand results to their futures as they arrive."""
        error: BaseException | None = None
        try:
            for outcome in self._job.arrivals():
                self._answer(outcome)
                del outcome  # the result is the future's alone
        except BaseException as caught:
            error = caught
        job = self._job
        if error is None and job.state is JobState.CANCELLED:
            error = JobCancelled(job.id, job.progress.done, job.n_items)
        with self._lock:
            self._broken = str(error or "the executor's job has ended")
            left, self._futures = list(self._futures.values()), {}
            _open.discard(self)
        for future in left:
            _abandon(future, self._broken, error)

    def _answer(self, outcome: ItemOutcome) -> None:
        future = self._futures.pop(outcome.index, None)
        self._source.release(outcome.index, 1)  # its arguments, if it failed
        if future is None:
            return
        if outcome.error is None:
            future.set_result(outcome.value)
        else:
            future.set_exception(_as_broken(outcome.error))


_open: set[_Calls] = set()
"""Those with calls that may be under way."""
_leaving = False


@atexit.register
def _finish() -> None:
    """Finish what was submitted, as other executors do. Runs before the session is closed."""
    global _leaving
    _leaving = True
    for calls in list(_open):
        calls.end()
    for calls in list(_open):
        calls.join()


def _results(ahead: deque[Future[T]], more: Iterator[Future[T]], end: float | None) -> Iterator[T]:
    """Yield the futures' results, each time submitting another; cancel the rest if given up."""
    try:
        while ahead:
            # No name is left for the future: whoever got the result is then its only owner.
            yield _result(ahead.popleft(), end)
            ahead.extend(itertools.islice(more, 1))
    finally:
        for future in ahead:
            future.cancel()


def _result(future: Future[T], end: float | None) -> T:
    try:
        return future.result(None if end is None else max(0.0, end - time.monotonic()))
    finally:
        future.cancel()
        del future


def _abandon(future: Future[Any], reason: str, cause: BaseException | None) -> None:
    """Resolve the future of a call that will never end."""
    if isinstance(cause, JobCancelled) and future.cancel():
        future.set_running_or_notify_cancel()
    elif future.running() or future.set_running_or_notify_cancel():
        broken = BrokenExecutor(reason)
        broken.__cause__ = cause
        future.set_exception(broken)


def _as_broken(error: BaseException) -> BaseException:
    """Return `error`, or a lost worker as the error that executors use for it."""
    if not isinstance(error, WorkerLost):
        return error
    broken = BrokenExecutor(str(error))
    broken.__cause__ = error
    return broken
