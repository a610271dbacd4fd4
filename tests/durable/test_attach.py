"""Jobs whose kernel died: what had finished is there at once and never run again, the rest continues."""

from __future__ import annotations

import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.durable import job_file
from cloudbutton_backend.errors import CannotContinue, UnknownName, UsageError
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import BackendIdentity, JobOptions, JobState
from cloudbutton_backend.journal.ownership import OwnedElsewhere, claim
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.storage import job_paths
from cloudbutton_backend.storage.home import home

from .conftest import PATIENCE, Start, row_of, until

SQUARED = [x * x for x in range(20)]


def test_what_had_finished_is_there_at_once_and_the_rest_continues(victim: Start) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    before = program.runs()
    job = cloud.attach(job_id)
    assert {index: x for index, x in job.partial().items() if index < 10} == dict(
        enumerate(SQUARED[:10])
    )
    assert (job.id, job.name, job.progress.done, job.state) == (
        job_id,
        "squares",
        10,
        JobState.RUNNING,
    )
    program.open()
    assert job.results() == SQUARED
    assert [x for x, _ in sorted(job.as_completed())] == list(range(20))
    again = program.runs() - before
    assert set(again) == set(range(10, 20)), "finished items ran again"
    assert max(again.values()) == 1


def test_a_job_that_was_attached_to_and_done_is_read_by_others(victim: Start) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    program.open()
    job = cloud.attach(job_id)
    job.wait()
    other = Session()
    assert other.attach(job_id).results() == SQUARED
    other.close()


def test_a_kernel_may_die_again_and_again(victim: Start, session: Session) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    code = f"""
job = cloud.attach({job_id!r})
"""
    second = victim(code, 15)
    second.await_row(lambda row: row.pid == second.process.pid)
    second.kill()
    program.open()
    assert session.attach(job_id).results() == SQUARED
    assert max(program.runs().values()) <= 3
    assert all(program.runs()[x] == 1 for x in range(10))


def test_of_two_that_attach_one_runs_the_job_and_the_other_is_told(
    victim: Start, session: Session
) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    job = session.attach(job_id)
    row = row_of(job_id)
    assert row is not None
    stranger = victim(
        f"""
from cloudbutton_backend.journal.ownership import claim
from cloudbutton_backend.storage.home import home
from cloudbutton_backend.job_model import BackendIdentity
class job:
    id = ""
    def wait(): pass
try:
    claim(
        home(), {job_id!r}, backend=BackendIdentity("local"), on_this_machine=True, budget=None
    )
except Exception as error:
    job.id = type(error).__name__
""",
        0,
    )
    assert stranger.job_id == "OwnedElsewhere"
    program.open()
    assert job.results() == SQUARED


def test_threads_that_attach_at_once_have_the_same_job(victim: Start, session: Session) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    program.open()
    together = threading.Barrier(4)

    def attach(_: int) -> Job:
        together.wait(PATIENCE)
        return session.attach(job_id)

    with ThreadPoolExecutor(4) as threads:
        jobs = list(threads.map(attach, range(4)))
    assert len(set(map(id, jobs))) == 1
    assert jobs[0].results() == SQUARED


def test_a_claim_is_counted_and_moves_the_job_here(victim: Start) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    local = BackendIdentity("local")
    for times in (1, 2):
        found = claim(home(), job_id, backend=local, on_this_machine=True, budget=None)
        assert found == times
    with pytest.raises(UnknownName):
        claim(home(), "zzzzzzzz", backend=local, on_this_machine=True, budget=None)
    text = str(OwnedElsewhere("abcd2345", 17, "here"))
    assert "pid 17" in text and "`%cloud attach abcd2345`" in text


FAILS = """
def square(x):
    note(x)
    if x == 7 and not is_open():
        raise ValueError("not yet")
    return x * x
job = cloud.map(square, list(range(20)))
time.sleep(0.15)
"""


def test_attaching_to_a_failed_job_tries_again_what_failed(victim: Start) -> None:
    program = victim(FAILS)
    program.await_row(lambda row: row.state is JobState.FAILED)
    before = program.runs()
    program.open()
    assert cloud.attach(program.job_id).results() == SQUARED
    assert (program.runs() - before)[0] == 0


def test_a_job_that_another_kernel_continued_is_not_run_again_by_the_first(
    victim: Start, session: Session, tmp_path: Path
) -> None:
    gate = tmp_path / "open"

    def square(x: int) -> int:
        if x == 7 and not gate.exists():
            raise ValueError("not yet")
        return x * x

    job = session.map(square, list(range(20)))
    with pytest.raises(ValueError, match="not yet"):
        job.results()
    until(lambda: (row := row_of(job.id)) and row.state is JobState.FAILED)
    gate.touch()
    other = victim(f"job = cloud.attach({job.id!r})")
    other.await_row(lambda row: row.state is JobState.DONE)
    with pytest.raises(UsageError, match="was continued by another process"):
        job.retry_failed()
    assert session.attach(job.id).results() == SQUARED


def test_attaching_to_a_cancelled_job_continues_it(victim: Start) -> None:
    program = victim(SQUARES_CANCELLED)
    program.await_row(lambda row: row.state is JobState.CANCELLED)
    program.open()
    job = cloud.attach(program.job_id)
    assert job.results() == SQUARED
    row = row_of(job.id)
    assert row is not None and row.retried == job.progress.retried


SQUARES_CANCELLED = """
def square(x):
    await_gate(x)
    return x * x
job = cloud.map(square, list(range(20)))
while job.progress.done < 10:
    time.sleep(0.01)
time.sleep(0.3)
job.cancel()
"""


def test_classes_and_functions_of_the_dead_notebook_come_along(victim: Start) -> None:
    program = victim(
        """
class Point:
    def __init__(self, x):
        self.x = x
    def shifted(self):
        return Point(self.x + OFFSET)
OFFSET = 100
def shift(point):
    await_gate(point.x)
    return point.shifted()
job = cloud.map(shift, [Point(x) for x in range(12)])
""",
        hold=6,
    )
    job_id = program.killed_when(done=6)
    program.open()
    points = cloud.attach(job_id).results()
    assert [point.x for point in points] == [x + 100 for x in range(12)]
    assert {type(point).__name__ for point in points} == {"Point"}
    assert points[-1].shifted().x == 211


def test_random_numbers_are_those_of_an_undisturbed_run(victim: Start, session: Session) -> None:
    code = """
def draw(x):
    await_gate(x)
    return float(cloud.rng().random())
job = cloud.map(draw, list(range(12)), seed=7)
"""
    program = victim(code, 6)
    job_id = program.killed_when(done=6)
    program.open()
    undisturbed = victim(code, 99)
    undisturbed.await_row(lambda row: row.state is JobState.DONE)
    other = Session()
    assert session.attach(job_id).results() == other.attach(undisturbed.job_id).results()
    other.close()


def test_what_a_generator_had_given_is_continued_and_the_rest_is_named(victim: Start) -> None:
    program = victim(
        """
def give():
    for x in range(1000):
        yield x
def square(x):
    await_gate(x)
    return x * x
job = cloud.map(square, give())
"""
    )
    program.await_row(lambda row: row.done >= 10)
    path = job_paths.items_file(home(), program.job_id)
    until(lambda: path.stat().st_size > 200)
    program.kill()
    program.open()
    job = cloud.attach(program.job_id)
    with pytest.raises(CannotContinue, match="the iterator that gave the items died"):
        job.results()
    found = job.partial()
    assert len(found) >= 10
    assert found == {x: x * x for x in range(len(found))}
    assert program.await_row(lambda row: row.state is JobState.FAILED).n_items is None
    other = Session()  # a later session is not told either that this was all
    with pytest.raises(CannotContinue, match="the iterator that gave the items died"):
        other.attach(program.job_id).results()
    other.close()


def test_errors_and_printed_lines_of_attached_items_are_those_of_any_others(victim: Start) -> None:
    program = victim(
        """
def divide(x):
    await_gate(x)
    print("item", x)
    return 1 / (x - 8)
job = cloud.map(divide, list(range(10)))
""",
        hold=5,
    )
    job_id = program.killed_when(done=5)
    program.open()
    job = cloud.attach(job_id)
    with pytest.raises(ZeroDivisionError) as caught:
        job.results()
    assert caught.value.cloud_index == 8  # type: ignore[attr-defined]
    shown = [output.data for outcome in job.shown() for output in outcome.outputs]
    assert shown[:3] == ["item 0\n", "item 1\n", "item 2\n"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"python": "2.7"}, "was started with Python 2.7"),
        ({"imports": ("json", "no_such_package")}, "needs `no_such_package`, not installed here"),
    ],
)
def test_where_the_rest_cannot_run_finished_results_can_still_be_read(
    victim: Start, change: dict[str, str], said: str
) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    job_file.save(home(), replace(job_file.load(home(), job_id), **change))  # type: ignore[arg-type]
    job = cloud.attach(job_id)
    assert job.partial() == dict(enumerate(SQUARED[:10]))
    for ask in (job.results, job.retry_failed):
        with pytest.raises(CannotContinue, match=said):
            ask()
    row = row_of(job_id)
    assert row is not None and row.state is JobState.LOST, "it was claimed in vain"


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "a pipe"])
def test_of_a_job_whose_file_is_damaged_the_results_can_be_read(victim: Start, damage: str) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    path = job_paths.job_file(home(), job_id)
    data = path.read_bytes()
    if damage in ("gone", "a pipe"):
        path.unlink()
    if damage == "a pipe":
        os.mkfifo(path, 0o600)
    elif damage != "gone":
        path.write_bytes(data[:-20] if damage == "cut" else data[:200] + b"x" + data[201:])
    job = cloud.attach(job_id)
    assert job.partial() == dict(enumerate(SQUARED[:10]))
    with pytest.raises(CannotContinue, match=f"Job {job_id} cannot be continued"):
        job.results()


def test_a_pipe_among_the_results_is_not_waited_for(victim: Start) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    os.mkfifo(home() / "results" / f"{job_id}.local-9-9.seg", 0o600)
    job = cloud.attach(job_id)
    assert job.partial() == dict(enumerate(SQUARED[:10]))
    assert any("no regular file" in line for line in job.progress.warnings)
    program.open()
    assert job.results() == SQUARED


def test_items_that_cannot_be_read_are_named_and_all_others_run(victim: Start) -> None:
    program = victim(
        """
def size(text):
    await_gate(int(text[:3]))
    return len(text)
job = cloud.map(size, [f"{x:03d}" + "." * 10_000 for x in range(300)])
"""
    )
    job_id = program.killed_when(done=10)
    path = job_paths.items_file(home(), job_id)
    data = bytearray(path.read_bytes())
    data[-5000] ^= 1  # in the last chunk
    path.write_bytes(data)
    program.open()
    job = cloud.attach(job_id)
    with pytest.raises(CannotContinue, match="cannot be run: they had not been written") as caught:
        job.results()
    found = job.partial()
    assert 10 < len(found) < 300
    assert set(found.values()) == {10_003}
    assert f"items {len(found)}–299 cannot be run" in str(caught.value)


def test_large_results_that_a_reboot_kept_from_the_disk_run_again(victim: Start) -> None:
    program = victim(
        """
def row(x):
    await_gate(x)
    return bytes([7]) * (200_000 if x % 2 else 10) + bytes([x])
job = cloud.map(row, list(range(12)))
""",
        hold=8,
    )
    job_id = program.killed_when(done=8)
    before = program.runs()
    with closing(sqlite3.connect(home() / "journal.db")) as journal, journal:
        journal.execute(
            "UPDATE jobs SET token = 'another-boot ' || substr(token, instr(token, ' ') + 1)"
            " WHERE id = ?",
            (job_id,),
        )
    row = row_of(job_id)
    assert row is not None and row.state is JobState.LOST
    for path in (home() / "results").glob(f"{job_id}.local*.seg"):
        data = bytearray(path.read_bytes())
        data[-50_000:] = bytes(
            50_000
        )  # its length reached the disk, and what was last in it did not
        path.write_bytes(data)
    program.open()
    assert [value[-1] for value in cloud.attach(job_id).results()] == list(range(12))
    again = {x for x, n in (program.runs() - before).items() if n and x < 8}
    assert again


def test_a_captured_value_of_200_mb_is_written_once_and_shared_by_jobs(victim: Start) -> None:
    code = """
import numpy as np
big = np.arange(25_000_000.0)
def pick(x):
    await_gate(x)
    return float(big[x * 1_000_000])
job = cloud.map(pick, list(range(20)))
"""
    programs = [victim(code, hold=5) for _ in range(2)]
    ids = [program.killed_when(done=5) for program in programs]
    digests = {digest for job_id in ids for digest in job_file.load(home(), job_id).blobs}
    assert len(digests) == 1
    path = job_paths.blob_file(home(), digests.pop())
    assert 200_000_000 < path.stat().st_size < 200_010_000
    for program in programs:
        program.open()
        assert cloud.attach(program.job_id).results() == [x * 1e6 for x in range(20)]


def test_who_asks_for_nonsense_is_told(victim: Start, session: Session) -> None:
    with pytest.raises(UnknownName):
        session.attach("zzzzzzzz")
    job_id = victim().killed_when(done=10)
    for overrides, said in (
        ({"budget": "much"}, "US dollars"),
        ({"workers": 0}, "at least 1"),
        ({"backend": "nowhere"}, "Unknown backend `nowhere`"),
    ):
        with pytest.raises(UsageError, match=said):
            session.attach(job_id, **overrides)  # type: ignore[arg-type]
    row = row_of(job_id)
    assert row is not None and row.state is JobState.LOST


def test_an_executors_job_cannot_be_attached_to(victim: Start) -> None:
    program = victim(
        """
pool = cloud.Executor()
future = pool.submit(await_gate, 3)
while not os.path.exists(folder) or not any(n.startswith("run-3") for n in os.listdir(folder)):
    time.sleep(0.01)
job = cloud.jobs()[0]
""",
        hold=0,
    )
    program.await_row(lambda row: True)
    program.kill()
    with pytest.raises(UsageError, match="is an executor's"):
        cloud.attach(program.job_id)


def test_a_job_of_this_process_is_that_job(session: Session) -> None:
    job = session.map(abs, [1, -2])
    assert session.attach(job.id) is job
    assert session.attach(job.id[:7]) is job
    job.wait()
    assert session.attach(job.id).results() == [1, 2]


class Exits:
    def __reduce__(self) -> Any:
        raise SystemExit(3)


def test_an_item_that_cannot_be_written_down_is_told_and_stops_nothing(
    session: Session, tmp_path: Path
) -> None:
    gate = tmp_path / "open"

    def kept_waiting(item: object) -> bool:
        until(gate.exists)
        return True

    job = session.map(kept_waiting, [1, Exits(), 2], options=JobOptions(errors="keep"))
    until(lambda: any("could not all be continued" in each for each in job.progress.warnings))
    gate.touch()
    assert [value if value is True else type(value).__name__ for value in job.results()] == [
        True,
        "SystemExit",
        True,
    ]
