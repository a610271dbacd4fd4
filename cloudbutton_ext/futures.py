"""`Executor`: the workers behind the interface of `concurrent.futures`."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures import Executor as _Executor
from typing import Any, TypeVar

from cloudbutton_backend import session as _session
from cloudbutton_backend.errors import CloudError, WorkerLost
from cloudbutton_backend.jobs import ItemOutcome
from cloudbutton_backend.worker.calls import Call, run_call
from cloudbutton_ext.api import options_from

T = TypeVar("T")


class Executor(_Executor):
    """A `concurrent.futures.Executor` over any backend.

    Unlike a process pool it sends functions by value, keeps what a dead worker did not take down, and
    tries the call that was lost again.

    Parameters
    ----------
    max_workers
        At most this many workers; None for as many as the backend has.
    **options
        As for `map`.
    """

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._session = _session.current()
        chosen = options_from({"workers": max_workers, "errors": "keep", "name": "executor", **options})
        self._lock = threading.Lock()
        self._futures: dict[int, Future[Any]] = {}
        self._shut = False
        self._options = chosen
        self._open = False
        self._collector: threading.Thread | None = None

    def __repr__(self) -> str:
        state = "shut down" if self._shut else "open"
        return f"<Executor on {self._options.backend}, {state}, {len(self._futures)} calls waiting>"

    def _start(self) -> None:
        """Open the job that the calls belong to, when the first one comes."""
        self._job, self._source = self._session.open_stream(run_call, self._take, self._options)
        self._collector = threading.Thread(
            target=self._collect, name="cloudbutton-executor", daemon=True
        )
        self._collector.start()
        self._open = True

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a call; return its future.

        Raises
        ------
        RuntimeError
            After `shutdown`.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if not self._open:
                self._start()
            index = self._source.push(Call(fn, args, kwargs))
            self._futures[index] = future
            self._session.supply(self._job, self._source.count, False)
        return future

    def _take(self, index: int, call: Call) -> Call | None:
        """A call is about to be sent (on the driver's thread): is it still wanted?"""
        future = self._futures.get(index)
        if future is None or future.running():
            return call
        return call if future.set_running_or_notify_cancel() else None

    def _collect(self) -> None:
        """Hand results to their futures as they arrive."""
        try:
            for outcome in self._outcomes():
                future = self._futures.pop(outcome.index, None)
                if future is None or future.cancelled():
                    continue
                if outcome.error is None:
                    future.set_result(outcome.value)
                else:
                    future.set_exception(_as_broken(outcome.error))
            reason: BaseException = BrokenExecutor("the executor was shut down")
        except BaseException as error:
            reason = BrokenExecutor(str(error))
            reason.__cause__ = error
        for future in list(self._futures.values()):
            if not future.cancel() and not future.done():
                future.set_exception(reason)
        self._futures.clear()

    def _outcomes(self) -> Iterator[ItemOutcome]:
        return self._job.arrivals()

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

        Raises
        ------
        TimeoutError
            From the iterator, if a result is not there within `timeout` seconds of this call.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        end = None if timeout is None else time.monotonic() + timeout
        arguments = zip(*iterables)
        if buffersize is None:
            futures = [self.submit(fn, *args) for args in arguments]
            return _results(iter(futures), futures, end)
        ahead = [self.submit(fn, *args) for args in itertools.islice(arguments, buffersize)]

        def rolling() -> Iterator[Future[T]]:
            while ahead:
                future = ahead.pop(0)
                for args in itertools.islice(arguments, 1):
                    ahead.append(self.submit(fn, *args))
                yield future

        return _results(rolling(), ahead, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those under way. Safe to repeat."""
        with self._lock:
            first, self._shut = not self._shut, True
            if cancel_futures:
                for future in list(self._futures.values()):
                    future.cancel()
            if first and self._open:
                self._source.end()
                self._session.supply(self._job, self._source.count, True)
        if wait and self._collector is not None:
            while self._collector.is_alive():
                self._collector.join(1.0)


def _results(
    futures: Iterator[Future[T]], waiting: list[Future[T]], end: float | None
) -> Iterator[T]:
    """Yield the futures' results; cancel the rest if this is given up."""
    try:
        for future in futures:
            if end is None:
                yield future.result()
            else:
                yield future.result(max(0.0, end - time.monotonic()))
    finally:
        for future in waiting:
            future.cancel()


def _as_broken(error: BaseException) -> BaseException:
    """Return `error`, or a lost worker as the error that executors use for it."""
    if not isinstance(error, WorkerLost):
        return error
    broken = BrokenExecutor(str(error))
    with contextlib.suppress(CloudError):
        broken.__cause__ = error
    return broken
