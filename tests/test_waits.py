"""Every wait in the code has an end; and the list that says so would notice one that has none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "waits.py"
PACKAGES = ("cloudbutton_ext", "kernel_magic/cloudbutton_magic", "backend/cloudbutton_backend")

#: Waits without a time-out that say in a comment what ends them; each new one is to be thought about.
MOST_WITH_A_REASON = 52


@pytest.fixture(scope="module")
def waits() -> ModuleType:
    spec = importlib.util.spec_from_file_location("waits", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def found_in(waits: ModuleType, code: str) -> list[str]:
    return [wait.call for wait in waits.unexplained(waits.waits_in(code))]


def test_every_wait_has_an_end(waits: ModuleType) -> None:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found = [
        wait
        for path in files
        for wait in waits.waits_in(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]
    assert len(files) > 100
    assert [str(wait) for wait in waits.unexplained(found)] == []
    assert len(found) <= MOST_WITH_A_REASON


ENDLESS = {
    "an event": "ready.wait()",
    "an event, said so": "ready.wait(None)",
    "an event, by name": "ready.wait(timeout=None)",
    "a condition": "change.wait_for(is_over)",
    "a thread": "thread.join()",
    "a queue": "queue.get()",
    "a queue that blocks": "queue.get(block=True)",
    "a future": "future.result()",
    "what a future raised": "future.exception()",
    "a lock": "lock.acquire()",
    "a lock, said so": "lock.acquire(True)",
    "several futures": "concurrent.futures.wait(several)",
    "futures as they end": "for each in futures.as_completed(several): print(each)",
    "a pool's end": "with ThreadPoolExecutor(2) as pool: pool.submit(print)",
    "a pool shut down": "pool.shutdown()",
    "a process": "process.wait()",
    "a process's output": "process.communicate()",
    "a program": "subprocess.run(['ls'], check=True)",
    "a child": "os.waitpid(pid, 0)",
    "any child": "os.wait()",
    "a signal": "signal.pause()",
    "descriptors": "select.select([one], [], [])",
    "descriptors, said so": "select.select([one], [], [], None)",
    "a poll": "watch = select.poll()\nwatch.poll()",
    "a selector": "self._selector.select()",
    "a backend": "backend.poll(None)",
    "a socket": "self.socket.recv(100)",
    "a connection": "listening.accept()",
    "a peer that does not read": "self.socket.sendall(data)",
    "a peer that does not answer": "socket.create_connection((host, 80))",
    "a server": "urlopen(request)",
    "a server's connection": "HTTPSConnection(host)",
    "a pipe": "process.stdout.readline()",
    "a pipe's lines": "for line in process.stdout: print(line)",
    "a descriptor": "os.read(lifeline, 1)",
    "a file's lock": "fcntl.flock(file, fcntl.LOCK_EX)",
    "a database's lock": "sqlite3.connect('journal.db')",
    "the user": "answer = input('really? ')",
    "an asyncio event": "async def f():\n    await bell.wait()",
    "an asyncio queue": "async def f():\n    return await queue.get()",
    "an asyncio future": "async def f():\n    await self._future",
    "asyncio tasks": "async def f():\n    await asyncio.gather(*tasks)",
    "asyncio tasks, waited for": "async def f():\n    await asyncio.wait(tasks)",
    "an asyncio limit that is none": "async def f():\n    await asyncio.wait_for(bell.wait(), None)",
    "a Dask cluster": "self.client.run(function, on_error='ignore')",
    "a loop that never looks": "while not os.path.exists(gate):\n    time.sleep(0.1)",
    "a lock held meanwhile": "with self._lock:\n    thread.join(5)",
    "another object's method": "class A:\n    def wait(self): pass\n    def f(self, other): other.wait()",
    "a reason that is none": "ready.wait()  # ends: yes",
    "a reason for nothing": "ready.set()  # ends: when the other side is set",
}

ENDING = {
    "an event": "ready.wait(2)",
    "an event, by name": "ready.wait(timeout=self._patience)",
    "a thread": "thread.join(2.0)",
    "text": "', '.join(names)",
    "a path": "os.path.join(folder, name)",
    "a mapping": "options.get('budget')",
    "a context variable's default": "current.get(None)",
    "a queue": "queue.get(timeout=1)",
    "a queue that has something": "queue.get_nowait()",
    "a queue, if it has something": "queue.get(block=False)",
    "a future": "future.result(timeout=5)",
    "a future that is done": "if future.done():\n    print(future.result())",
    "a future that is done, in a condition": "ok = future.done() and future.exception() is None",
    "an asyncio future's result": "def told(sent: asyncio.Future[None]) -> None:\n    sent.exception()",
    "a task's result": "async def f(task):\n    return task.result()",
    "a lock": "lock.acquire(timeout=1)",
    "a lock, if it is free": "lock.acquire(blocking=False)",
    "a critical section": "with self._lock:\n    self._count += 1",
    "a condition's own lock": "with self._change:\n    self._change.wait(1)",
    "a pool left alone": "pool.shutdown(wait=False)",
    "a process": "process.wait(5)",
    "a process, if it has ended": "process.poll()",
    "a program": "subprocess.run(['ls'], check=True, timeout=10)",
    "a child": "os.waitpid(-1, os.WNOHANG)",
    "descriptors": "select.select([one], [], [], 0)",
    "a poll": "watch = select.poll()\nwatch.poll(100)",
    "a socket that does not block": "sock.setblocking(False)\nself.socket = sock\nself.socket.recv(9)",
    "a socket with a time-out": "sock.settimeout(3)\nsock.recv(9)",
    "a server": "urlopen(request, timeout=20)",
    "a file's lock": "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
    "a database's lock": "sqlite3.connect('journal.db', timeout=5)",
    "a file": "file.read()",
    "an asyncio event": "async def f():\n    await asyncio.wait_for(bell.wait(), 2)",
    "asyncio tasks": "async def f():\n    await asyncio.wait(tasks, timeout=2)",
    "a coroutine of ours": "async def f():\n    await look()",
    "a Dask cluster": "self.client.run(function, callback_timeout=20)",
    "another client's method": "self._program.run(function)",
    "a loop with a deadline": "while time.monotonic() < deadline:\n    time.sleep(0.1)",
    "a loop that looks for life": "while thread.is_alive():\n    thread.join(1)",
    "a method of the same class": "class A:\n    def wait(self): pass\n    def f(self): self.wait()",
    "the class above": "class A(B):\n    def get(self): return super().get()",
    "a reason": "ready.wait()  # ends: with close(), which sets it",
    "a reason above": "# ends: with close(), which sets it\nready.wait()",
}


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_a_wait_without_an_end_is_found(waits: ModuleType, code: str) -> None:
    assert len(found_in(waits, code)) == 1


@pytest.mark.parametrize("code", ENDING.values(), ids=ENDING)
def test_what_ends_is_not_found(waits: ModuleType, code: str) -> None:
    assert found_in(waits, code) == []


def test_the_tool_says_where_and_fails(
    waits: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.py").write_text("ready.wait(1)\n")
    assert waits.main([str(tmp_path)]) == 0
    bad = tmp_path / "bad.py"
    bad.write_text("import x\n\nx.ready.wait()\n")
    assert waits.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"{bad}:3: x.ready.wait()\n"
