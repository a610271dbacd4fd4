"""Starts processes through the zygote, with the packages of Lambda's own Python on their path.


Code in an emulated environment must not find what happens to be installed here. So it runs with a
hand-made path, on which a folder of links stands for Lambda's `/var/runtime`.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import importlib.util
import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.errors import BackendError, MissingExtra

#: What AWS's images for Python contain: the runtime client, boto3, and what these two need.
PACKAGES: Final = (
    "awslambdaric",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "runtime_client",
    "s3transfer",
    "simplejson",
    "six",
    "snapshot_restore_py",
    "urllib3",
)


def gather(folder: Path) -> None:
    """Fill `folder` with links to the runtime's packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise MissingExtra("The Lambda emulator", "emulator", [name])
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)


def make_interpreter(path: Path) -> None:
    """Write a command that runs Python without what is installed for it, for child processes.

    A Python started by a handler finds its path in PYTHONPATH, as in Lambda.
    """
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(interpreter())} -S "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def interpreter() -> str:
    """Return the interpreter without a virtual environment around it."""
    found = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(found)


def runtime_name() -> str:
    """Return the one Lambda runtime that can be emulated here: this Python's."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


_MESSAGE = 1 << 20


class ForkedProcess:
    """A process forked by the zygote."""

    def __init__(self, pid: int, exited: asyncio.Future[int]) -> None:
        self.pid = pid
        self.exited = exited
        """The wait status, once it has ended."""

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the process and its group, which it leads as soon as it runs."""
        if self.exited.done():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ZygoteClient:
    """The zygote's other side."""

    def __init__(self, folder: Path) -> None:
        runtime = folder / "runtime"
        gather(runtime)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("python", "python3", runtime_name()):
            make_interpreter(self.bin / name)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [
                    interpreter(),
                    *("-I", "-S", "-X", "utf8", str(Path(__file__).with_name("zygote.py"))),
                    *(str(theirs.fileno()), str(runtime)),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.setblocking(False)
        self.runtime = runtime
        self._socket = ours
        self._ids = itertools.count()
        self._starting: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._alive: dict[int, ForkedProcess] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the zygote has died, which nothing survives."""
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read)

    async def start(self, spec: dict[str, Any], log: int) -> ForkedProcess:
        """Start an environment whose output goes to the descriptor `log`."""
        number = next(self._ids)
        started: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._starting[number] = started
        request = json.dumps({**spec, "id": number}).encode()
        fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [log]))]
        while True:
            try:
                self._socket.sendmsg([request], fds)
            except BlockingIOError:  # the zygote is busy forking
                await asyncio.sleep(0.001)
            else:
                return await started  # ends: with the fork, or when the zygote dies

    def close(self) -> None:
        """End the zygote, and with it all its children."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)

    def _fail(self) -> None:
        """Wake everything that waits for a zygote that has died."""
        if not self.failed.done():
            self.failed.set_result(None)
        for starting in self._starting.values():
            starting.set_exception(BackendError("The emulator's zygote process has died."))
        for child in self._alive.values():  # by the kernel's hand, as they asked for
            child.exited.set_result(signal.SIGKILL)
        self._starting.clear()
        self._alive.clear()

    def _read(self) -> None:
        while True:
            try:
                data = self._socket.recv(_MESSAGE)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
                self._fail()
                return
            message = json.loads(data)
            if "status" in message:
                child = self._alive.pop(message["pid"])
                child.exited.set_result(message["status"])
            else:
                child = ForkedProcess(message["pid"], asyncio.get_running_loop().create_future())
                self._alive[child.pid] = child
                self._starting.pop(message["id"]).set_result(child)
