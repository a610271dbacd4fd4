from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState
from cloudbutton_backend.journal import ErrorRecord, Journal, JournalReader, LogRecord
from cloudbutton_backend.journal.liveness import start_token
from cloudbutton_backend.journal.schema import VERSION
from cloudbutton_backend.session import doctor
from cloudbutton_ext.cli import main, text

Command = Callable[..., Any]
MakeJob = Callable[[str, float], JobRecord]
Kernel = Callable[[str], "subprocess.Popen[str]"]
ROOT = Path(__file__).resolve().parents[2]
SOON = 30.0


@pytest.fixture
def two_jobs(journal: Journal, a_job: MakeJob) -> None:
    """One that failed three minutes ago and one that runs in this process."""
    now = time.time()
    journal.add_job(a_job("aaaaaaaa", now - 200))
    batch = BatchRecord(
        "aaaaaaaa", 0, "w1", 0, 200, now - 200, now - 190, "error", memory_peak=5 * 10**7
    )
    journal.add_batch(batch)
    journal.add_error(ErrorRecord("aaaaaaaa", 7, "item 7 (C=0.0)", "ValueError", "C must be > 0"))
    journal.add_log(LogRecord("aaaaaaaa", "fitting\nstill fitting\n", 6))
    journal.update_job(
        "aaaaaaaa", state=JobState.FAILED, done=199, failed=1, started=now - 200, ended=now - 190,
        task_seconds=19.0, error="ValueError: C must be > 0", warnings=("X was changed",),
    )  # fmt: skip
    journal.add_job(a_job("bbbbbbbb", now - 20))
    journal.update_job("bbbbbbbb", done=50)
    assert journal.flush(SOON)


@pytest.mark.usefixtures("two_jobs")
def test_jobs_are_a_table_the_latest_first(cloudbutton: Command) -> None:
    answer = cloudbutton("jobs")
    head, running, failed = answer.out.splitlines()
    assert head.split()[:4] == ["ID", "STATE", "NAME", "ITEMS"]
    assert running.startswith("bbbbbbbb  running  scores  50/200 ")
    assert "199/200, 1 failed" in failed
    assert "3 min ago" in failed
    assert head.index("STATE") == running.index("running") == failed.index("failed")
    assert (answer.code, answer.err) == (0, "")


@pytest.mark.usefixtures("two_jobs")
def test_jobs_may_be_chosen_by_state_and_read_by_programs(cloudbutton: Command) -> None:
    (job,) = json.loads(cloudbutton("jobs", "--state", "failed", "--json").out)
    assert (job["id"], job["state"], job["done"], job["failed"]) == ("aaaaaaaa", "failed", 199, 1)
    assert cloudbutton("jobs", "--state", "done").out == "No done jobs.\n"


def test_no_more_jobs_than_fit_are_shown_unless_asked(
    cloudbutton: Command, journal: Journal, a_job: MakeJob
) -> None:
    assert cloudbutton("jobs").out == "No jobs.\n"
    for n in range(main.SHOWN + 1):
        journal.add_job(a_job(f"job{n:05}", float(n)))
    assert journal.flush(SOON)
    lines = cloudbutton("jobs").out.splitlines()
    assert len(lines) == main.SHOWN + 2
    assert "--all" in lines[-1]
    assert len(cloudbutton("jobs", "--all").out.splitlines()) == main.SHOWN + 2


@pytest.mark.usefixtures("two_jobs")
def test_one_job_is_shown_with_all_one_wants_to_know(cloudbutton: Command) -> None:
    page = cloudbutton("show", "aa").out
    for part in (
        "aaaaaaaa (scores)", "199/200, 1 failed", "10.0 s for 19.0 s of work (1.9×)", "50.0 MB",
        "ValueError: C must be > 0", "item 7 (C=0.0): ValueError", "X was changed", "fit(x)",
        "still fitting", "fits.ipynb", f"pid {os.getpid()}",
    ):  # fmt: skip
        assert part in page
    assert json.loads(cloudbutton("show", "aa", "--json").out)["warnings"] == ["X was changed"]


def test_cancel_reaches_a_busy_kernel_at_once(cloudbutton: Command, a_kernel: Kernel) -> None:
    a_kernel("journal.on_command(obey); ready()")
    began = time.monotonic()
    answer = cloudbutton("cancel", "kern")
    assert time.monotonic() - began < 5  # a fifth of a second; the rest is for busy machines
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "Cancelled job kernel22 (scores); 120/200 items are kept.\n"


def test_cancel_says_so_when_the_job_is_still_stopping(
    cloudbutton: Command, a_kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "PATIENCE", 0.6)
    a_kernel("journal.on_command(lambda command: None); ready()")
    answer = cloudbutton("cancel", "kernel22")
    assert (answer.code, answer.out) == (
        0,
        "Job kernel22 (scores) is being cancelled; its last items are stopping.\n",
    )


def test_a_request_that_nobody_takes_is_taken_back(
    cloudbutton: Command, a_kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "PATIENCE", 0.2)
    kernel = a_kernel("ready()")
    answer = cloudbutton("cancel", "kernel22")
    assert answer.code == 1
    assert f"pid {kernel.pid}" in answer.err
    assert "taken back" in answer.err
    assert JournalReader().command(1) is None


def test_a_lost_job_cannot_be_cancelled_or_retried(cloudbutton: Command, a_kernel: Kernel) -> None:
    kernel = a_kernel("ready()")
    kernel.send_signal(signal.SIGKILL)
    kernel.wait(SOON)
    assert " lost " in cloudbutton("jobs").out
    assert "last sign of life" in cloudbutton("show", "kernel22").out
    for verb in ("cancel", "retry"):
        answer = cloudbutton(verb, "kernel22")
        assert answer.code == 1
        assert "is gone" in answer.err


def test_retry_reaches_the_kernel_of_a_failed_job(cloudbutton: Command, a_kernel: Kernel) -> None:
    a_kernel(
        "journal.update_job('kernel22', state='failed'); journal.flush(30);"
        "journal.on_command(obey); ready()"
    )
    answer = cloudbutton("retry", "kernel22")
    assert (answer.code, answer.err) == (0, "")
    assert "runs its unfinished items again" in answer.out


def test_retry_takes_a_budget_along(cloudbutton: Command, a_kernel: Kernel) -> None:
    a_kernel(
        "journal.update_job('kernel22', state='failed'); journal.flush(30);"
        "journal.on_command(obey); ready()"
    )
    assert cloudbutton("retry", "kernel22", "--budget", "much").code == 2
    assert cloudbutton("retry", "kernel22", "--budget", "$2.50").code == 0
    sent = JournalReader().command(1)
    assert sent is not None and sent.args == {"budget": 2.5}


@pytest.mark.usefixtures("two_jobs")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cancel", "aa"], 1, "has already ended (failed)"),
        (["cancel", ""], 2, "Which job?"),
        (["cancel", " "], 2, "Which job?"),
        (["retry", "bb"], 1, "is still running"),
        (["show", "zz"], 2, "Unknown job `zz`"),
        (["show", "aaaaaaab"], 2, "Did you mean `aaaaaaaa`?"),
        (["jobs", "--state", "runing"], 2, "Did you mean `running`?"),
        (["jbos"], 2, "invalid choice: 'jbos'"),
        ([], 2, "required: COMMAND"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(
    cloudbutton: Command, arguments: list[str], code: int, message: str
) -> None:
    answer = cloudbutton(*arguments)
    assert (answer.code, answer.out) == (code, "")
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_what_tasks_print_and_jobs_are_called_does_not_command_the_terminal(
    cloudbutton: Command, journal: Journal, a_job: MakeJob
) -> None:
    evil = "a\x1b[2Jb\x1b]0;title\x07c\x9b31md\u202ee\rf"
    job = replace(a_job("aaaaaaaa", time.time()), name=evil, notebook=evil, source=evil)
    journal.add_job(job)
    journal.add_error(ErrorRecord(job.id, 7, evil, evil, evil))
    journal.add_log(LogRecord(job.id, evil, 6))
    journal.update_job(job.id, state=JobState.FAILED, error=evil, warnings=(evil,))
    assert journal.flush(SOON)
    for arguments in (["jobs"], ["show", "aa"], ["cancel", "aa"], ["cancel", evil], ["show", evil]):
        answer = cloudbutton(*arguments)
        said = answer.out + answer.err
        assert "ab" in said
        assert not any(mark in said for mark in "\x1b\x07\x9b\u202e\r"), arguments


def test_a_damaged_journal_is_an_error_and_a_finding(cloudbutton: Command, home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "journal.db").write_bytes(b"not a database at all, whatever it was" * 200)
    answer = cloudbutton("jobs")
    assert answer.code == 1
    assert "keeps it under another name" in answer.err
    answer = cloudbutton("doctor")
    assert answer.code == 1
    assert "BAD   journal" in answer.out


@pytest.mark.usefixtures("two_jobs")
def test_doctor_is_content_with_this_machine(cloudbutton: Command, home: Path) -> None:
    answer = cloudbutton("doctor")
    assert answer.code == 0
    for part in (f"{home} (mode 0700)", f"2 jobs, format {VERSION}", "usable of", "cloudpickle"):
        assert part in answer.out


def test_doctor_finds_a_mistake_in_the_settings(cloudbutton: Command, home: Path) -> None:
    Path("cloudbutton.toml").write_text("worker = 3\n")
    answer = cloudbutton("doctor")
    assert answer.code == 1
    assert "Did you mean `workers`?" in answer.out
    assert "ok    home" in answer.out  # the other looks go on


def test_doctor_names_a_package_that_is_missing_and_looks_on(
    cloudbutton: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("cloudpickle", "a-package-that-is-not"))
    monkeypatch.setitem(sys.modules, "cloudbutton_backend.worker.pool.cpu_count", None)
    answer = cloudbutton("doctor")
    assert answer.code == 1
    assert "pip install a-package-that-is-not" in answer.out
    assert "BAD   CPUs" in answer.out
    assert "ok    journal" in answer.out


def test_config_shows_values_and_where_they_come_from(
    cloudbutton: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBUTTON_RETRIES", "2")
    lines = cloudbutton("config").out.splitlines()
    (line,) = (line for line in lines if line.startswith("retries"))
    assert line.split()[:4] == ["retries", "2", "variable", "CLOUDBUTTON_RETRIES"]
    monkeypatch.setenv("CLOUDBUTTON_RETRIES", "many")
    assert cloudbutton("config").code == 2


def test_doctor_finds_a_mistake_in_what_a_file_says_of_a_backend(
    cloudbutton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cloudbutton.toml").write_text("[lambda]\nmemroy = 512\n")
    answer = cloudbutton("doctor")
    assert answer.code == 1
    (line,) = (each for each in answer.out.splitlines() if each.startswith("BAD   settings"))
    assert "line 2" in line and "Did you mean `memory`?" in line


def test_config_shows_what_files_say_of_backends_and_refuses_what_they_do_not_know(
    cloudbutton: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cloudbutton.toml"
    file.write_text('[lambda]\nregion = "eu-central-1"\n')
    (line,) = (each for each in cloudbutton("config").out.splitlines() if "lambda." in each)
    assert line.split()[:2] == ["lambda.region", "eu-central-1"]
    assert f"{file}, line 2" in line
    file.write_text("[lambda]\nmemroy = 512\n")
    answer = cloudbutton("config")
    assert answer.code == 2
    assert f"{file}, line 2" in answer.err
    assert "`memroy`. Did you mean `memory`?" in answer.err


@pytest.mark.usefixtures("two_jobs")
def test_gc_tells_what_it_removed(
    cloudbutton: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        token = start_token(process.pid)
        process.kill()
    with closing(sqlite3.connect(home / "journal.db", isolation_level=None)) as connection:
        connection.execute(  # else it belongs to this process, which may still read its results
            "UPDATE jobs SET pid = ?, token = ? WHERE id = 'aaaaaaaa'", (process.pid, token)
        )
    monkeypatch.setenv("CLOUDBUTTON_RESULTS_MAX_AGE", "1 min")
    (home / "results").mkdir()
    (home / "results" / "aaaaaaaa-0.seg").write_bytes(b"x" * 2000)
    (home / "results" / "bbbbbbbb-0.seg").write_bytes(b"x" * 1000)
    os.utime(home / "results" / "aaaaaaaa-0.seg", (0, 0))  # it was not used for long
    told = "1 job and 1 file (2.0 kB); 1.0 kB remain.\n"
    assert cloudbutton("gc", "--dry-run").out == "Would remove " + told
    assert cloudbutton("gc").out == "Removed " + told
    assert cloudbutton("jobs").out.count("\n") == 2


def test_the_command_starts_without_what_only_kernels_need(home: Path) -> None:
    heavy = ("cloudpickle", "IPython", "ipywidgets", "boto3", "numpy")
    path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
    script = (
        "import sys\nfrom cloudbutton_ext.cli import main as cli\ncli.main(['jobs'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "No jobs.\n[]\n"


def test_a_reader_that_stops_early_is_no_error(home: Path) -> None:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
    with subprocess.Popen(
        [sys.executable, "-m", "cloudbutton_ext.cli.main", "config"],
        env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SOON) == 0


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (-5.0, "just now"), (0.4, "just now"), (42, "42 s ago"), (200, "3 min ago"),
        (7200, "2 h ago"), (100_000, "28 h ago"), (3 * 86_400, "3 days ago"),
    ],
)  # fmt: skip
def test_ages_are_said_as_people_say_them(age: float, said: str) -> None:
    assert text.ago(age) == said
