"""The backend that joblib sees: each call of `Parallel` is a job, each of its batches an item."""

from __future__ import annotations

import copy
import functools
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, Final

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session import session as _session
from cloudbutton_backend.worker.shared_arrays import run_packed
from cloudbutton_ext.api import options_from
from cloudbutton_ext.integrations.joblib.array_sharing import ArrayPacker, ArraySharing
from cloudbutton_ext.integrations.pushed_calls import PushedCalls

_IGNORED_OPTIONS: Final = frozenset({"temp_folder", "verbose", "context"})
"""What joblib hands to every backend for its pool and its files, which here means nothing."""


class CloudBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's tasks on the workers of any backend of Cloud Button.

    Workers stay between calls. Large arrays travel once (see `packing`). An error, or a time-out, ends the
    tasks that are running then.

    Parameters
    ----------
    on
        The Cloud Button backend: ``"local"``, ``"lambda"``, …; None for the one in use.
    **options
        As for `cloud.map`: `memory`, `budget`, `retries`, …
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        *,
        on: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._given = {"backend": on, **options}
        self._options = _checked(self._given)
        self._session = _session.current()
        self._is_own = False
        """Whether it belongs to one `Parallel`, and not to a context that many are made in."""
        self._begin()

    def __repr__(self) -> str:
        state = repr(self._calls[-1]) if self._calls else "idle"
        return f"<CloudBackend on {self._options.backend}: {state}>"

    # -- how many

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks run at a time; -1 stands for as many as there are workers."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        driver = self._session.driver(self._options.backend)
        most = self._options.workers or driver.usual_workers
        return max(1, most + 1 + (-1 if n_jobs is None else n_jobs))

    # -- one call of `Parallel`, or several in a with block

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        max_nbytes: int | None = 1 << 20,
        mmap_mode: str | None = "r",
        on: str | None = None,
        **options: Any,
    ) -> int:
        """Get ready; return how many tasks run at a time.

        Raises
        ------
        FallbackToBackend
            With another backend for this `Parallel` alone: what ends one call must not end those
            that others have begun in the same context.
        """
        if not self._is_own:
            own = copy.copy(self)  # of its own class, so what follows is no stranger's
            own._is_own = True  # noqa: SLF001
            own._begin()  # noqa: SLF001
            raise FallbackToBackend(own)
        ours = {name: value for name, value in options.items() if name not in _IGNORED_OPTIONS}
        if on is not None:
            ours["backend"] = on
        if ours:
            self._options = _checked({**self._given, **ours})
        if mmap_mode not in ("r", "c", None):
            raise UsageError(
                f"`mmap_mode={mmap_mode!r}` would have tasks write to the arrays of this process, which"
                " workers elsewhere cannot. Return what changes, or pass a `numpy.memmap` of yours."
            )
        self.parallel = parallel
        self._n_jobs = self.effective_n_jobs(n_jobs)
        if self._n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        limits = self._session.driver(self._options.backend).backend.limits
        self._sharing = ArraySharing(max_nbytes, mmap_mode, limits.shares_files)
        self._session.warm_up(self._options.backend)
        self._begin()
        return self._n_jobs

    def start_call(self) -> None:
        """Begin a call: what it shares and the job that it becomes are its own."""
        self._begin()

    def _begin(self) -> None:
        self._packer: ArrayPacker | None = None
        self._calls: list[PushedCalls] = []
        """Of this call: the last one takes tasks, those before may still run some."""

    def stop_call(self) -> None:
        """Take no more tasks; those under way go on."""
        self._end()

    def terminate(self) -> None:
        """End the call. The workers stay, for the next."""
        self._end()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the tasks that run, and forget those that wait."""
        ended = self._calls
        self._begin()
        for calls in ended:
            calls.stop()

    def _end(self) -> None:
        for calls in self._calls:
            calls.end()

    # -- tasks

    def submit(
        self, func: Any, callback: Callable[[Future[Any]], None] | None = None
    ) -> Future[Any]:
        """Start a batch. What is wrong with it is its future's: joblib may call this in any thread."""
        future: Future[Any]
        try:
            future = self._send(func)
        except Exception as error:
            future = Future()
            future.set_exception(error)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit
    """What joblib before 1.5 calls it."""

    def _send(self, batch: Any) -> Future[Any]:
        if self._packer is None:
            self._packer = ArrayPacker(self._sharing)
        name = _name_of(batch)
        packed, more_is_shared = self._packer.pack(batch, f"{len(batch)} of {name}")
        if not self._calls or more_is_shared:
            self._end()
            self._calls.append(self._open(self._packer, f"joblib: {name}"))
        return self._calls[-1].add(packed)

    def _open(self, packer: ArrayPacker, name: str) -> PushedCalls:
        run = functools.partial(
            run_packed,
            threads=self.inner_max_num_threads,
            private=packer.private,
            **packer.shared,
        )
        own = {"workers": self._n_jobs, "name": self._options.name or name}
        options = JobOptions(**{**vars(self._options), **own, "errors": "keep", "guard": "off"})
        return PushedCalls(self._session, options, run)

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """Return a batch's results, or raise what one of its tasks has raised."""
        try:
            return future.result()  # ends: the calls' thread settles all it leaves behind
        except CancelledError as error:
            causes = [calls.cause for calls in self._calls if calls.cause is not None]
            raise (causes or [error])[0] from None
        except BaseException as error:
            raise with_worker_traceback(error) from error.__cause__


def _checked(given: dict[str, Any]) -> JobOptions:
    if "errors" in given:
        raise UsageError("joblib has no use for `errors`: it raises the first one, always.")
    if given.get("cache"):
        raise UsageError("joblib has a cache of its own: `joblib.Memory`.")
    return options_from(given)


def _name_of(batch: Any) -> str:
    function = batch.items[0][0]
    function = getattr(function, "function", function)  # scikit-learn wraps each of its own
    return str(getattr(function, "__name__", type(function).__name__))


class WorkerTraceback(Exception):
    """The traceback of a task's error in the worker."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def with_worker_traceback(error: BaseException) -> BaseException:
    """Return `error` with its traceback as text at the end of its chain of causes."""
    if error.__traceback__ is None:
        return error
    last, seen = error, {id(error)}
    while last.__cause__ is not None and id(last.__cause__) not in seen:
        last = last.__cause__
        seen.add(id(last))
    if not isinstance(last, WorkerTraceback):
        last.__cause__ = WorkerTraceback("".join(traceback.format_exception(error)))
    return error
