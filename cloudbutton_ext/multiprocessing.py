"""`Pool`, as that of `multiprocessing`, on any backend: a program changes one import.

>>> from cloudbutton_ext.multiprocessing import Pool
>>> with Pool() as pool:
...     pool.map(abs, [-1, 2, -3])
[1, 2, 3]
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from multiprocessing import TimeoutError as TimeoutError
from typing import TYPE_CHECKING, Any

from cloudbutton_backend.errors import JobFailed, UsageError
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.session import session as _session
from cloudbutton_backend.session.launcher import JobSource
from cloudbutton_backend.worker.calls import PushedCall, Spread, run_call
from cloudbutton_ext.api import options_from
from cloudbutton_ext.integrations.pool_results import (
    AsyncResult,
    IMapIterator,
    feed_iterator,
    resolve_from_job,
)
from cloudbutton_ext.integrations.pushed_calls import PushedCalls, prepared, reaching_managers

if TYPE_CHECKING:
    from cloudbutton_magic.display.task_outputs import OutputReplay

__all__ = ["AsyncResult", "IMapIterator", "Pool", "TimeoutError"]


class Pool:
    """A `multiprocessing.Pool` on the workers of any backend.

    Functions may be of the notebook, closures and lambdas too. Each `map` is a job, with all that a job has:
    batches by measured durations, lost workers replaced and their items tried again. Nothing waits for
    ever: where a pool of `multiprocessing` hangs, after the death of a worker or `terminate`, `get` raises.

    Parameters
    ----------
    processes
        At most this many workers; None for as many as the backend has.
    initializer, initargs
        Called with these arguments in each worker, once for each `map` before its first item, and once for
        all calls of `apply`. Workers belong to the process and outlive the pool, so what it sets is
        put away when the `map` ends.
    maxtasksperchild
        Accepted, and without effect: workers are replaced when they die.
    context
        Accepted, and without effect: workers are started in one way only.
    **options
        As for `map`: `backend`, `memory`, `timeout`, `retries`, …
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        **options: Any,
    ) -> None:
        if processes is not None and processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            type(maxtasksperchild) is not int or maxtasksperchild < 1
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if "errors" in options:
            raise UsageError("A pool has no `errors` option: `map` raises, `imap` goes on.")
        if options.get("cache"):
            raise UsageError("A pool has no `cache` option: use `cloud.map(…, cache=True)`.")
        self._initializer, self._initargs = initializer, tuple(initargs)
        self._session = _session.current()
        self._options = {"workers": processes, **options, "errors": "keep"}
        run, chosen = self._prepared(run_call)
        resolved = options_from({"name": "pool", **chosen})
        self._calls = PushedCalls(self._session, resolved, run, finish_at_exit=False)
        weakref.finalize(self, self._calls.end).atexit = False
        self._jobs: list[Job] = []
        self._threads: list[threading.Thread] = []
        self._state = "running"

    def __repr__(self) -> str:
        return f"<Pool on {self._calls}, {self._state}>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    # -- one call

    def apply(self, func: Callable[..., Any], args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006
        """Return ``func(*args, **kwds)``, called in a worker."""
        # ends: the calls' thread settles all it leaves behind
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Any = (),
        kwds: Any = {},  # noqa: B006
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start ``func(*args, **kwds)`` in a worker."""
        self._check_running()
        result = AsyncResult(callback, error_callback)

        def resolve(future: Future[Any]) -> None:
            try:
                result.resolve(future.result(timeout=0), None)
            except CancelledError:
                ended = JobFailed("The pool was terminated before this call began.")
                result.resolve(None, self._calls.cause or ended)
            except BaseException as error:
                result.resolve(None, error)

        self._calls.add(PushedCall(func, tuple(args), dict(kwds))).add_done_callback(resolve)
        return result

    # -- many calls

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Return the list of the results of `func` for each item."""
        return self._wait(*self._map(func, iterable))

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start calling `func` with each item; `chunksize` is not needed.

        All items are run, even if some fail; then the error of the first of them is the result's.
        """
        return self._map(func, iterable, callback, error_callback)[1]

    def _map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> tuple[Job, AsyncResult]:
        self._check_running()
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)  # what it raises is the caller's, here and now
        job = self._start(func, iterable)
        result = AsyncResult(callback, error_callback)
        self._follow(resolve_from_job, job, result, self._replay())
        return job, result

    def _wait(self, job: Job, result: AsyncResult) -> list[Any]:
        """Wait for a result that no one else waits for: Ctrl-C ends its job."""
        try:
            values: list[Any] = result.get()  # ends: the thread that follows the job settles it
        except KeyboardInterrupt:
            job.cancel()
            raise
        return values

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """Return the list of the results of `func` for each tuple of arguments."""
        return self._wait(*self._map(Spread(func), iterable))

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start calling `func` with each tuple of arguments."""
        return self.map_async(Spread(func), iterable, chunksize, callback, error_callback)

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Return an iterator over the results, in the order of the items.

        An iterator of items is pulled no further ahead than is needed.
        """
        return self._iterate(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Return an iterator over the results, as they arrive."""
        return self._iterate(func, iterable, chunksize, ordered=False)

    def _iterate(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int, *, ordered: bool
    ) -> IMapIterator:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        iterator = IMapIterator()
        self._follow(feed_iterator, self._start(func, iterable), iterator, ordered, self._replay())
        return iterator

    # -- its life

    def close(self) -> None:
        """Take no more work; what was given is finished."""
        if self._state == "running":
            self._state = "closed"
            self._calls.end()

    def terminate(self) -> None:
        """End all that is under way. The workers stay, for others."""
        self._state = "terminated"
        self._calls.stop()
        for job in self._jobs:
            job.cancel()

    def join(self) -> None:
        """Wait until all has ended, callbacks included.

        Raises
        ------
        ValueError
            If neither `close` nor `terminate` was called.
        """
        if self._state == "running":
            raise ValueError("Pool is still running")
        self._calls.await_all()
        for thread in self._threads:
            while thread.is_alive() and thread is not threading.current_thread():
                thread.join(1.0)  # in steps, so that Ctrl-C gets through on every system

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def _check_running(self) -> None:
        if self._state != "running":
            raise ValueError("Pool not running")

    # -- jobs

    def _prepared(
        self, function: Callable[[Any], Any]
    ) -> tuple[Callable[[Any], Any], dict[str, Any]]:
        return prepared(function, self._initializer, self._initargs, self._options)

    def _start(self, func: Callable[[Any], Any], items: Iterable[Any]) -> Job:
        name = getattr(func, "__name__", type(func).__name__)
        run, options = self._prepared(func)
        chosen = options_from(options)
        run = reaching_managers(run, self._session, chosen.backend)
        job = self._session.map(run, items, options=chosen, origin=JobSource(name=name))
        self._jobs = [job for job in self._jobs if not job.state.is_final] + [job]
        return job

    def _follow(self, function: Callable[..., None], *args: Any) -> None:
        """Run `function` on a thread of its own, which `join` waits for."""
        thread = threading.Thread(target=function, args=args, name="cloudbutton-pool", daemon=True)
        self._threads = [thread for thread in self._threads if thread.is_alive()] + [thread]
        thread.start()

    def _replay(self) -> OutputReplay | None:
        if self._options.get("quiet"):
            return None
        from cloudbutton_magic.display.task_outputs import OutputReplay

        return OutputReplay(job_has_it=False)
