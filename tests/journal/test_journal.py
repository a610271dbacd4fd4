"""The journal with its threads, its disk and other processes."""

from __future__ import annotations

import os
import queue
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState
from cloudbutton_backend.journal import (
    JobCommand,
    Journal,
    JournalReader,
    schema,
    write_loop,
)
from cloudbutton_backend.journal import (
    fsync as sync,
)

MakeJob = Callable[..., JobRecord]
StartPython = Callable[[str], "subprocess.Popen[str]"]
SOON = 30.0


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_what_is_recorded_can_be_read_after_a_flush(
    journal: Journal, home: Path, a_job: MakeJob
) -> None:
    journal.add_job(a_job("aaaaaaaa"))
    journal.update_job("aaaaaaaa", done=3, warnings=("slow",))
    assert journal.flush(SOON)
    row = JournalReader(home).job("aaaaaaaa")
    assert (row.done, row.warnings, row.state) == (3, ("slow",), JobState.RUNNING)


def test_a_description_that_fails_once_is_made_again_and_one_that_always_fails_hides_no_other(
    journal: Journal, home: Path, a_job: MakeJob
) -> None:
    fails = iter([RuntimeError("dictionary changed size during iteration"), None])

    def plan() -> str:
        if error := next(fails):
            raise error
        return "here"

    def capture() -> dict[str, int]:
        raise RuntimeError("dictionary changed size during iteration")

    journal.add_job(a_job("aaaaaaaa"))
    journal.update_job("aaaaaaaa", done=3, plan=plan, capture=capture)
    assert journal.flush(SOON)
    row = JournalReader(home).job("aaaaaaaa")
    assert (row.done, row.plan, row.capture) == (3, "here", {})


def test_a_journal_that_records_nothing_makes_no_file(journal: Journal, home: Path) -> None:
    assert journal.close()
    assert list(home.iterdir()) == []


def test_a_column_that_does_not_exist_is_refused_at_once(journal: Journal) -> None:
    with pytest.raises(TypeError, match="colour"):
        journal.update_job("aaaaaaaa", colour="red")


def test_only_the_journals_thread_opens_the_database(start_python: StartPython) -> None:
    process = start_python(
        """
import threading
openers = set()
sys.addaudithook(lambda event, args: openers.add(threading.current_thread().name)
                 if event == "sqlite3.connect" else None)
journal = Journal.open(home)
journal.on_command(print)
say("sqlite3" in sys.modules)
journal.add_job(a_job("aaaaaaaa"))
say(journal.flush(30), *openers)
"""
    )
    assert heard(process) == "False"
    assert heard(process) == "True cloudbutton-journal"


def test_recording_costs_the_caller_microseconds(journal: Journal, a_job: MakeJob) -> None:
    batch = BatchRecord("aaaaaaaa", 0, "worker-1", 0, 1, 1.0, 2.0, "done")
    journal.add_job(a_job("aaaaaaaa"))

    def per_call() -> float:
        began = time.perf_counter()
        for _ in range(500):
            journal.add_batch(batch)
        return (time.perf_counter() - began) / 500

    # The quickest of many rounds: what the call costs, not what else the machine does.
    assert min(per_call() for _ in range(20)) < 2e-6


def test_the_end_of_the_process_writes_what_is_waiting(
    start_python: StartPython, home: Path
) -> None:
    process = start_python("Journal.open(home).add_job(a_job('aaaaaaaa'))")
    assert process.wait(SOON) == 0
    assert JournalReader(home).job("aaaaaaaa").state is JobState.LOST


def test_a_killed_process_leaves_a_lost_job_and_all_it_had_flushed(
    start_python: StartPython, home: Path, journal: Journal, a_job: MakeJob
) -> None:
    process = start_python(
        """
journal = Journal.open(home)
journal.add_job(a_job("aaaaaaaa"))
for n in range(50):
    journal.add_batch(BatchRecord("aaaaaaaa", n, "w", n, 1, 1.0, 2.0, "done"))
say(journal.flush(30))
while True:
    journal.add_batch(BatchRecord("aaaaaaaa", 99, "w", 99, 1, 1.0, 2.0, "done"))
    time.sleep(0.001)
"""
    )
    assert heard(process) == "True"
    reader = JournalReader(home)
    assert reader.job("aaaaaaaa").state is JobState.RUNNING
    process.send_signal(signal.SIGKILL)
    process.wait(SOON)
    assert reader.job("aaaaaaaa").state is JobState.LOST
    assert [batch.batch for batch in reader.batches("aaaaaaaa")][:50] == list(range(50))
    journal.add_job(a_job("bbbbbbbb"))
    assert journal.flush(SOON)
    assert {job.id: job.state for job in reader.jobs()} == {
        "aaaaaaaa": JobState.LOST,
        "bbbbbbbb": JobState.RUNNING,
    }


def test_two_processes_write_one_journal(start_python: StartPython, home: Path) -> None:
    body = """
journal = Journal.open(home)
say("ready")
input()
for n in range(100):
    journal.add_job(a_job(f"{name}{{n:07}}"))
    if n % 10 == 0:
        journal.flush(30)
say(journal.flush(30), journal.warning)
"""
    processes = [start_python(body.replace("{name}", name).replace("{{", "{").replace("}}", "}"))
                 for name in "ab"]  # fmt: skip
    assert [heard(process) for process in processes] == ["ready", "ready"]
    for process in processes:
        tell(process)
    assert [heard(process) for process in processes] == ["True None", "True None"]
    assert len(JournalReader(home).jobs(limit=-1)) == 200


def test_a_command_from_another_process_arrives_soon(
    start_python: StartPython, journal: Journal, a_job: MakeJob
) -> None:
    arrived: queue.Queue[tuple[float, JobCommand]] = queue.Queue()
    journal.on_command(lambda command: arrived.put((time.time(), command)))
    journal.add_job(a_job("aaaaaaaa"))
    assert journal.flush(SOON)
    process = start_python("say(JournalReader(home).send('aaaaaaaa', 'cancel', reason='tired'))")
    sent = int(heard(process))
    when, command = arrived.get(timeout=SOON)
    assert (command.id, command.verb, command.args) == (sent, "cancel", {"reason": "tired"})
    assert when - command.created < 5  # a fifth of a second; the rest is for busy machines


def test_a_finished_job_still_hears_retry(journal: Journal, home: Path, a_job: MakeJob) -> None:
    arrived: queue.Queue[JobCommand] = queue.Queue()
    journal.on_command(arrived.put)
    journal.add_job(a_job("aaaaaaaa"))
    journal.update_job("aaaaaaaa", state=JobState.FAILED)
    assert journal.flush(SOON)
    JournalReader(home).send("aaaaaaaa", "retry")
    assert arrived.get(timeout=SOON).verb == "retry"


def test_a_listener_that_fails_does_not_silence_the_others(
    journal: Journal, home: Path, a_job: MakeJob
) -> None:
    arrived: queue.Queue[JobCommand] = queue.Queue()

    def broken(command: JobCommand) -> None:
        raise RuntimeError("nobody home")

    journal.on_command(broken)
    journal.on_command(arrived.put)
    journal.add_job(a_job("aaaaaaaa"))
    assert journal.flush(SOON)
    JournalReader(home).send("aaaaaaaa", "cancel")
    assert arrived.get(timeout=SOON).verb == "cancel"
    assert "`cancel` of job aaaaaaaa failed: RuntimeError('nobody home')" in str(journal.warning)


def test_a_disk_that_refuses_costs_nothing_and_gets_all_once_it_can(
    journal: Journal, home: Path, a_job: MakeJob
) -> None:
    in_the_way = home / "journal.db"
    in_the_way.mkdir()
    journal.add_job(a_job("aaaaaaaa"))
    journal.update_job("aaaaaaaa", done=1)
    assert not journal.flush(SOON)
    assert "cannot be written" in str(journal.warning)
    journal.update_job("aaaaaaaa", done=2)
    in_the_way.rmdir()
    assert journal.flush(SOON)
    assert JournalReader(home).job("aaaaaaaa").done == 2


def test_what_went_wrong_is_told_by_one_job(home: Path, a_job: Callable[..., JobRecord]) -> None:
    (home / "journal.db").write_bytes(b"no database at all" * 300)
    journal = Journal.open(home)
    journal.add_job(a_job())
    assert journal.flush(10)
    (line,) = journal.pop_notices()
    assert "was kept as journal.db.corrupt-" in line
    assert journal.pop_notices() == []
    assert journal.trouble is None
    journal.close()


def test_the_disk_is_tried_again_without_being_asked(
    home: Path, a_job: MakeJob, monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    warnings: list[str] = []
    writer = write_loop.WriteLoop(home, warn=warnings.append, clock=clock, wall_clock=clock)
    in_the_way = home / "journal.db"
    in_the_way.mkdir()
    assert not writer.run_due([a_job("aaaaaaaa")])
    in_the_way.rmdir()
    assert not writer.run_due([])  # too early
    assert (writer.seconds_idle() or 0.0) <= write_loop.FIRST_RETRY
    clock.now += write_loop.FIRST_RETRY
    assert writer.run_due([])
    writer.close()
    assert JournalReader(home, clock=clock).job("aaaaaaaa").name == "scores"


def test_one_entry_that_cannot_be_written_does_not_take_the_others_with_it(
    journal: Journal, home: Path, a_job: MakeJob
) -> None:
    journal.add_job(a_job("aaaaaaaa"))
    journal.update_job("aaaaaaaa", done=None)
    journal.add_job(a_job("bbbbbbbb"))
    assert journal.flush(SOON)
    assert {job.id for job in JournalReader(home).jobs()} == {"aaaaaaaa", "bbbbbbbb"}
    assert "could not keep ProgressUpdate" in str(journal.warning)


def test_a_journal_of_a_newer_version_is_left_alone_and_jobs_go_on(
    journal: Journal, home: Path, a_job: MakeJob
) -> None:
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        connection.execute("CREATE TABLE jobs (id)")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    journal.add_job(a_job("aaaaaaaa"))
    assert not journal.flush(SOON)
    assert "Upgrade" in str(journal.warning)
    with pytest.raises(JournalError, match="Upgrade"):
        JournalReader(home).jobs()


def test_a_damaged_journal_is_reported_and_a_new_one_begun(
    journal: Journal, home: Path, a_job: MakeJob
) -> None:
    (home / "journal.db").write_bytes(b"not a database at all, whatever it was" * 200)
    journal.add_job(a_job("aaaaaaaa"))
    assert journal.flush(SOON)
    assert "was kept as journal.db.corrupt-" in str(journal.warning)
    assert [job.id for job in JournalReader(home).jobs()] == ["aaaaaaaa"]


def test_a_forked_child_writes_nothing_and_leaves_the_parents_journal_whole(
    start_python: StartPython, home: Path
) -> None:
    process = start_python(
        """
import warnings
warnings.simplefilter("ignore")
journal = Journal.open(home)
journal.add_job(a_job("aaaaaaaa"))
journal.flush(30)
journal.update_job("aaaaaaaa", done=1)
child = os.fork()
if child == 0:
    import gc
    journal.add_job(a_job("cccccccc"))
    journal.update_job("aaaaaaaa", done=99)
    journal.flush(30)
    del journal
    gc.collect()
    sys.exit(7)  # with all that an ordinary end does
say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
journal.add_job(a_job("bbbbbbbb"))
say(journal.flush(30), journal.warning, sorted(p.name for p in home.glob("*-wal")))
input()
"""
    )
    assert heard(process) == "7"
    assert heard(process) == "True None ['journal.db-wal']"
    jobs = {job.id: job.done for job in JournalReader(home).jobs()}
    assert jobs == {"aaaaaaaa": 1, "bbbbbbbb": 0}


def test_result_files_are_on_the_disk_when_their_job_has_ended(
    journal: Journal, home: Path, a_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    both = threading.Event()

    def fsync(path: Path) -> None:
        synced.append(path)
        if len(set(synced)) == 2:
            both.set()

    results = home / "aaaaaaaa.seg"
    results.write_bytes(b"result")
    monkeypatch.setattr(sync, "fsync", fsync)
    journal.add_job(a_job("aaaaaaaa"))
    journal.sync_file(results)
    journal.update_job("aaaaaaaa", state=JobState.DONE)
    assert both.wait(SOON)
    # In WAL mode the job's row is safe once the log is.
    assert set(synced) == {results, home / "journal.db-wal"}


def test_calls_after_the_end_do_nothing(journal: Journal, home: Path, a_job: MakeJob) -> None:
    journal.add_job(a_job("aaaaaaaa"))
    assert journal.close(SOON)
    journal.add_job(a_job("bbbbbbbb"))
    assert journal.flush(SOON)
    assert [job.id for job in JournalReader(home).jobs()] == ["aaaaaaaa"]
    assert repr(journal).endswith("closed, 0 waiting>")


def test_threads_may_record_at_the_same_time(journal: Journal, home: Path, a_job: MakeJob) -> None:
    start = threading.Barrier(8)

    def record(name: str) -> None:
        start.wait(SOON)
        journal.add_job(a_job(name * 8))
        for number in range(200):
            journal.add_batch(BatchRecord(name * 8, number, "w", number, 1, 1.0, 2.0, "done"))

    threads = [threading.Thread(target=record, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert journal.flush(SOON)
    reader = JournalReader(home)
    assert {len(reader.batches(name * 8)) for name in "abcdefgh"} == {200}


def test_the_default_home_is_the_users(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(home))
    journal = Journal.open()
    assert journal.home == home == JournalReader().home
    assert journal.warning is None
    assert journal.close()
    assert os.listdir(home) == []
