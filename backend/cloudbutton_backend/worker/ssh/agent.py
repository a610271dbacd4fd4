"""The agent: a pool of workers on a machine that a kernel reaches by ssh.

::

    kernel                      ssh         relay               agent                   workers
    ──────                      ───         ─────               ─────                   ───────
    commands, items ──────────▶ sshd ─────▶ (its stdin and ───▶ Link ─▶ WorkerPool ───▶ run items
    events, results ◀────────── sshd ◀───── stdout, handed ◀─── Link ◀─ events ◀─────── results
                                            to the agent)

It is no child of the ssh server: when a connection breaks, it and the items go on, and the next relay
hands it the next connection. It ends, with all that it started, when the kernel says so or has died, or
has not come back for the time that it was given.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from cloudbutton_backend.worker.installed_versions import installed_versions
from cloudbutton_backend.worker.pool.cpu_count import usable_cpus
from cloudbutton_backend.worker.pool.pool import WorkerPool
from cloudbutton_backend.worker.pool.protocol import BatchCall, JobSpec, PoolEvent, Results
from cloudbutton_backend.worker.pool.shared_data import memory
from cloudbutton_backend.worker.shared_memory import SharedRegion
from cloudbutton_backend.worker.ssh.link import Link, Versions
from cloudbutton_backend.worker.wire import split

LINGER: Final = 1.0
"""Seconds after which a connection that only the kernel's end has closed means that the kernel died: when
a connection breaks, the ssh server closes both directions."""


class Agent:
    """Serves one kernel.

    Parameters
    ----------
    listener
        Where relays come with connections.
    folder
        What to remove in the end.
    name
        What the workers' names begin with.
    grace
        Seconds for which to go on without a connection.
    heartbeat
        Seconds between two signs of life; a connection without three of them is given up.
    """

    def __init__(
        self,
        listener: socket.socket,
        folder: str,
        name: str,
        workers: int | None,
        grace: float,
        heartbeat: float,
    ) -> None:
        self._listener, self._folder = listener, folder
        self._grace, self._heartbeat = grace, heartbeat
        n_workers = workers or usable_cpus()
        # The kernel decides what is dropped: it must know what is here.
        pool = self._pool = WorkerPool(n_workers, name=name, room=sys.maxsize, stub=True)
        self._link = Link({"workers": n_workers, "room": memory() // 4})
        self._commands: dict[str, Callable[..., object]] = {
            "start": pool.start,
            "open_job": self._open_job,
            "submit": lambda call, body: pool.submit(_with_items(call, body)),
            "revoke": pool.revoke,
            "interrupt": pool.interrupt,
            "kill": pool.kill,
            "close_job": pool.close_job,
            "warm": pool.warm,
            "take": self._take,
            "drop": pool.drop,
            "versions": lambda names: self._link.send(Versions(installed_versions(names))),
            "end": self._end,
        }
        self._relay: socket.socket | None = None
        self._fds: tuple[int, int] | None = None
        self._incoming: dict[str, SharedRegion] = {}
        self._is_over = False
        self._heard = self._alone_since = self._ping_at = time.monotonic()
        self._closed_at: float | None = None
        """When the kernel's end of the connection was closed."""
        pool.watch(listener.fileno(), selectors.EVENT_READ, self._accept)

    def run(self) -> None:
        """Serve until there are no clients."""
        try:
            while not self._is_over:
                for event in self._pool.poll(self._check(time.monotonic())):
                    self._report(event)
                self._write()
        finally:
            self._pool.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._lose_connection()

    def _end(self) -> None:
        self._is_over = True

    # -- the connection

    def _accept(self) -> None:
        """Accept a relay's connection, in place of the present one."""
        relay, _ = self._listener.accept()  # ends: a client is there
        relay.settimeout(self._heartbeat)
        try:
            _, fds, _, _ = socket.recv_fds(relay, 1, 2)
        except OSError:
            fds = []
        if len(fds) < 2:
            relay.close()
            return
        self._lose_connection()
        for fd in fds:
            os.set_blocking(fd, False)
        self._relay, self._fds = relay, (fds[0], fds[1])
        self._heard = time.monotonic()
        self._link.about["time"] = time.time()
        self._link.begin()
        self._pool.watch(fds[0], selectors.EVENT_READ, self._read)

    def _lose_connection(self) -> None:
        if self._fds is None or self._relay is None:
            return
        for fd in self._fds:
            self._pool.watch(fd, 0, self._read)
            os.close(fd)
        self._relay.close()
        self._relay = self._fds = self._closed_at = None
        self._alone_since = time.monotonic()

    def _read(self) -> None:
        if self._fds is None:  # it was replaced just now
            return
        try:
            data = os.read(self._fds[0], 1 << 18)  # ends: it does not block
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._heard = time.monotonic()
        if not data:
            self._closed_at = self._heard
            self._pool.watch(self._fds[0], 0, self._read)
        for command, body in self._link.feed(data):
            self._commands[command.name](*command.arguments, *([body] if body else []))

    def _write(self) -> None:
        if self._fds is None or self._closed_at is not None:
            return
        try:
            self._link.write(self._fds[1])
        except OSError:
            self._lose_connection()
        else:
            mask = selectors.EVENT_WRITE if self._link.wants_to_write else 0
            self._pool.watch(self._fds[1], mask, self._write)

    def _check(self, now: float) -> float:
        """Check the connection; return the seconds until the next check."""
        if self._fds is None:
            # A client that never connected does not come back.
            grace = 3 * self._heartbeat if self._link.peer is None else self._grace
            left = self._alone_since + grace - now
            self._is_over = self._is_over or left <= 0
            return max(0.0, left)
        if self._closed_at is not None:
            if _nobody_reads(self._fds[1]):
                self._lose_connection()
            self._is_over = self._is_over or (self._closed_at or now) + LINGER <= now
            return LINGER / 10
        if now >= self._heard + 3 * self._heartbeat:
            self._lose_connection()
            return 0.0
        if now >= self._ping_at:
            self._ping_at = now + self._heartbeat
            self._link.ping()
            self._write()
        return self._ping_at - now

    # -- requests and answers

    def _open_job(self, spec: JobSpec) -> None:
        """Open a job in the notebook's folder, if that is here as well, or else in the user's own."""
        cwd = spec.cwd if os.path.isdir(spec.cwd) else os.path.expanduser("~")
        environment = {**os.environ, **spec.environment}
        path = tuple(sys.path)
        self._pool.open_job(replace(spec, cwd=cwd, environment=environment, path=path))

    def _take(self, digest: str, nbytes: int, offset: int, body: bytes) -> None:
        """Take a piece of a captured value."""
        if digest not in self._incoming:
            self._incoming[digest] = SharedRegion(nbytes)
        self._incoming[digest].write(offset, [body])
        if offset + len(body) == nbytes:
            self._pool.adopt(digest, self._incoming.pop(digest))

    def _report(self, event: PoolEvent) -> None:
        if isinstance(event, Results):
            self._link.send(replace(event, payload=None), event.payload or b"")
        else:
            self._link.send(event)


def _with_items(call: BatchCall, body: bytes) -> BatchCall:
    return replace(call, parts=split(memoryview(body)))


def _nobody_reads(fd: int) -> bool:
    """Whether what is written to a descriptor would be lost."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(mask & (select.POLLHUP | select.POLLERR) for _, mask in poll.poll(0))


def main(config: str) -> None:
    """Run an agent. `config` is the JSON that the relay wrote on the command line."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.argv = [""]
    options: dict[str, Any] = json.loads(config)
    Agent(socket.socket(fileno=options.pop("listener")), **options).run()
