"""Reports of real jobs: of this process, of others, of those whose process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.report import report_of_id, write
from cloudbutton_backend.session import session as session_module
from cloudbutton_backend.session.session import Session
from cloudbutton_ext.cli import main
from cloudbutton_magic.commands.line_magic import CommandContext, run_command
from cloudbutton_magic.display.screens import QuietScreen

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def session(home: Path) -> Iterator[Session]:
    session = Session(home)
    session.use("local", workers=1)
    yield session
    session.close()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError(f"no {number}")
    return number


def test_a_job_writes_its_report_into_the_working_directory(
    session: Session, tmp_path: Path
) -> None:
    job = session.map(fail_at_three, range(8), options=JobOptions(errors="keep", name="eight"))
    job.results()
    path = job.report()
    assert path == tmp_path / f"cloudbutton-{job.id}.html"
    text = path.read_text(encoding="utf-8")
    for part in ("eight", "7 of 8", "ValueError: no 3", "in fail_at_three"):
        assert part in text
    assert str(ROOT) not in text and str(tmp_path) not in text


def test_the_journal_gives_the_same_report_to_any_process(
    session: Session, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = session.map(fail_at_three, range(8), options=JobOptions(errors="keep", name="eight"))
    job.wait(30)
    assert session.journal.flush(10)
    assert main.main(["report", job.id[:6], "-o", "elsewhere.html"]) == 0
    assert str(tmp_path / "elsewhere.html") in capsys.readouterr().out
    text = (tmp_path / "elsewhere.html").read_text(encoding="utf-8")
    for part in ("eight", "7 of 8", "ValueError: no 3", "in fail_at_three"):
        assert part in text
    assert str(ROOT) not in text and str(tmp_path) not in text
    assert main.main(["report", job.id, "-o", "-"]) == 0
    assert "7 of 8" in capsys.readouterr().out


def test_a_job_that_is_running_has_a_report_as_well(session: Session, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def wait_for_gate(number: int) -> int:
        import time

        deadline = time.monotonic() + 30
        while number and not os.path.exists(gate) and time.monotonic() < deadline:
            time.sleep(0.002)
        return number

    job = session.map(wait_for_gate, range(2))
    next(job.as_completed())
    text = job.report().read_text(encoding="utf-8")
    gate.touch()
    assert "still running when this was written" in text
    assert "1 of 2" in text


KILLED = """
import os, signal
import cloudbutton_ext as cloud
from cloudbutton_backend.session.session import current
job = cloud.map(lambda n: n or __import__("time").sleep(60), range(1, -1, -1), name="cut off", workers=1)
next(job.as_completed())
assert current().journal.flush(10)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_job_whose_process_was_killed_has_a_report(home: Path) -> None:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=os.environ | {"PYTHONPATH": path},
        timeout=60,
        check=False,
    )
    assert done.returncode == -9
    (row,) = JournalReader(home).jobs()
    text = report_of_id(row.id, home=home).read_text(encoding="utf-8")
    assert "lost: its process has gone" in text
    assert "cut off" in text


def test_the_magic_writes_it_too(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_current", session)
    job = session.map(fail_at_three, range(2), options=JobOptions(name="two"))
    job.wait(30)
    around = CommandContext(namespace={}, screen=QuietScreen())
    shown = run_command(f"report {job.id[:5]} -o 'my report.html'", around)
    assert "`my report.html`" in repr(shown)
    assert "two" in (tmp_path / "my report.html").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="Not understood"):
        run_command(f"report {job.id} somewhere", around)


def test_an_unknown_job_is_told_from_those_that_there_are(session: Session, home: Path) -> None:
    job = session.map(fail_at_three, range(2))
    job.wait(30)
    assert session.journal.flush(10)
    with pytest.raises(UnknownName, match=job.id):
        report_of_id("zzzzzzzz", home=home)


def test_a_directory_gets_a_file_of_its_own(tmp_path: Path) -> None:
    assert write("text", tmp_path, "abcd2345") == tmp_path / "cloudbutton-abcd2345.html"


def test_a_place_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot be written to .*file/report\.html"):
        write("text", tmp_path / "file" / "report.html", "abcd2345")
    (tmp_path / "folder").mkdir()
    write("old", tmp_path / "folder" / "report.html", "abcd2345")
    write("new", tmp_path / "folder" / "report.html", "abcd2345")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["report.html"]
    assert (tmp_path / "folder" / "report.html").read_text() == "new"
