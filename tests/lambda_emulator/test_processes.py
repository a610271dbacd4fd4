"""The emulator's processes: where they listen, that they end, that nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from cloudbutton_backend.backends.aws_lambda.emulator import Emulator, serve
from cloudbutton_backend.errors import BackendError

from .account import Account, eventually

ROOT = Path(__file__).resolve().parents[2]

#: A user who starts an emulator, invokes a function, and waits to be killed.
USER = """
import sys
from cloudbutton_backend.backends.aws_lambda.emulator import Emulator, serve
from tests.lambda_emulator.account import Account
emulator = Emulator.shared()
account = Account(emulator)
pid = account.invoke(account.function("import os\\ndef handler(e, c): return os.getpid()")).body
print(pid, emulator._process.pid, emulator._folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["killed", "exits"])
def test_nothing_is_left_when_its_user_ends(end: str) -> None:
    user = subprocess.Popen(
        [sys.executable, "-c", USER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backend")])},
    )
    assert user.stdin is not None and user.stdout is not None
    environment, server, folder = user.stdout.readline().split()
    processes = psutil.Process(int(server)).children(recursive=True)
    processes += [psutil.Process(int(server))]
    assert int(environment) in {process.pid for process in processes}
    assert Path(folder).is_dir()
    if end == "killed":
        user.send_signal(signal.SIGKILL)
    user.stdin.close()
    user.wait(20)
    user.stdout.close()
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert alive == []
    eventually(lambda: not Path(folder).exists())


@pytest.mark.parametrize("victim", ["server.py", "zygote.py", "moto_process.py"])
def test_when_one_process_dies_all_end(victim: str) -> None:
    emulator = Emulator()
    emulator.start()
    account = Account(emulator)
    account.invoke(account.function("def handler(e, c): pass"))
    assert emulator._process is not None
    server = psutil.Process(emulator._process.pid)
    processes = [server, *server.children(recursive=True)]
    name = victim.removesuffix(".py")
    found = [p for p in processes if any(name in part for part in p.cmdline())]
    (server if victim == "server.py" else next(p for p in found if p.ppid() == server.pid)).kill()
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert alive == []
    assert not emulator.is_running
    emulator.close()


def test_it_listens_on_this_machine_only(account: Account) -> None:
    account.invoke(account.function("def handler(e, c): pass"))
    assert account.emulator._process is not None
    server = psutil.Process(account.emulator._process.pid)
    listening = [
        connection.laddr.ip
        for process in (server, *server.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3 and set(listening) == {"127.0.0.1"}


def test_one_process_shares_one_emulator(account: Account) -> None:
    shared = Emulator.shared()
    try:
        assert Emulator.shared() is shared and shared is not account.emulator
    finally:
        shared.close()
    again = Emulator.shared()
    assert again is not shared and again.is_running
    again.close()


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        emulator = Emulator(port=taken.getsockname()[1])
        with pytest.raises(
            BackendError, match=r"could not be started:(.|\n)*ddress already in use"
        ):
            emulator.start()
    emulator.close()


def test_serving_says_how_to_reach_it_and_ends_when_told() -> None:
    lines: list[str] = []
    stop, ready = threading.Event(), threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("export AWS_SECRET_ACCESS_KEY"):
            ready.set()

    serving = threading.Thread(target=serve, kwargs={"say": say, "stop": stop})
    serving.start()
    try:
        assert ready.wait(20)
    finally:
        stop.set()
        serving.join(20)
    assert not serving.is_alive()
    said = dict(line.removeprefix("export ").split("=", 1) for line in lines[1:])
    assert said["AWS_ENDPOINT_URL_LAMBDA"].startswith("http://127.0.0.1:")
    assert said["AWS_ENDPOINT_URL_S3"] != said["AWS_ENDPOINT_URL_LAMBDA"]


def test_files_beside_the_user_do_not_shadow_its_modules(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    with Emulator() as emulator:
        account = Account(emulator)
        assert account.invoke(account.function("def handler(e, c): return 5")).body == 5
