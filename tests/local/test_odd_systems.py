"""The pool on systems that refuse what it asks for, and at the end of its own life."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.worker.messages import ReadyMessage
from cloudbutton_backend.worker.pool import worker_process
from cloudbutton_backend.worker.wire import Decoder, encode


@pytest.fixture
def fresh() -> Any:
    """A session whose workers are not started yet."""
    session = Session()
    session._drivers.use("local", workers=2)
    yield session
    session.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_job_ends_where_no_worker_can_be_started(
    fresh: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(BackendError, match="no worker process can be started"):
        fresh.map(abs, [1]).results()
    before = open_descriptors()
    with pytest.raises(BackendError, match="no worker process can be started"):
        fresh.map(abs, [1]).results()
    assert open_descriptors() <= before + 1  # the second job's result file may be open


def test_one_worker_does_the_work_where_a_second_cannot_be_started(
    fresh: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen
    started: list[Any] = []

    def only_one(*arguments: Any, **options: Any) -> Any:
        if started:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(start(*arguments, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", only_one)
    assert fresh.map(lambda x: x + 1, range(20)).results() == list(range(1, 21))


def test_workers_are_watched_where_the_system_has_no_process_descriptors(
    fresh: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, _flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)

    def dies_once(path: Path) -> str:
        if not path.exists():
            path.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    path = Path(fresh.journal.home) / "died"
    assert fresh.map(dies_once, [path]).results() == ["done"]


def test_what_a_worker_sent_before_it_died_counts(fresh: Session) -> None:
    """Its end may be noticed before its last words are read."""
    worker = worker_process.WorkerProcess.__new__(worker_process.WorkerProcess)
    worker.socket, theirs = socket.socketpair()
    worker.socket.setblocking(False)
    worker._decoder = Decoder()
    theirs.sendall(b"".join(encode(ReadyMessage(7))))
    theirs.close()
    worker.hung_up = True
    assert [received.message for received in worker.read()] == [ReadyMessage(7)]
    worker.socket.close()


def test_closing_a_session_ends_every_way_of_waiting_for_its_jobs(fresh: Session) -> None:
    job = fresh.map(lambda _: threading.Event().wait(), range(2))
    ended: list[BaseException] = []

    async def await_it() -> Any:
        return await job

    def wait() -> None:
        try:
            asyncio.run(await_it())
        except Exception as error:
            ended.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    while not job._run_state.callbacks:
        threading.Event().wait(0.001)
    fresh.driver("local").close()  # without cancelling, as when the session closes in a hurry
    waiting.join(10)
    assert not waiting.is_alive()
    assert isinstance(ended[0], BackendError)


def test_a_process_forked_off_the_kernel_does_not_keep_workers_alive(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "from cloudbutton_backend.session import session\n"
        "s = session.current()\n"
        "assert s.warm_up('local', timeout=30)\n"
        "child = os.fork()\n"
        "if not child: time.sleep(60)\n"
        "pids = [w.pid for w in s.driver('local').backend._workers.values()]\n"
        "print(child, *pids, flush=True)\n"
        "time.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CLOUDBUTTON_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as kernel:
        assert kernel.stdout is not None
        child, *workers = map(int, kernel.stdout.readline().split())
        kernel.kill()
    try:
        deadline = time.monotonic() + 5
        while any(map(_exists, workers)) and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert workers and not any(map(_exists, workers))
        assert _exists(child)
    finally:
        os.kill(child, signal.SIGKILL)


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
