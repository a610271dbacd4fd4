"""Calls pushed into one open job, each with a future: the basis of executors and pools."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.errors import JobCancelled, WorkerLost
from cloudbutton_backend.job_model import ItemOutcome, JobOptions, JobState
from cloudbutton_backend.results.log_records import handle_records
from cloudbutton_backend.session import session as _session
from cloudbutton_backend.worker.calls import (
    AuthKey,
    Initialised,
    InitializerFailed,
    run_call,
    run_trusted,
)

if TYPE_CHECKING:
    from cloudbutton_magic.display.task_outputs import OutputReplay

_LOG: Final = logging.getLogger("concurrent.futures")
"""Where executors report an initializer that failed."""


class PushedCalls:
    """The calls of one executor. Does not know the executor, which may be gone before they end.

    Parameters
    ----------
    run
        What workers do with each item that is added; None stands for one that was cancelled.
    finish_at_exit
        Whether the calls submitted are finished before the interpreter ends, as an executor's are. A pool's
        are ended then.
    sample
        Calls like those to come: they tell which packages workers need, where those are brought along.
    """

    def __init__(
        self,
        session: _session.Session,
        options: JobOptions,
        run: Callable[[Any], Any] = run_call,
        *,
        finish_at_exit: bool = True,
        sample: Sequence[Any] = (),
    ) -> None:
        self._session = session
        self._options = options
        self._run = run
        self._finish_at_exit = finish_at_exit
        self._sample = sample
        self._lock = threading.Lock()
        self._futures: dict[int, Future[Any]] = {}
        self._ended = False
        self._broken: str | None = None
        self._cause: BaseException | None = None
        self._collector: threading.Thread | None = None
        self._shown: OutputReplay | None = None

    def __repr__(self) -> str:
        state = "shut down" if self._ended else "broken" if self._broken else "open"
        return f"{self._options.backend}, {state}, {len(self._futures)} calls waiting"

    # -- from any thread

    @property
    def broken(self) -> str | None:
        """The reason why it takes no more calls, if something went wrong."""
        return self._broken

    @property
    def cause(self) -> BaseException | None:
        """The reason why it ended early and its futures were cancelled."""
        return self._cause

    @property
    def mean_seconds(self) -> float | None:
        """The mean duration of a call; None before the first has ended."""
        if self._collector is None:
            return None
        progress = self._job.progress
        return progress.task_seconds / progress.done if progress.done else None

    def add(self, call: Any) -> Future[Any]:
        """Add a call; return its future.

        Raises
        ------
        RuntimeError
            After `end`, and when the interpreter ends.
        BrokenExecutor
            If the job behind it has ended for another reason.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._ended or _leaving:
                what = "shutdown" if self._ended else "the interpreter's end has begun"
                raise RuntimeError(f"cannot schedule new futures after {what}")
            if self._broken is not None:
                raise broken(self._broken, self._cause)
            if self._collector is None:
                self._open()
            index = self._source.push(call)
            self._futures[index] = future
            self._session.supply(self._job, self._source.count, False)
        return future

    def _open(self) -> None:
        """Open the job that the calls belong to, when the first one comes."""
        run = reaching_managers(self._run, self._session, self._options.backend)
        self._job, self._source = self._session.open_stream(
            run, self._claim_call, self._options, self._sample
        )
        self._sample = ()
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

    def end_at_exit(self) -> None:
        """Get ready for the interpreter's end."""
        if self._finish_at_exit:
            self.end()
        else:
            self.stop()

    def stop(self) -> None:
        """Take no more calls, and end those under way. Safe to repeat."""
        self.end(cancel=True)
        if self._collector is not None:
            self._job.cancel()

    def await_all(self) -> None:
        """Wait until every call has ended."""
        collector = self._collector
        if collector is None or collector is threading.current_thread():
            return
        while collector.is_alive():
            collector.join(1.0)  # in steps, so that Ctrl-C gets through on every system

    # -- on the driver's thread

    def _claim_call(self, index: int, call: Any) -> Any:
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
            for outcome in self._job.new_results():
                self._resolve_future(outcome)
                del outcome  # the result is the future's alone
        except BaseException as caught:
            error = caught
        job = self._job
        error = error or self._cause or job.failure
        if error is None and job.state is JobState.CANCELLED:
            error = JobCancelled(job.id, job.progress.done, job.n_items)
        if self._shown is not None:
            self._shown.finish()
        with self._lock:
            self._cause = error
            self._broken = self._broken or str(error or "the executor's job has ended")
            left, self._futures = list(self._futures.values()), {}
            _open.discard(self)
        for future in left:
            _abandon(future, self._broken, error)
        self._collector = None  # the session remembers the job, which need not keep this thread

    def _resolve_future(self, outcome: ItemOutcome) -> None:
        future = self._futures.pop(outcome.index, None)
        self._source.release(outcome.index, 1)  # its arguments, if it failed
        if future is None:
            return
        if outcome.outputs and not self._options.quiet:
            self._show(outcome)
        handle_records((outcome,))
        if outcome.error is None:
            future.set_result(outcome.value)
        elif isinstance(outcome.error, InitializerFailed):
            self._give_up(outcome.error)
            future.set_exception(broken(_NOT_INITIALISED, outcome.error))
        else:
            future.set_exception(_as_broken(outcome.error))

    def _show(self, outcome: ItemOutcome) -> None:
        """Show here what a call printed there, as a process pool's workers do by themselves."""
        if self._shown is None:
            from cloudbutton_magic.display.task_outputs import OutputReplay

            self._shown = OutputReplay(job_has_it=False)
        self._shown.play(outcome)

    def _give_up(self, error: InitializerFailed) -> None:
        """End all calls, once: no worker can be initialised."""
        if self._cause is None:
            with self._lock:
                self._broken, self._cause = _NOT_INITIALISED, error
            _LOG.critical("Exception in initializer:", exc_info=error)
            self._job.cancel()


_NOT_INITIALISED: Final = "The initializer failed in a worker: no call can run."
_open: Final[set[PushedCalls]] = set()
"""Those with calls that may be under way."""
_leaving = False


@atexit.register
def _finish() -> None:
    """Finish what was submitted, as other executors do. Runs before the session is closed."""
    global _leaving
    _leaving = True
    for calls in list(_open):
        calls.end_at_exit()
    for calls in list(_open):
        calls.await_all()


def prepared(
    function: Callable[[Any], Any],
    initializer: Callable[..., Any] | None,
    initargs: tuple[Any, ...],
    options: dict[str, Any],
) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Return a function that runs after the initializer, and the options to run it with."""
    if initializer is None:
        return function, options
    if not callable(initializer):
        raise TypeError("initializer must be a callable")
    # What it sets is meant to stay set: no warning is needed that a task changed it.
    return Initialised(function, initializer, tuple(initargs)), {"guard": "off", **options}


def reaching_managers(
    function: Callable[[Any], Any], session: _session.Session, backend: str
) -> Callable[[Any], Any]:
    """Return `function` so that its items may hold queues and the like of a `multiprocessing.Manager`.

    Children of this process know its key; workers must be told. It stays on this machine.
    """
    if "multiprocessing.managers" not in sys.modules:
        return function
    if not session.driver(backend).backend.limits.is_this_machine:
        return function
    import multiprocessing

    key = AuthKey(bytes(multiprocessing.current_process().authkey))
    return functools.partial(run_trusted, key, function)


def _abandon(future: Future[Any], reason: str, cause: BaseException | None) -> None:
    """Resolve the future of a call that will never end."""
    if isinstance(cause, JobCancelled) and future.cancel():
        future.set_running_or_notify_cancel()
    elif future.running() or future.set_running_or_notify_cancel():
        future.set_exception(broken(reason, cause))


def _as_broken(error: BaseException) -> BaseException:
    """Return `error`, or a lost worker as the error that executors use for it."""
    if not isinstance(error, WorkerLost):
        return error
    return broken(str(error), error)


def broken(reason: str, cause: BaseException | None) -> BrokenExecutor:
    """Return the error that process pools use where they are broken."""
    kind = BrokenExecutor
    with contextlib.suppress(ImportError, RuntimeError):  # too late, when the interpreter ends
        from concurrent.futures.process import BrokenProcessPool  # takes milliseconds

        kind = BrokenProcessPool
    error = kind(reason)
    error.__cause__ = cause
    return error
