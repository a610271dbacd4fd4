"""Whole programs: interrupted, told to cancel from outside, without a main guard, within tasks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import cloudbutton_ext as cloud
from tests.ext.conftest import Script

SQUARES = "import cloudbutton_ext as cloud\nprint(cloud.map(lambda x: x * x, range(5)).results())\n"
DEFINED = (
    "import cloudbutton_ext as cloud\n"
    "def square(x):\n"
    "    return x * x\n"
    "print(cloud.map(square, range(5)).results())\n"
)
ANSWER = "[0, 1, 4, 9, 16]\n"

#: Says so once the main thread waits for its job, and not a moment before.
SAY_BUSY = (
    "import threading; from tests.ext.waiting import say_busy;"
    " threading.Thread(target=say_busy, args=[threading.get_ident()]).start()"
)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a program's end; return what it printed."""
    out, err = process.communicate(timeout=25)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize("code", [SQUARES, DEFINED])
@pytest.mark.parametrize("way", ["-c", "file", "-m", "stdin"])
def test_a_program_needs_no_main_guard(way: str, code: str, python: Script, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(code)
    arguments = {
        "-c": ["-c", code],
        "file": ["program.py"],
        "-m": ["-m", "program"],
        "stdin": ["-"],
    }
    assert finish(python(*arguments[way], stdin=code if way == "stdin" else None)) == ANSWER


def busy_workers(pid: int) -> list[psutil.Process]:
    """Return the workers of a process that use CPU, by a look at a tenth of a second."""
    workers = [child for child in psutil.Process(pid).children() if child.is_running()]
    before = {child: sum(child.cpu_times()[:2]) for child in workers}
    time.sleep(0.1)
    return [c for c in workers if c.is_running() and sum(c.cpu_times()[:2]) - before[c] > 0.03]


@pytest.mark.parametrize("wait", ["job.results()", "list(job.as_completed())", "job.wait()"])
def test_an_interrupt_ends_the_wait_and_the_work_at_once(wait: str, python: Script) -> None:
    process = python(
        "-c",
        textwrap.dedent(f"""
            import sys, time
            import cloudbutton_ext as cloud
            cloud.warm_up()
            job = cloud.map(lambda x: [0 for _ in iter(int, 1)], range(8))
            while not job.progress.running: time.sleep(0.005)
            {SAY_BUSY}
            try:
                {wait}
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            if {wait == "job.wait()"}:
                job.cancel()
            job.wait()
            print(job.state.value, flush=True)
            print(cloud.map(abs, [-1, -2]).results(), flush=True)
            sys.stdin.read()
        """),
    )
    assert process.stdout is not None and process.stdout.readline() == "busy\n"
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    assert process.stdout.readline() == "interrupted\n"
    assert process.stdout.readline() == "cancelled\n"
    assert time.monotonic() - start < 10  # under half a second; the rest is for busy machines
    assert process.stdout.readline() == "[1, 2]\n"


def test_workers_burn_no_cpu_after_an_interrupt(python: Script) -> None:
    process = python(
        "-c",
        textwrap.dedent("""
            import time
            import cloudbutton_ext as cloud
            cloud.warm_up()
            job = cloud.map(lambda x: [0 for _ in iter(int, 1)], range(8))
            while not job.progress.running: time.sleep(0.005)
            SAY_BUSY
            try:
                job.results()
            except KeyboardInterrupt:
                job.wait()
            print("over", flush=True)
            time.sleep(60)
        """).replace("SAY_BUSY", SAY_BUSY),
    )
    assert process.stdout is not None and process.stdout.readline() == "busy\n"
    limit = time.monotonic() + 20  # on a crowded machine they may have to wait for a CPU
    while not busy_workers(process.pid):
        assert time.monotonic() < limit
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "over\n"
    assert busy_workers(process.pid) == []


def test_another_process_cancels_the_job_of_a_busy_one(python: Script) -> None:
    process = python(
        "-c",
        textwrap.dedent("""
            import cloudbutton_ext as cloud
            from cloudbutton_backend.session import session
            cloud.warm_up()
            job = cloud.map(lambda x: [0 for _ in iter(int, 1)], range(8))
            session.current().journal.flush(5)  # others have to know the job before they cancel it
            print(job.id, flush=True)
            try:
                job.results()
            except cloud.CloudError as error:
                print(type(error).__name__, flush=True)
        """),
    )
    assert process.stdout is not None
    job_id = process.stdout.readline().strip()
    command = "from cloudbutton_ext.cli.main import main; raise SystemExit(main(['cancel', '{}']))"
    start = time.monotonic()
    canceller = python("-c", command.format(job_id))
    assert process.stdout.readline() == "JobCancelled\n"
    assert time.monotonic() - start < 20  # a second or two; the rest is for busy machines
    finish(canceller)


def test_processes_share_one_journal(python: Script) -> None:
    both = [python("-c", SQUARES.replace("range(5)", f"range({n})")) for n in (3, 4)]
    assert [finish(process) for process in both] == ["[0, 1, 4]\n", "[0, 1, 4, 9]\n"]
    listing = (
        "from cloudbutton_ext.cli.main import main; raise SystemExit(main(['jobs', '--json']))"
    )
    jobs: list[dict[str, Any]] = json.loads(finish(python("-c", listing)))
    assert sorted(job["n_items"] for job in jobs) == [3, 4]
    assert {job["state"] for job in jobs} == {"done"}
    assert len({job["pid"] for job in jobs}) == 2


def test_calls_submitted_are_finished_before_the_interpreter_ends(python: Script) -> None:
    code = textwrap.dedent("""
        import time
        import cloudbutton_ext as cloud
        executor = cloud.Executor(2)
        for n in range(4):
            future = executor.submit(lambda n: time.sleep(0.05) or n, n)
            future.add_done_callback(lambda future: print(future.result(), flush=True))
    """)
    assert sorted(finish(python("-c", code)).split()) == ["0", "1", "2", "3"]


def test_nothing_can_be_submitted_once_the_interpreter_ends(python: Script) -> None:
    code = textwrap.dedent("""
        import atexit
        @atexit.register
        def last():
            try:
                executor.submit(abs, 1)
            except RuntimeError as error:
                print(error)
        import cloudbutton_ext as cloud
        executor = cloud.Executor(2)
    """)
    assert "interpreter's end" in finish(python("-c", code))


def test_a_job_that_runs_does_not_hold_up_the_end(python: Script) -> None:
    code = textwrap.dedent("""
        import time
        import cloudbutton_ext as cloud
        cloud.warm_up()
        job = cloud.map(lambda x: time.sleep(600), range(4))
        while not job.progress.running: time.sleep(0.005)
        print("leaving")
    """)
    assert finish(python("-c", code)) == "leaving\n"


def nested_map(n: int) -> list[int]:
    return cloud.map(lambda x: x + n, range(3)).results()  # type: ignore[no-any-return]


def nested_executor(n: int) -> list[int]:
    with cloud.Executor(8) as executor:
        return list(executor.map(pow, range(3), [n] * 3))


def deeply_nested(depth: int) -> int:
    if depth == 0:
        return 0
    return 1 + int(cloud.map(deeply_nested, [depth - 1], workers=16).results()[0])


def test_a_task_may_map_in_its_turn() -> None:
    before = len(psutil.Process().children(recursive=True))
    assert cloud.map(nested_map, range(4)).results() == [[n, n + 1, n + 2] for n in range(4)]
    assert cloud.map(nested_executor, [1, 2]).results() == [[0, 1, 2], [0, 1, 4]]
    assert cloud.map(deeply_nested, [3]).results() == [3]
    # One worker for each of our workers, and for each of those; never one for each CPU.
    more = len(psutil.Process().children(recursive=True)) - before
    assert more <= len(psutil.Process().children()) * 4


def test_what_a_nested_map_raises_is_what_the_task_raises() -> None:
    def task(n: int) -> list[float]:
        return list(cloud.map(lambda x: 1 / x, [n, 0]).results())

    with pytest.raises(ZeroDivisionError):
        cloud.map(task, [1]).results()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_nested_workers_end_with_their_worker(python: Script) -> None:
    process = python(
        "-c",
        textwrap.dedent("""
            import time
            import cloudbutton_ext as cloud
            def outer(n):
                return cloud.map(lambda x: [0 for _ in iter(int, 1)], [n]).results()
            cloud.map(outer, range(2))
            print("started", flush=True)
            time.sleep(60)
        """),
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    kernel = psutil.Process(process.pid)
    while len(family := kernel.children(recursive=True)) < 3:
        time.sleep(0.01)
    process.kill()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
