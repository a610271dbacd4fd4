"""`Executor`: the workers behind the interface of `concurrent.futures`."""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as _Executor
from concurrent.futures import Future
from typing import Any, TypeVar

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.session import session as _session
from cloudbutton_backend.worker.calls import PushedCall, run_call
from cloudbutton_ext.api import options_from
from cloudbutton_ext.integrations.pushed_calls import PushedCalls, prepared

T = TypeVar("T")


class Executor(_Executor):
    """A `concurrent.futures.Executor` over any backend.

    Unlike a process pool it sends functions by value, keeps what a dead worker did not take down,
    and tries the call that was lost again; if that dies each time, its future alone has the
    `BrokenExecutor`. A call is *running*, and cannot be cancelled any more, once it was sent to a
    worker. As with every executor, the calls submitted are finished before the interpreter ends.
    A task may itself use an executor, as it may `map`: each worker then has one more for that.

    Parameters
    ----------
    max_workers
        At most this many workers; None for as many as the backend has.
    initializer, initargs
        Called with these arguments in each worker, once, before its first call of this executor. What it
        leaves in global variables is there for the calls. If it raises, the executor is broken.
    **options
        As for `map`, but for `errors`: an error is its future's.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        **options: Any,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if "errors" in options:
            raise UsageError("An executor has no `errors` option: each error is its future's.")
        if options.get("cache"):
            raise UsageError("An executor has no `cache` option: use `cloud.map(…, cache=True)`.")
        chosen = {"workers": max_workers, "name": "executor", **options, "errors": "keep"}
        run, chosen = prepared(run_call, initializer, initargs, chosen)
        self._calls = PushedCalls(_session.current(), options_from(chosen), run)
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
        return self._calls.add(PushedCall(fn, args, kwargs))

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
            self._calls.await_all()


def _results(ahead: deque[Future[T]], more: Iterator[Future[T]], end: float | None) -> Iterator[T]:
    """Yield the futures' results, each time submitting another; cancel the rest if given up."""
    try:
        while ahead:
            # No name is left for the future: the caller is then the only owner of the result.
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
