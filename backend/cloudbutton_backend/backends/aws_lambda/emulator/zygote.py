"""Forks execution environments: a program of its own, run by a bare interpreter.

Started as ``python -I -S -X utf8 zygote.py FD RUNTIME``: isolated, without site-packages. `RUNTIME` is the
folder with the packages that Lambda's own Python has, and the only addition to the standard library.
It imports what AWS's runtime client imports anyway, and then forks for each execution
environment, so that one costs milliseconds and shares those pages with the others. What the runtime
client reads from the environment when it is imported is imported after the fork.

On the socket `FD` arrive requests to start an environment (JSON, with the descriptor its output goes
to); back go its process id and, later, how it ended. When the socket closes, everything ends.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MESSAGE = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)

#: Imported before forking: all of it would be imported by the runtime client's start anyway.
_PRELOADED = (
    "awslambdaric",
    "awslambdaric.lambda_config",
    "awslambdaric.lambda_context",
    "awslambdaric.lambda_literals",
    "awslambdaric.lambda_runtime_exception",
    "awslambdaric.lambda_runtime_log_utils",
    "awslambdaric.lambda_runtime_marshaller",
    "http",
    "importlib",
    "logging",
    "traceback",
)


class Zygote:
    """Forks on request and tells of deaths, in one thread."""

    def __init__(self, control: socket.socket, runtime: str) -> None:
        self._control = control
        self._library = list(sys.path)
        self._runtime = runtime
        self._children: set[int] = set()
        sys.path.append(runtime)
        for name in _PRELOADED:
            __import__(name)
        # Orphans of an environment come to us, so that they end with it.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._wakeup, self._woken = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken)

    def serve(self) -> dict[str, Any]:
        """Fork until the socket closes; return in a forked child, with its request."""
        while True:
            # ends: with the emulator, whose end of the socket closes
            readable, _, _ = select.select([self._control.fileno(), self._wakeup], [], [])
            if self._wakeup in readable:
                os.read(self._wakeup, 4096)  # ends: the pipe does not block
                self._reap()
            if self._control.fileno() in readable:
                request, fds = self._receive()
                if request is None:
                    return self._end()
                pid = os.fork()
                if pid == 0:
                    self._leave()
                    return {**request, "log": fds[0], "library": self._library}
                for fd in fds:
                    os.close(fd)
                self._children.add(pid)
                self._send({"id": request["id"], "pid": pid})

    def _receive(self) -> tuple[dict[str, Any] | None, list[int]]:
        # ends: `select` has said that there is something
        data, ancillary, _flags, _address = self._control.recvmsg(_MESSAGE, socket.CMSG_SPACE(16))
        fds = array.array("i")
        for _level, _kind, content in ancillary:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        return (json.loads(data) if data else None), list(fds)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.send(json.dumps(message).encode())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                self._children.discard(pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                self._kill_orphans()
                self._send({"pid": pid, "status": status})

    def _kill_orphans(self) -> None:
        """End what an environment started in a session of its own; it is our child by now."""
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                ours = {int(pid) for pid in file.read().split()}
        except OSError:
            return
        for pid in ours - self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _leave(self) -> None:
        """Stop being the zygote, in the child."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        os.close(self._wakeup)
        os.close(self._woken)

    def _end(self) -> NoReturn:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._kill_orphans()
        os._exit(0)


class _NoSemaphore:
    """Lambda's substitute for POSIX semaphores: there is no /dev/shm."""

    SEM_VALUE_MAX = 2147483647

    def __init__(self, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def become(spec: dict[str, Any], runtime: str, parent: int) -> None:
    """Turn this fresh child into an execution environment, and run AWS's runtime client in it."""
    os.setsid()
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (spec["log"], 1), (spec["log"], 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(spec["log"])
    resource.setrlimit(resource.RLIMIT_DATA, (spec["data_bytes"], spec["data_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, files),) * 2)
    setattr(__import__("_multiprocessing"), "SemLock", _NoSemaphore)  # noqa: B010
    os.environ.clear()
    os.environ.update(spec["env"])
    time.tzset()
    os.chdir(spec["cwd"])
    sys.path[:] = [*spec["path"], runtime, *spec["library"]]
    sys.executable = spec["executable"]
    sys.argv = ["bootstrap", spec["handler"]]
    sys.dont_write_bytecode = True  # the code's folder is read-only there
    # Those of the zygote have buffers and encodings of its own.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    from awslambdaric.__main__ import main

    main(sys.argv)


if __name__ == "__main__":
    _runtime, _pid = sys.argv[2], os.getpid()
    _spec = Zygote(socket.socket(fileno=int(sys.argv[1])), _runtime).serve()
    become(_spec, _runtime, _pid)
