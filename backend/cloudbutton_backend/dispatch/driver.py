"""Carries out what the dispatcher decides: one thread between a backend and the jobs on it."""

from __future__ import annotations

import functools
import logging
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from cloudbutton_backend.backends.capabilities import SeesWork
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
from cloudbutton_backend.dispatch.watchdog import LOOK_EVERY, Watchdog
from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.job_model import BackendIdentity, JobState
from cloudbutton_backend.units import count
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

    def on_running(self, state: JobState, items: int, workers: int, retried: int) -> None: ...

    def on_charged(self, charged: Charged) -> None:
        """A call has its price. Before the results that came with it."""

    def on_spent(self, dollars: float, committed: float) -> None:
        """The job has spent so much by now; calls without a charge count for the most they can cost.
        Those in flight can cost so much more.
        """

    def on_over_budget(self, over: OverBudget) -> None:
        """The job ends because its next call cannot be paid for."""

    def on_asks(self, asks: AskForMoney, answer: Callable[[float], None]) -> None:
        """The job asks for some of the daily budget. `answer` is to be called once, from any thread, with
        the dollars that it gets.
        """

    def warn(self, line: str) -> None:
        """The user should know this."""

    def on_finish(self, state: JobState) -> None:
        """The job has ended in this state."""

    def on_broken(self, error: BaseException) -> None:
        """The job cannot go on; what has ended is kept, and `on_finish` follows."""

    def on_lacking(self, error: BaseException) -> None:
        """The items end in an error; those before it are still run."""


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
        self._inbox: deque[tuple[str | None, Callable[[], object]]] = deque()
        """What to do, and for which job."""
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._stopping = False
        self._watchdog = Watchdog()
        self._failing: set[str] = set()
        """Jobs that are being ended because of an error in handling them."""
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

    def call(self, act: Callable[[], object], job_id: str | None = None) -> None:
        """Run `act` on the driver's thread; what it raises ends the job that it is for."""
        self._inbox.append((job_id, act))
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

        self.call(act, spec.id)

    def supply(self, job_id: str, ready: int, ended: bool) -> None:
        """More items of a job are available."""
        self.call(lambda: self._scheduler.supply(job_id, ready, ended, self._clock()), job_id)

    def cancel(self, job_id: str) -> None:
        """Stop a job. Safe to repeat."""
        self.call(lambda: self._scheduler.cancel(job_id, self._clock()), job_id)

    def retry(self, spec: JobSpec, listener: DriverListener, budget: float | None = None) -> None:
        """Run again what failed or never ran in a job that has ended, within a new budget if given."""
        self._jobs[spec.id] = listener

        def act() -> None:
            if spec.id not in self._scheduler.jobs:
                raise BackendError(
                    f"Job {spec.id} cannot be run again by this kernel, which dropped what that needs:"
                    f" `%cloud attach {spec.id}` goes on with it."
                )
            self.backend.open_job(spec)
            self._scheduler.retry(spec.id, self._clock(), budget)

        self.call(act, spec.id)

    def give(self, job_id: str, dollars: float) -> None:
        """Grant a job dollars of the daily budget."""
        self.call(lambda: self._scheduler.give(job_id, dollars, self._clock()), job_id)

    def forget(self, job_id: str) -> None:
        """Drop what is kept of an ended job for retrying it."""
        self.call(lambda: self._scheduler.forget(job_id))

    def break_items(self, job_id: str, error: BaseException) -> None:
        """A job's items end in an error; those before it are still run, as by a plain loop."""

        def act() -> None:
            listener = self._jobs.get(job_id)
            if listener is not None:
                self._scheduler.lack_items(job_id)
                listener.on_lacking(error)

        self.call(act, job_id)

    def break_job(self, job_id: str, error: BaseException) -> None:
        """Stop a job that cannot go on; what has ended is kept."""
        self.call(lambda: self._break(job_id, error), job_id)

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
                listener.on_finish(JobState.FAILED)
            except Exception:
                _LOG.exception("a job could not be ended")
        self._jobs.clear()

    def _turn(self) -> None:
        """Wait for something to happen, and deal with it."""
        wake = self._scheduler.next_wake()
        patience = 0.0 if self._inbox else None
        if wake is not None and patience is None:
            patience = max(0.0, wake - self._clock())
        watched = isinstance(self.backend, SeesWork) and self._scheduler.is_waiting()
        if watched:
            patience = LOOK_EVERY if patience is None else min(patience, LOOK_EVERY)
        events = list(self.backend.poll(patience))
        touched: set[str] = set()
        while self._inbox:
            job_id, act = self._inbox.popleft()
            self._contain(act, job_id)
            touched.update([job_id] if job_id else ())
        down = [event for event in events if isinstance(event, BackendDown)]
        for event in events:
            self._contain(
                functools.partial(self._hear, event, touched), self._scheduler.job_of(event)
            )
        if events:
            self._watchdog.hear(is_result=any(isinstance(event, Results) for event in events))
        elif watched:
            self._look_after_work()
        if events or wake is not None:
            self._scheduler.tick(self._clock())
        self._act(touched)
        for job_id in touched:
            self._contain(functools.partial(self._show, job_id), job_id)
        if down:
            self._give_up(down[-1].cause)

    def _hear(self, event: Event, touched: set[str]) -> None:
        """Take in an event: its job first, then the dispatcher."""
        if isinstance(event, (Warned, Charged)) and event.job_id in self._jobs:
            listener = self._jobs[event.job_id]
            if isinstance(event, Warned):
                listener.warn(event.line)
            else:
                listener.on_charged(event)
                touched.add(event.job_id)
        self._scheduler.take(event, self._clock())

    # -- what goes wrong

    def _contain(self, act: Callable[[], object], job_id: str | None) -> None:
        """Do something for a job: what it raises ends that job, and reaches no other."""
        try:
            act()
        except BaseException as error:
            if job_id is None:
                raise
            self._fail(job_id, error)

    def _fail(self, job_id: str, error: BaseException) -> None:
        """An error in handling a job: end it, gently at first, by force if that fails too."""
        _LOG.error("job %s cannot go on", job_id, exc_info=error)
        is_first, failure = job_id not in self._failing, _of_our_own(error)
        self._failing.add(job_id)
        try:
            if is_first and self._break(job_id, failure):
                return
        except BaseException:
            _LOG.exception("job %s is ended by force", job_id)
        self._scheduler.discard(job_id, self._clock())
        self._end(job_id, JobState.FAILED, failure)

    def _break(self, job_id: str, error: BaseException) -> bool:
        """Stop a job because of an error; return whether it is there to be stopped."""
        listener, job = self._jobs.get(job_id), self._scheduler.jobs.get(job_id)
        if listener is None or job is None or job.state.is_final:
            return False  # it is not under way yet, or not any more
        listener.on_broken(error)
        self._scheduler.cancel(job_id, self._clock(), is_broken=True)
        self._show(job_id)
        return True

    def _end(self, job_id: str, state: JobState, failure: BaseException | None = None) -> None:
        """End a job: whatever else fails, its waiters are notified."""
        self._failing.discard(job_id)
        listener = self._jobs.pop(job_id, None)
        if listener is None:
            return
        acts: list[Callable[[], object]] = [
            functools.partial(self.backend.close_job, job_id),
            listener.source.close,
        ]
        if failure is not None:
            acts.append(functools.partial(listener.on_broken, failure))
        acts.append(functools.partial(listener.on_finish, state))
        for act in acts:
            try:
                act()
            except BaseException:
                _LOG.exception("a part of the end of job %s failed", job_id)

    def _look_after_work(self) -> None:
        """See whether what was handed out is under way; repair it if it has not been for a while."""
        backend = self.backend
        assert isinstance(backend, SeesWork)
        if not self._watchdog.is_stalled(self._clock(), is_under_way=backend.is_under_way()):
            return
        now, workers = self._clock(), self._scheduler.holders()
        is_last = backend.limits.rate is not None or self._watchdog.is_hopeless
        for job_id, job in list(self._scheduler.jobs.items()):
            if not job.flights:
                continue
            what = count(job.n_running, "item") if job.n_running else "the end of a batch"
            text = f"{what} got lost on the way to idle workers, or back"
            _LOG.error("job %s: %s (%s)", job_id, text, ", ".join(job.holders))
            if is_last:
                error = BackendError(
                    f"{text}: an error of Cloud Button's own. What had finished is in `job.partial()`;"
                    " `job.retry_failed()` runs the rest."
                )
                self._contain(functools.partial(self._break, job_id, error), job_id)
            elif job_id in self._jobs:
                warn = functools.partial(
                    self._jobs[job_id].warn, f"{text}: what was lost runs again"
                )
                self._contain(warn, job_id)
        for name in workers:
            self._scheduler.give_up(name, "it was idle though it had work", now)
        self._scheduler.tick(now)

    def _act(self, touched: set[str]) -> None:
        actions = self._scheduler.drain()
        while actions:
            feedback: list[Event] = []
            for action in actions:
                job_id = getattr(action, "job_id", None)
                self._contain(functools.partial(self._carry_out, action, feedback, touched), job_id)
            for event in feedback:
                take = functools.partial(self._scheduler.take, event, self._clock())
                self._contain(take, self._scheduler.job_of(event))
            if feedback:
                self._scheduler.tick(self._clock())
            actions = self._scheduler.drain()

    def _carry_out(self, action: Action, feedback: list[Event], touched: set[str]) -> None:
        if isinstance(action, Revoke):
            self.backend.revoke(action.worker, action.keep)
            return
        if isinstance(action, Kill):
            self.backend.kill(action.worker, action.reason)
            return
        listener = self._jobs.get(action.job_id)
        if listener is None:  # it was ended by force
            return
        if isinstance(action, Submit):
            touched.add(action.job_id)
            try:
                self._submit(action, feedback)
            except BaseException:  # its worker has not got it
                feedback.append(BatchEnded(action.worker, action.batch, 0))
                raise
        elif isinstance(action, Accept):
            touched.add(action.job_id)
            results = action.results
            listener.on_accept(results, action.skip)
            self._release(listener.source, results, action.skip)
        elif isinstance(action, Interrupt):
            self.backend.interrupt(action.worker, action.job_id)
        elif isinstance(action, FailItem):
            touched.add(action.job_id)
            listener.on_fail_item(action.index, action.kind, action.cause, action.attempts)
        elif isinstance(action, BatchLost):
            listener.on_batch_lost(action)
        elif isinstance(action, OverBudget):
            listener.on_over_budget(action)
        elif isinstance(action, AskForMoney):
            job_id = action.job_id
            listener.on_asks(action, lambda dollars: self.give(job_id, dollars))
        elif isinstance(action, Finish):
            touched.discard(action.job_id)
            self._show(action.job_id)
            self._end(action.job_id, self._scheduler.jobs[action.job_id].state)

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
        listener.on_running(job.state, job.n_running, workers, job.retried)
        if not job.ended:
            most = job.plan.workers or self._scheduler.n_workers
            workers = max(1, min(most, self._scheduler.n_workers))
            ahead = job.sizer.size(None, 1) * workers * _LOOKAHEAD
            listener.source.want(job.fresh + workers, job.fresh + ahead)

    def _give_up(self, cause: str) -> None:
        error = BackendError(f"The {self.backend.name} backend is down: {cause}")
        for job_id in list(self._jobs):
            if job_id in self._scheduler.jobs:  # else it is about to be opened, and will see
                self._contain(functools.partial(self._break, job_id, error), job_id)
        self._act(set())


def _of_our_own(error: BaseException) -> BackendError:
    """Return an error in handling a job as its user is told of it."""
    if isinstance(error, BackendError):
        return error
    told = BackendError(
        f"An error of Cloud Button's own ended this job: {type(error).__name__}: {error}\n"
        "Other jobs go on. What it had finished is in `job.partial()`; `job.retry_failed()` runs the rest."
    )
    told.__cause__ = error
    return told


def _nothing() -> list[Any]:
    from cloudbutton_backend.worker.wire import layout

    return layout([pickle.dumps([None], 5)])[0]


_NOTHING: Final = _nothing()
