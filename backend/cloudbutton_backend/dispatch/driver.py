"""Carries out what the dispatcher decides: one thread between a backend and the jobs on it."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from cloudbutton_backend.backends.protocol import (
    Backend,
    BackendDown,
    BatchCall,
    BatchEnded,
    Charged,
    Event,
    JobSpec,
    Results,
    Warned,
)
from cloudbutton_backend.capture import dump_items
from cloudbutton_backend.dispatch.actions import (
    Accept,
    Action,
    AskForMoney,
    BatchLost,
    FailItem,
    Finish,
    Interrupt,
    Kill,
    OverBudget,
    Revoke,
    Submit,
)
from cloudbutton_backend.dispatch.item_source import ItemSource
from cloudbutton_backend.dispatch.job_state import DispatchPlan
from cloudbutton_backend.dispatch.scheduler import Scheduler
from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.job_model import BackendIdentity
from cloudbutton_backend.worker import failures
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.wire import raw

_LOG: Final = logging.getLogger(__name__)
_LOOKAHEAD: Final = 4
"""Batches per worker for which a stream's items are pulled ahead."""


class DriverListener(Protocol):
    """The job as the driver sees it. Called on the driver's thread; must not block."""

    source: ItemSource
    known_classes: frozenset[str]
    """Classes of the notebook that travelled with the function; items refer to them."""

    def on_accept(self, results: Results, skip: frozenset[int]) -> None: ...

    def on_fail_item(self, index: int, kind: str, cause: str, attempts: int) -> None: ...

    def on_batch_lost(self, lost: BatchLost) -> None: ...

    def on_running(self, items: int, workers: int, retried: int) -> None: ...

    def on_charged(self, charged: Charged) -> None:
        """A call has its price. Before the results that came with it."""

    def on_spent(self, dollars: float, committed: float) -> None:
        """The job has spent so much by now; calls without a charge count for the most they can cost.
        Those in flight can cost so much more.
        """

    def on_over_budget(self, over: OverBudget) -> None:
        """The job ends because its next call cannot be paid for."""

    def on_asks(self, asks: AskForMoney, answer: Callable[[float], None]) -> None:
        """The job wants some of the day's budget. `answer` is to be called once, from any thread, with
        the dollars that it gets.
        """

    def warn(self, line: str) -> None:
        """The user should know this."""

    def on_finish(self, step: str) -> None: ...

    def on_broken(self, error: BaseException) -> None:
        """The job cannot go on; what has ended is kept."""


class Driver:
    """Runs the jobs of one backend.

    Parameters
    ----------
    backend
        Used from this driver's thread only, but for `prepare`, `put` and `wake`.
    clock
        Seconds that only go forward.
    """

    def __init__(self, backend: Backend, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.backend = backend
        self._clock = clock
        self._scheduler = Scheduler(backend.limits)
        self._jobs: dict[str, DriverListener] = {}
        self._inbox: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._stopping = False
        self.broken: str | None = None

    def __repr__(self) -> str:
        state = "running" if self.is_alive else "idle"
        return f"<Driver of {self.backend!r}, {state}, {len(self._jobs)} jobs>"

    @property
    def identity(self) -> BackendIdentity:
        """The backend's identity in the records of its jobs, which tells emulated bills apart."""
        return BackendIdentity(self.backend.name, self.backend.limits.emulated)

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_idle(self) -> bool:
        """Whether no job is running or about to."""
        return not self._jobs and not self._inbox

    @property
    def usual_workers(self) -> int:
        """The number of workers of a job that does not ask for one."""
        return self.backend.limits.workers

    @property
    def workers_up(self) -> int:
        return self._scheduler.n_workers

    # -- from any thread

    def start(self) -> None:
        """Bring the backend up, in the background. Safe to repeat."""
        with self._start_lock:
            if self._thread is None:
                name = f"cloudbutton-{self.backend.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def call(self, act: Callable[[], None]) -> None:
        """Run `act` on the driver's thread."""
        self._inbox.append(act)
        self.backend.wake()

    def open(self, spec: JobSpec, plan: DispatchPlan, listener: DriverListener) -> None:
        """Begin a job."""
        for blob in spec.blobs:
            self.backend.put(blob)
        self.start()
        self._jobs[spec.id] = listener  # now: it must hear of it if the thread ends before `act`

        def act() -> None:
            self.backend.open_job(spec)
            if plan.workers is not None:
                self.backend.scale(min(plan.workers, plan.n_items or plan.workers))
            # Who does not ask for more gets the usual number, whatever others have asked for.
            usual = plan.workers or self._scheduler.limits.workers
            self._scheduler.open(replace(plan, workers=usual), self._clock())
            self._show(spec.id)

        self.call(act)

    def supply(self, job_id: str, ready: int, ended: bool) -> None:
        """More items of a job are available."""
        self.call(lambda: self._scheduler.supply(job_id, ready, ended, self._clock()))

    def cancel(self, job_id: str) -> None:
        """Stop a job. Safe to repeat."""
        self.call(lambda: self._scheduler.cancel(job_id, self._clock()))

    def retry(self, spec: JobSpec, listener: DriverListener, budget: float | None = None) -> None:
        """Run again what failed or never ran in a job that has ended, within a new budget if given."""
        self._jobs[spec.id] = listener

        def act() -> None:
            self.backend.open_job(spec)
            self._scheduler.retry(spec.id, self._clock(), budget)

        self.call(act)

    def give(self, job_id: str, dollars: float) -> None:
        """A job gets so much of the day's budget."""
        self.call(lambda: self._scheduler.give(job_id, dollars, self._clock()))

    def forget(self, job_id: str) -> None:
        """Drop what is kept of an ended job for retrying it."""
        self.call(lambda: self._scheduler.forget(job_id))

    def break_items(self, job_id: str, error: BaseException) -> None:
        """A job's items end in an error; those before it are still run, as by a plain loop."""

        def act() -> None:
            listener = self._jobs.get(job_id)
            if listener is not None:
                listener.on_broken(error)

        self.call(act)

    def warm(self, modules: Sequence[str]) -> None:
        """Import modules in the workers, ahead of their use."""
        self.call(lambda: self.backend.warm(modules))

    def close(self, timeout: float = 5.0) -> None:
        """End the workers and the thread. Safe to repeat."""
        with self._start_lock:
            thread, self._stopping = self._thread, True
        self.backend.wake()
        if thread is None:  # it was never used, except for its limits
            self.backend.close()
        elif thread is not threading.current_thread():
            thread.join(timeout)

    # -- the thread

    def _run(self) -> None:
        try:
            self.backend.start()
            while not self._stopping:
                self._turn()
        except BaseException as error:  # a bug of ours must not leave a caller waiting
            self.broken = f"{type(error).__name__}: {error}"
            _LOG.exception("the driver of %s stopped", self.backend.name)
        finally:
            # Callers that still wait for a job must learn that it will not go on.
            own = f"An error of Cloud Button's own: {self.broken}"
            self._abandon(own if self.broken else "The session was closed while this job ran.")
            self.backend.close()

    def _abandon(self, cause: str) -> None:
        for listener in list(self._jobs.values()):
            try:
                listener.on_broken(BackendError(cause))
                listener.on_finish("fail")
            except Exception:
                _LOG.exception("a job could not be ended")
        self._jobs.clear()

    def _turn(self) -> None:
        """Wait for something to happen, and deal with it."""
        wake = self._scheduler.next_wake()
        patience = 0.0 if self._inbox else None
        if wake is not None and patience is None:
            patience = max(0.0, wake - self._clock())
        events = list(self.backend.poll(patience))
        while self._inbox:
            self._inbox.popleft()()
        down = [event for event in events if isinstance(event, BackendDown)]
        touched: set[str] = set()
        for event in events:
            if isinstance(event, Warned) and event.job_id in self._jobs:
                self._jobs[event.job_id].warn(event.line)
            elif isinstance(event, Charged) and event.job_id in self._jobs:
                self._jobs[event.job_id].on_charged(event)
                touched.add(event.job_id)
        if events:
            self._scheduler.handle(events, self._clock())
        elif wake is not None:
            self._scheduler.tick(self._clock())
        self._act(touched)
        for job_id in touched:
            self._show(job_id)
        if down:
            self._give_up(down[-1].cause)

    def _act(self, touched: set[str]) -> None:
        actions = self._scheduler.drain()
        while actions:
            feedback: list[Event] = []
            for action in actions:
                self._carry_out(action, feedback, touched)
            if feedback:
                self._scheduler.handle(feedback, self._clock())
            actions = self._scheduler.drain()

    def _carry_out(self, action: Action, feedback: list[Event], touched: set[str]) -> None:
        if isinstance(action, Submit):
            touched.add(action.job_id)
            self._submit(action, feedback)
        elif isinstance(action, Accept):
            touched.add(action.job_id)
            results = action.results
            listener = self._jobs[action.job_id]
            listener.on_accept(results, action.skip)
            self._release(listener.source, results, action.skip)
        elif isinstance(action, Revoke):
            self.backend.revoke(action.worker, action.keep)
        elif isinstance(action, Interrupt):
            self.backend.interrupt(action.worker, action.job_id)
        elif isinstance(action, Kill):
            self.backend.kill(action.worker, action.reason)
        elif isinstance(action, FailItem):
            touched.add(action.job_id)
            listener = self._jobs[action.job_id]
            listener.on_fail_item(action.index, action.kind, action.cause, action.attempts)
        elif isinstance(action, BatchLost):
            self._jobs[action.job_id].on_batch_lost(action)
        elif isinstance(action, OverBudget):
            self._jobs[action.job_id].on_over_budget(action)
        elif isinstance(action, AskForMoney):
            job_id = action.job_id
            self._jobs[job_id].on_asks(action, lambda dollars: self.give(job_id, dollars))
        elif isinstance(action, Finish):
            touched.discard(action.job_id)
            self._show(action.job_id)
            self.backend.close_job(action.job_id)
            listener = self._jobs.pop(action.job_id)
            listener.source.close()
            listener.on_finish(action.step)

    def _release(self, source: ItemSource, results: Results, skip: frozenset[int]) -> None:
        """Drop the items that have results; failed ones may be needed again."""
        first = results.first
        errors = results.meta.errors
        for index in sorted({*skip, *(results.first + offset for offset in errors)}):
            source.release(first, index - first)
            first = index + 1
        source.release(first, results.first + results.count - first)

    def _submit(self, action: Submit, feedback: list[Event]) -> None:
        listener = self._jobs[action.job_id]
        try:
            items = listener.source.items(action.first, action.count)
            if isinstance(items, range):
                parts: list[Any] = [pickle.dumps(items, 5)]
            else:
                parts = dump_items(items, known_classes=listener.known_classes)
        except BaseException as error:  # an item's own pickling may raise what it likes
            self._refuse(action, error, feedback)
            return
        self._scheduler.weigh(action.job_id, action.count, sum(len(raw(part)) for part in parts))
        self.backend.submit(
            BatchCall(
                action.batch,
                action.job_id,
                action.worker,
                action.first,
                action.count,
                parts,
                action.lease,
            )
        )

    def _refuse(self, action: Submit, error: BaseException, feedback: list[Event]) -> None:
        """An item cannot travel: find out which, and fail it alone."""
        if action.count == 1:
            packed = failures.describe(error, None, __file__)
            packed["kind"] = "item"
            packed["item"] = self._jobs[action.job_id].source.describe(action.first)
            meta = BatchMeta(started=time.time(), errors={0: packed})
            payload = b"".join(bytes(piece) for piece in _NOTHING)
            feedback.append(
                Results(
                    action.worker,
                    action.batch,
                    action.first,
                    1,
                    meta,
                    payload,
                    None,
                    0,
                    len(payload),
                )
            )
        feedback.append(BatchEnded(action.worker, action.batch, 0, action.count > 1))

    def _show(self, job_id: str) -> None:
        """Tell a job how it stands, and pull more of its items if it is a stream."""
        job = self._scheduler.jobs.get(job_id)
        listener = self._jobs.get(job_id)
        if job is None or listener is None:
            return
        if job.job_budget is not None:
            listener.on_spent(job.job_budget.spent, job.job_budget.committed)
        workers = -(-self._scheduler.workers_of(job_id) // self._scheduler.limits.slots)
        listener.on_running(job.n_running, workers, job.retried)
        if not job.ended:
            most = job.plan.workers or self._scheduler.n_workers
            workers = max(1, min(most, self._scheduler.n_workers))
            ahead = job.sizer.size(None, 1) * workers * _LOOKAHEAD
            listener.source.want(job.fresh + workers, job.fresh + ahead)

    def _give_up(self, cause: str) -> None:
        for job_id, listener in list(self._jobs.items()):
            if job_id not in self._scheduler.jobs:  # it is about to be opened, and will see
                continue
            listener.on_broken(BackendError(f"The {self.backend.name} backend is down: {cause}"))
            self._scheduler.cancel(job_id, self._clock())
        self._act(set())


def _nothing() -> list[Any]:
    from cloudbutton_backend.worker.wire import layout

    return layout([pickle.dumps([None], 5)])[0]


_NOTHING: Final = _nothing()
