"""Compute Dask's graphs: each graph is a job, each of its tasks a call in it.

How many tasks are sent ahead of those that run depends on them: few long or large ones, many short ones.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dask.core import flatten
from dask.local import get_async, synchronous_executor
from dask.sizeof import sizeof

from cloudbutton_backend.errors import CloudError, UsageError
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session import session as _session
from cloudbutton_backend.worker.graph_tasks import GraphTasks, SharedResult, run_tasks
from cloudbutton_ext.api import options_from
from cloudbutton_ext.integrations.dask_graphs import graphs
from cloudbutton_ext.integrations.pushed_calls import PushedCalls

_DASK_OPTIONS: Final = frozenset(
    {"cache", "callbacks", "raise_exception", "rerun_exceptions_locally"}
)
"""What Dask's own schedulers take, and ours hands on."""


@dataclass(frozen=True)
class DaskScheduler:
    """Computes Dask's graphs on a backend. Dask calls it; `dask_scheduler` makes one."""

    backend: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def job_options(self, more: Mapping[str, Any]) -> JobOptions:
        """Return the options of one computation."""
        given = {"backend": self.backend, **self.options, **more}
        if "errors" in given:
            raise UsageError("Dask has no use for `errors`: it raises the first one, always.")
        return options_from({**given, "errors": "keep", "guard": "off"})

    def __call__(
        self, dsk: Any, keys: Any, *, num_workers: int | None = None, **kwargs: Any
    ) -> Any:
        """Compute a graph; return the values of `keys`, nested as they are.

        Dask's own options (`callbacks`, `cache`, …) mean what they mean to its schedulers; others are
        options of the job.
        """
        own = {name: value for name, value in kwargs.items() if name in _DASK_OPTIONS}
        ours = {name: value for name, value in kwargs.items() if name not in _DASK_OPTIONS}
        ours.pop("chunksize", None)  # batches follow from measured durations
        if num_workers is not None:
            ours["workers"] = num_workers
        options = self.job_options(ours)
        wanted = set(flatten([keys]))
        graph = graphs.prepare_graph(dsk, wanted)
        graphs.check_graph(graph, _session.current().driver(options.backend).backend)
        run = _GraphRun(graph, wanted, options)
        is_whole = False
        try:
            result = get_async(
                run.submit, run.window, graph, keys, get_id=os.getpid, chunksize=1, **own
            )
            is_whole = True
        finally:
            run.end(cancel=not is_whole)
        return result


class _GraphRun:
    """Sends the tasks of one graph."""

    def __init__(self, graph: graphs.Graph, wanted: set[Any], options: JobOptions) -> None:
        session = _session.current()
        shared = graphs.shared_values(graph, wanted)
        names = {key: f"value{number}" for number, key in enumerate(shared)}
        values = {names[key]: value for key, value in shared.items()}
        self._elsewhere = {key: SharedResult(name) for key, name in names.items()}
        self._calls = PushedCalls(
            session,
            replace(options, name=options.name or _name_of(graph)),
            functools.partial(run_tasks, **values),
            sample=graphs.sample(graph),
        )
        workers = options.workers or session.driver(options.backend).usual_workers
        self.window = SendAheadWindow(max(1, workers))

    def submit(self, function: Callable[[list[Any]], Any], tasks: list[Any]) -> Future[Any]:
        """Send a task, as an executor's `submit` does; `get_async` hands it over in a list."""
        key, (task, values), *_ = tasks[0]
        if graphs.is_gathering(task):
            done: Future[Any] = synchronous_executor.submit(function, tasks)
            return done
        for used in self._elsewhere.keys() & values.keys():
            values[used] = self._elsewhere[used]
        answer: Future[Any] = Future()
        try:
            sent = self._calls.add(GraphTasks(function, tasks))
        except BrokenExecutor as error:
            raise self._user_error(error) from None
        sent.add_done_callback(functools.partial(self._pass_on, answer, key))
        return answer

    def _pass_on(self, answer: Future[Any], key: Any, sent: Future[Any]) -> None:
        """Pass on a task's result, or its error in the form that Dask expects."""
        try:
            result = sent.result(timeout=0)
        except BaseException as error:
            error = self._user_error(error)
            answer.set_result([(key, (error, error.__traceback__), True)])
        else:
            self.window.learn(self._calls.mean_seconds, _size(result))
            answer.set_result(result)

    def _user_error(self, error: BaseException) -> BaseException:
        """Return what a user should hear of an error: ours rather than an executor's."""
        if isinstance(error, CancelledError):
            return self._calls.cause or error
        if isinstance(error, BrokenExecutor) and isinstance(error.__cause__, CloudError):
            return error.__cause__
        return error

    def end(self, *, cancel: bool) -> None:
        """Take no more tasks; end those that run, or wait until the job has ended."""
        if cancel:
            self._calls.stop()
        else:
            self._calls.end()
            self._calls.await_all()


def _name_of(graph: graphs.Graph) -> str:
    sent = sum(not graphs.is_gathering(node) for node in graph.values())
    return f"dask: {sent} task{'s' * (sent != 1)}"


def _size(result: list[Any]) -> int:
    """Return about how many bytes a task's result takes."""
    ((_, (value, _), _),) = result
    try:
        return int(sizeof(value))
    except Exception:  # of a user's type: no caller must wait for ever because of it
        return 0


AHEAD_SECONDS: Final = 0.1
"""Work that is queued for each worker: enough for batches of the usual length."""
AHEAD_BYTES: Final = 64 << 20
"""What the results of that work may take together: whole arrays are not made long before their use."""
LEAST: Final = 2
"""Tasks for each worker: one that runs, and one that is on its way."""
MOST: Final = 256


class SendAheadWindow(int):
    """The number of tasks that may be under way, which follows their measured size and duration.

    Dask's `get_async` takes the number of workers, and each time it sends tasks it subtracts those
    that are under way from it. What it sends is what it considers best just then. If everything
    that is ready were sent at once, a graph's first tasks would all be run before the first of their
    results is used, and all would have to be held.
    """

    seconds: float | None
    """How long a task takes; None while that is not known."""
    nbytes: float
    """How large its result is."""

    def __new__(cls, workers: int) -> SendAheadWindow:
        """Return the window for `workers`."""
        self = super().__new__(cls, workers)
        self.seconds, self.nbytes = None, 0.0
        return self

    def __repr__(self) -> str:
        return f"<SendAheadWindow: {self.size} tasks for {int(self)} workers>"

    @property
    def size(self) -> int:
        """The number of tasks that may be under way."""
        return int(self) * tasks_ahead(self.seconds, self.nbytes)

    def learn(self, seconds: float | None, nbytes: int) -> None:
        """Record how long tasks take, and the size of a result."""
        self.seconds = seconds
        self.nbytes = (self.nbytes + nbytes) / 2

    def __sub__(self, under_way: int) -> int:
        return self.size - under_way


def tasks_ahead(seconds: float | None, nbytes: float) -> int:
    """Return how many tasks each worker may have, by how long they take and how large results are."""
    if seconds is None:
        return LEAST
    by_time = AHEAD_SECONDS / max(seconds, 1e-9)
    by_size = AHEAD_BYTES / max(nbytes, 1.0)
    return int(max(LEAST, min(by_time, by_size, MOST)))
