"""One machine: the way to its agent, made again when it breaks, on a thread that does all that waits."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Literal

from cloudbutton_backend.backends.package_versions import Versions, explain_mismatches
from cloudbutton_backend.backends.protocol import NO_BATCH, Event, WorkerDown
from cloudbutton_backend.backends.ssh import connection as ssh
from cloudbutton_backend.backends.ssh.agent_session import AgentSession
from cloudbutton_backend.backends.ssh.connection import SshConnection
from cloudbutton_backend.backends.ssh.settings import SshSettings
from cloudbutton_backend.errors import BackendError, PackagesDoNotFit
from cloudbutton_backend.worker.ssh.link import Versions as VersionsFound

_LOG: Final = logging.getLogger(__name__)
ADVICE: Final = (
    "Install the same on both sides, or name the Python of the environment there that has them: "
    "`%cloud use ssh HOST python=~/miniconda3/envs/NAME/bin/python`."
)
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 15.0
"""Seconds between two attempts to connect again: doubled from the first to the longest."""
END_WITHIN: Final = 3.0
"""Seconds within which an agent ends on request."""


@dataclass(frozen=True, slots=True)
class HostNews:
    """An event at a machine."""

    host: RemoteHost
    session: AgentSession
    what: Literal["up", "events", "away", "lost"]
    events: Sequence[Event] = ()
    why: str = ""


class RemoteHost:
    """A machine.

    Parameters
    ----------
    target
        What ssh calls it.
    patience
        Seconds for which a broken connection is tried to be made again.
    required
        Returns the versions that open jobs need: a machine without them is not used.
    notify
        Called from the host's thread.
    """

    def __init__(
        self,
        target: str,
        settings: SshSettings,
        patience: float,
        required: Callable[[], Versions],
        notify: Callable[[HostNews], None],
    ) -> None:
        self.target = target
        self._settings, self._patience = settings, patience
        self._required, self._notify = required, notify
        self._lock = threading.Lock()
        self._attempt: Future[AgentSession] | None = None
        self._thread: threading.Thread | None = None
        self._alarm, self._wakeup = socket.socketpair()
        self._alarm.setblocking(False)
        self._wakeup.setblocking(False)
        self._closing = threading.Event()
        self._n_sessions = 0

    def __repr__(self) -> str:
        return f"<RemoteHost {self.target}>"

    def begin(self) -> Future[AgentSession]:
        """Return the agent in use, or the attempt to get one."""
        with self._lock:
            if self._attempt is None:
                self._attempt = Future()
                self._n_sessions += 1
                name = self.target + (f".{self._n_sessions}" if self._n_sessions > 1 else "")
                session = AgentSession(self.target, name, self._required(), self.wake)
                self._thread = threading.Thread(
                    target=self._run,
                    args=(session, self._attempt),
                    name=f"cloudbutton-ssh-{self.target}",
                    daemon=True,
                )
                self._thread.start()
            return self._attempt

    def wake(self) -> None:
        """Wake the thread to send what is queued. Safe from any thread."""
        with contextlib.suppress(OSError):  # it is awake, or over
            self._wakeup.send(b"!")

    def close(self) -> None:
        """Begin to end. Safe to repeat."""
        self._closing.set()
        self.wake()

    def join(self, within: float) -> None:
        """Wait for the end, at most `within` seconds."""
        if self._thread is not None:
            self._thread.join(within)
            if self._thread.is_alive():  # ssh is just trying to get there, and will end by itself
                return
        self._alarm.close()
        self._wakeup.close()

    # -- the thread

    def _run(self, session: AgentSession, attempt: Future[AgentSession]) -> None:
        try:
            self._keep_connected(session, attempt)
        except BaseException as error:
            if not isinstance(error, BackendError):
                _LOG.exception("the connection with %s", self.target)
            with self._lock:
                self._attempt = None
            if not attempt.done():
                attempt.set_exception(error)
            # What a process that died was running may be to blame. Otherwise it may still be running.
            batch = None if session.has_died else NO_BATCH
            events = [WorkerDown(each, str(error), batch) for each in sorted(session.workers)]
            self._notify(HostNews(self, session, "lost", events, str(error)))
        finally:
            attempt.cancel()
            session.close()

    def _keep_connected(self, session: AgentSession, attempt: Future[AgentSession]) -> None:
        """Start an agent and serve it, by one connection after the other, until this end is closed.

        Raises
        ------
        BackendError
            There is no agent, or not any more, or it has not what open jobs need.
        """
        connection: SshConnection | None = SshConnection(self.target, self._settings, session.name)
        while connection is not None:
            session.folder = connection.told["folder"]
            session.is_away = False
            try:
                why = self._serve(session, connection, attempt)
            finally:
                connection.close()
            if self._closing.is_set():
                return
            if session.mismatches:
                raise PackagesDoNotFit(explain_mismatches(session.mismatches, self.target, ADVICE))
            session.is_away = True
            self._notify(HostNews(self, session, "away", (), why))
            connection = self._connect_again(session)

    def _connect_again(self, session: AgentSession) -> SshConnection | None:
        """Return another connection to the same agent; None if this end is being closed.

        Raises
        ------
        BackendError
            It is gone, or was out of reach for too long.
        """
        since, pause = time.monotonic(), FIRST_PAUSE
        while not self._closing.wait(pause):
            away, pause = time.monotonic() - since, min(2 * pause, LONGEST_PAUSE)
            try:
                connection = SshConnection(
                    self.target, self._settings, session.name, session.folder
                )
            except BackendError as error:
                if away > self._patience:
                    raise BackendError(
                        f"{self.target} was lost {away:.0f} s ago. {error}"
                    ) from error
                continue
            if "gone" not in connection.told:
                return connection
            connection.close()
            session.has_died = bool(session.workers) and away < self._settings.grace
            words = connection.told["gone"].strip() or "Somebody or the system may have killed it."
            raise BackendError(
                f"The process on {self.target} that runs the workers ended. {words} Try again."
            )
        return None

    def _serve(
        self, session: AgentSession, connection: SshConnection, attempt: Future[AgentSession]
    ) -> str:
        """Send and receive until the connection ends; return why.

        It is ended from here where this end is closed, or versions do not fit.
        """
        link, sock = session.link, connection.socket
        poll = select.poll()
        poll.register(self._alarm, select.POLLIN)
        link.begin()
        self._take_in(session, connection.rest, attempt)
        end_by: float | None = None
        heard = ping_at = time.monotonic()
        while True:
            now = time.monotonic()
            if end_by is None and (self._closing.is_set() or session.mismatches):
                session.post("end", urgent=True)
                end_by = now + END_WITHIN
            if now >= (end_by or heard + 3 * ssh.HEARTBEAT):
                return f"nothing was heard of it for {now - heard:.0f} s"
            if now >= ping_at:
                ping_at = now + ssh.HEARTBEAT
                link.ping()
            try:
                link.write(sock.fileno())
                poll.register(sock, select.POLLIN | select.POLLOUT * link.wants_to_write)
                ready = dict(poll.poll((min(ping_at, end_by or ping_at) - now) * 1000))
                if self._alarm.fileno() in ready:
                    self._alarm.recv(1 << 12)
                readable = ready.get(sock.fileno(), 0) & ~select.POLLOUT
                data = sock.recv(1 << 18) if readable else None  # ends: it does not block
            except OSError:
                data = b""
            if data:
                heard = time.monotonic()
                self._take_in(session, data, attempt)
            elif data is not None:
                return "" if end_by else connection.why_it_ended()

    def _take_in(self, session: AgentSession, data: bytes, attempt: Future[AgentSession]) -> None:
        """Handle the messages that have arrived."""
        events = []
        for message, body in session.link.feed(data):
            if isinstance(message, VersionsFound):
                session.answered(message.found)
            else:
                events.append(session.as_seen_here(message, body))
        if session.first_answer.done() and not attempt.done() and not session.mismatches:
            self._notify(HostNews(self, session, "up"))
            attempt.set_result(session)
        if events:
            self._notify(HostNews(self, session, "events", events))
