"""Checks whether the process that wrote a job is still there, without psutil."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

#: Seconds without a heartbeat after which a process that cannot be seen counts as gone.
SILENCE = 10.0


def start_token(pid: int) -> str:
    """Return what tells this process from any other that ever had, or will have, its pid.

    On Linux that is the boot, the pid namespace and the start time in clock ticks since that
    boot: all three, because a pid comes back within a boot, start times come back after a
    reboot, and containers number their processes alike. Elsewhere, and for a process that does
    not exist, it is the empty string: then only heartbeats tell.
    """
    if not sys.platform.startswith("linux"):
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    # The name in field 2 may hold spaces and parentheses; the fields after its last ")" are plain.
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):  # killed and not yet reaped by its parent
        return ""
    return f"{boot} {namespace} {int(fields[19])}"


def is_alive(
    *, token: str, token_now: str, own_token: str, same_host: bool, heartbeat: float, now: float
) -> bool:
    """Decide whether a job's process is alive, from what a reader can see.

    Parameters
    ----------
    token
        Written by the process itself when the job began.
    token_now
        `start_token` of that pid, seen from here, now.
    own_token
        `start_token` of the reader: it shows whether the two could see each other at all.
    same_host
        Whether the job ran on the reader's machine.
    heartbeat, now
        Unix times.
    """
    if same_host and is_visible(token, own_token):
        return token == token_now
    return now - heartbeat <= SILENCE


def is_visible(token: str, own_token: str) -> bool:
    """Whether a process with `own_token` can see the one that wrote `token`, were it there."""
    return bool(token and own_token and _where(token) == _where(own_token))


class LivenessCheck:
    """One check of the processes of many jobs: what jobs have in common is looked up once.

    Make a new one for each look; what it has seen may change.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._host = socket.gethostname()
        self._own_token = start_token(os.getpid())
        self._seen: dict[int, str] = {}

    def is_alive(self, *, pid: int, host: str, token: str, heartbeat: float) -> bool:
        """Whether the process of an unfinished job is there."""
        return is_alive(
            token=token,
            token_now=self._token_now(pid),
            own_token=self._own_token,
            same_host=host == self._host,
            heartbeat=heartbeat,
            now=self._now,
        )

    def is_gone(self, *, pid: int, host: str, token: str) -> bool:
        """Whether the process of a finished job, which beats no more, is known not to be there."""
        return self.sees(host=host, token=token) and token != self._token_now(pid)

    def sees(self, *, host: str, token: str) -> bool:
        """Whether the process that wrote `token` would be visible from here; else only heartbeats tell."""
        return host == self._host and is_visible(token, self._own_token)

    def _token_now(self, pid: int) -> str:
        if pid not in self._seen:
            self._seen[pid] = start_token(pid)
        return self._seen[pid]


def _where(token: str) -> str:
    """Return the part of a token that all processes within sight of each other share."""
    namespace = token.rpartition(" ")[0]
    return namespace.partition(" ")[2]
