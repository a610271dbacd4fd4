"""The SSH backend: pools of workers on machines that the user reaches by ssh.

::

    driver thread        a thread for each machine                    the machine
    ─────────────        ─────────────────────────                    ───────────
    submit, … ─────────▶ AgentSession, Link ─────▶ ssh ─────▶ sshd ─▶ agent: Link, WorkerPool
    poll ◀── HostNews ◀─ events ◀──────────────────────────────────── events, results
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from typing import Final

from cloudbutton_backend.backends.capabilities import HealthLine
from cloudbutton_backend.backends.package_versions import (
    Versions,
    explain_mismatches,
    mismatches,
    notebook_versions,
)
from cloudbutton_backend.backends.protocol import (
    NO_BATCH,
    BackendDown,
    BatchCall,
    Blob,
    Event,
    JobSpec,
    Limits,
    Warned,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.backends.ssh.agent_session import AgentSession
from cloudbutton_backend.backends.ssh.connection import SshConnection
from cloudbutton_backend.backends.ssh.remote_host import ADVICE, END_WITHIN, HostNews, RemoteHost
from cloudbutton_backend.backends.ssh.settings import SshSettings
from cloudbutton_backend.errors import BackendError, PackagesDoNotFit, UsageError
from cloudbutton_backend.settings.forms import variable_names
from cloudbutton_backend.worker.pool.shared_data import SharedBlobs

BATCH_SECONDS: Final = 0.1
"""Work in one batch: while it runs, the network may take as long to bring the next but one."""
RETRY_DELAY: Final = 0.2
MOST_WORKERS: Final = 10_000
MOVE_ON: Final = 60.0
"""Seconds after which others get the items of a machine that was lost, where there are others."""
READY_WITHIN: Final = 90.0
"""Seconds within which a machine is ready for a job."""
LOOK_AGAIN: Final = 30.0
"""Seconds between attempts to use a machine that was lost while jobs run elsewhere."""


class SshBackend:
    """Other machines, reached by your own ssh."""

    name = "ssh"
    title = "SSH"
    settings_class = SshSettings
    bare_words = "hosts"
    costs: bool = False

    def __init__(self, settings: SshSettings | None = None) -> None:
        self.settings = settings or SshSettings()
        targets, grace = self.settings.targets, self.settings.grace
        self._hosts = [
            RemoteHost(
                target,
                self.settings,
                grace if len(targets) == 1 else min(grace, MOVE_ON),
                self._all_required,
                self._notify,
            )
            for target in targets
        ]
        self._blobs = SharedBlobs()
        self._required: dict[str, Versions] = {}
        """What each job needs there."""
        self._problems: dict[str, list[str]] = {}
        """Why a job does not run on some machines."""
        self._change = threading.Condition()
        self._inbox: deque[HostNews] = deque()
        self._woken = False
        self._pid = os.getpid()
        # The rest is the driver thread's.
        self._events: list[Event] = []
        self._specs: dict[str, JobSpec] = {}
        self._modules: list[str] = []
        self._up: dict[RemoteHost, AgentSession] = {}
        self._begin_at: dict[RemoteHost, float] = {}
        """When to try again to use a machine that was lost."""
        self._at: dict[str, AgentSession] = {}
        """Where each worker is."""
        self._interrupted: set[str] = set()
        """Workers that may not have answered that they were."""

    def __repr__(self) -> str:
        return f"<SshBackend: {self.settings.hosts}, {len(self._at)} workers up>"

    @property
    def limits(self) -> Limits:
        """Its limits; the number of workers is the actual one once it is known."""
        return Limits(
            workers=sum(each.n_workers for each in list(self._up.values())) or MOST_WORKERS,
            batch_seconds=BATCH_SECONDS,
            can_revoke=True,
            can_duplicate=len(self._hosts) > 1,
            can_limit_memory=True,
            retry_delay=RETRY_DELAY,
        )

    # -- requests

    def start(self) -> None:
        for host in self._hosts:
            host.begin()

    def scale(self, workers: int) -> None:
        """Each machine has as many workers as it can use."""

    def prepare(self, spec: JobSpec, packages: Callable[[], Set[str]]) -> None:
        """Connect, and compare versions.

        Raises
        ------
        CloudError
            What prevents the job.
        """
        if not self._hosts:
            raise UsageError(
                "Which machine? Name it as you would for ssh: `%cloud use ssh alice@big1`, or set "
                "`hosts` in the table `[ssh]` of a settings file."
            )
        if not hasattr(os, "fork"):
            raise UsageError("The ssh backend needs a notebook on Linux or macOS.")
        self.start()
        required = notebook_versions(packages())
        # Now: a machine to which a connection is made from here on is asked for them.
        self._required[spec.id] = required
        try:
            self._problems[spec.id] = self._compare(required)
        except BaseException:
            del self._required[spec.id]
            raise

    def _compare(self, required: Versions) -> list[str]:
        """Compare versions on all machines that can be reached; return why others cannot be."""
        found: dict[str, Versions] = {}
        problems = []
        deadline = time.monotonic() + READY_WITHIN
        for host, attempt in [(host, host.begin()) for host in self._hosts]:
            try:
                session = attempt.result(deadline - time.monotonic())
                answer = session.versions(list(required))
                found[host.target] = answer.result(deadline - time.monotonic())
            except PackagesDoNotFit:
                raise
            except TookTooLong:
                raise BackendError(
                    f"{host.target} has not answered for {READY_WITHIN:.0f} s, and nothing was run. "
                    "Try again, or use another machine."
                ) from None
            except (BackendError, CancelledError) as error:
                problems.append(str(error) or f"The connection with {host.target} broke.")
        if not found:
            raise BackendError("\n".join(problems))
        if lines := mismatches(required, found):
            where = next(iter(found)) if len(found) == 1 else "the machines"
            raise PackagesDoNotFit(explain_mismatches(lines, where, ADVICE))
        return problems

    def _all_required(self) -> Versions:
        """Return what the jobs under way need."""
        return {name: each[name] for each in list(self._required.values()) for name in each}

    def put(self, blob: Blob) -> None:
        self._blobs.region(blob)

    def open_job(self, spec: JobSpec) -> None:
        self._specs[spec.id] = spec
        for problem in self._problems.pop(spec.id, ()):
            self._events.append(Warned(spec.id, f"{problem} The other machines do the work."))
        for session in self._up.values():
            self._send_job(session, spec)
        self.start()

    def _send_job(self, session: AgentSession, spec: JobSpec) -> None:
        names = variable_names(self.settings.variables)
        variables = {name: os.environ[name] for name in names if name in os.environ}
        session.open_job(spec, variables, self._blobs.region)

    def submit(self, call: BatchCall) -> None:
        if call.worker in self._at:
            self._interrupted.discard(call.worker)
            self._at[call.worker].submit(call)

    def revoke(self, worker: str, keep: int) -> None:
        if worker in self._at:
            self._at[worker].post("revoke", worker, keep)

    def interrupt(self, worker: str, job_id: str) -> None:
        session = self._at.get(worker)
        if session is None:
            return
        session.post("interrupt", worker, job_id)
        self._interrupted.add(worker)
        if session.is_away or session.link.is_congested:
            self._give_up(worker)

    def _give_up(self, worker: str) -> None:
        """Stop waiting for a worker that was interrupted, and have it run nothing more."""
        self.kill(worker, "killed")
        session = self._at.pop(worker)
        self._interrupted.discard(worker)
        cause = f"{session.target} could not be told in time that its work is not wanted any more"
        self._events.append(WorkerDown(worker, cause, NO_BATCH, reason="killed"))

    def kill(self, worker: str, reason: str) -> None:
        if worker in self._at:
            self._at[worker].post("kill", worker, reason, urgent=True)

    def close_job(self, job_id: str) -> None:
        self._specs.pop(job_id, None)
        self._required.pop(job_id, None)
        used = {blob.digest for spec in self._specs.values() for blob in spec.blobs}
        for session in self._up.values():
            session.post("close_job", job_id)
            session.make_room(used)
        self._blobs.evict(used)

    def warm(self, modules: Sequence[str]) -> None:
        self._modules += modules
        for session in self._up.values():
            session.post("warm", list(modules))

    # -- what happens

    def _notify(self, news: HostNews) -> None:
        """Wake `poll`. Safe from any thread."""
        with self._change:
            self._inbox.append(news)
            self._change.notify()

    def wake(self) -> None:
        with self._change:
            self._woken = True
            self._change.notify()

    def poll(self, timeout: float | None) -> Iterable[Event]:
        if self._specs and self._begin_at:
            left = max(0.0, min(self._begin_at.values()) - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        with self._change:
            if not (self._inbox or self._woken or self._events):
                self._change.wait(timeout)
            self._woken = False
            inbox = list(self._inbox)
            self._inbox.clear()
        for news in inbox:
            self._take_in(news)
        if self._specs:
            self._begin_again(time.monotonic())
        events, self._events = self._events, []
        return events

    def _take_in(self, news: HostNews) -> None:
        session = news.session
        if news.what == "up":
            self._up[news.host] = session
            self._begin_at.pop(news.host, None)
            for spec in self._specs.values():
                self._send_job(session, spec)
            session.post("warm", self._modules.copy())
            session.post("start")
        elif news.what == "away":
            for worker in [each for each in self._interrupted if self._at[each] is session]:
                self._give_up(worker)
            self._warn(
                f"The connection with {session.target} broke ({news.why}); it is made again."
            )
        for event in news.events:
            if isinstance(event, BackendDown) and len(self._up) > 1:
                self._warn(f"{session.target} is of no use: {event.cause}")
                continue
            if isinstance(event, WorkerUp):
                self._at[event.worker] = session
            elif isinstance(event, WorkerDown):
                self._at.pop(event.worker, None)
                self._interrupted.discard(event.worker)
            self._events.append(event)
        if news.what == "lost":
            self._on_lost(news)

    def _on_lost(self, news: HostNews) -> None:
        """Handle the loss of a machine or its agent: others, or a new agent there, get its items."""
        has_died = news.session.has_died
        if self._up.pop(news.host, None) is not None:
            self._warn(news.why)
        self._begin_at[news.host] = time.monotonic() + (0.0 if has_died else LOOK_AGAIN)
        if self._specs and len(self._begin_at) == len(self._hosts) and not has_died:
            self._events.append(BackendDown(news.why))

    def _begin_again(self, now: float) -> None:
        """Try again to use the machines that were lost."""
        for host, when in list(self._begin_at.items()):
            if when <= now:
                del self._begin_at[host]
                host.begin()

    def _warn(self, line: str) -> None:
        self._events += [Warned(job_id, line) for job_id in self._specs]

    def close(self) -> None:
        if os.getpid() != self._pid:  # a forked child: nothing of it is its own
            return
        for host in self._hosts:
            host.close()
        for host in self._hosts:
            host.join(END_WITHIN + 1)
        self._blobs.close()

    # -- an ability

    def health(self) -> Iterable[HealthLine]:
        """Yield what each machine says; no worker is started there."""
        if not self._hosts:
            yield HealthLine("machines", False, "none is named: `%cloud use ssh alice@big1`")
            return
        # ends: each of them waits for ssh and its answers for so long and no longer
        with ThreadPoolExecutor(len(self._hosts)) as threads:
            yield from threads.map(self._look_at, self.settings.targets)

    def _look_at(self, target: str) -> HealthLine:
        begin = time.monotonic()
        try:
            connection = SshConnection(target, self.settings)
        except BackendError as error:
            return HealthLine(target, False, str(error))
        connection.close(END_WITHIN)
        told, seconds = connection.told, time.monotonic() - begin
        python = f"Python {told['python']} ({told['executable']})"
        return HealthLine(
            target, True, f"{python}, {told['cpus']} CPUs, answers in {seconds:.1f} s"
        )
