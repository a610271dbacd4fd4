from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.journal import ErrorRecord, Journal, LogRecord

from .conftest import Ask, Panel, a_job

READING = [
    "jobs", "jobs/abcd2345", "jobs/abcd2345/batches", "jobs/abcd2345/errors", "jobs/abcd2345/log",
    "commands/1", "commands/99", "jobs/nosuch22", "backends", "backends/local/health", "settings",
    "spend", "estimate", "no-such-thing",
]  # fmt: skip
WRITING = [
    ("jobs/abcd2345/cancel", "POST"), ("jobs/abcd2345/retry", "POST"), ("jobs/nosuch22/cancel", "POST"),
    ("backends/moon/test", "POST"), ("settings", "PUT"),
]  # fmt: skip


def everything(ask: Ask, connect: Callable[..., Panel]) -> dict[str, Any]:
    """Return what the server says to everything that can be asked."""
    said: dict[str, Any] = {path: ask(path) for path in READING}
    said |= {f"{method} {path}": ask(path, method=method) for path, method in WRITING}
    panel = connect()
    said["the first message"] = panel.next()
    panel.send({"type": "watch", "job": "abcd2345"})
    return said


@pytest.fixture
def secrets(tmp_path: Path, jp_serverapp: Any, journal: Journal) -> list[str]:
    """Return what no answer may hold, after giving the server occasion to say it."""
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "cloudbutton.toml").write_text("workers = 2\n")
    journal.add_job(a_job(notebook=str(elsewhere / "a.ipynb"), cell_id="c1"))
    journal.update_job(
        "abcd2345",
        warnings=[f"results cannot be written to disk ([Errno 28]: '{elsewhere}/x.seg')"],
    )
    journal.add_error(ErrorRecord("abcd2345", 0, "0", "ValueError", "no", "<cell 1>, line 2"))
    journal.add_log(LogRecord("abcd2345", "hello\n"))
    assert journal.flush(10)
    return [str(tmp_path), jp_serverapp.identity_provider.token, "/home/", "/root/"]


def leaks(said: dict[str, Any], secrets: list[str]) -> list[tuple[str, str]]:
    texts = {what: json.dumps(answer) for what, answer in said.items()}
    return [(what, secret) for what, text in texts.items() for secret in secrets if secret in text]


def test_no_answer_holds_a_path_or_the_token(
    ask: Ask, connect: Callable[..., Panel], secrets: list[str]
) -> None:
    said = everything(ask, connect)
    assert said["jobs"].body["jobs"][0]["warnings"]
    assert leaks(said, secrets) == []


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a damaged journal": lambda path: path.write_bytes(b"no database at all" * 500),
    "a journal of the future": lambda path: _set_version(path, 99),
    "a directory in its place": lambda path: (path.unlink(), path.mkdir()),
}


def _set_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("case", DAMAGE)
def test_no_trouble_with_the_journal_tells_where_it_is(
    case: str,
    ask: Ask,
    connect: Callable[..., Panel],
    secrets: list[str],
    journal: Journal,
    home: Path,
) -> None:
    assert journal.close(10)
    for path in home.glob("journal.db-*"):
        path.unlink()
    DAMAGE[case](home / "journal.db")
    said = everything(ask, connect)
    assert said["jobs"].status == 503
    assert "journal.db" in said["jobs"].body["message"]
    assert said["the first message"]["type"] == "error"
    assert leaks(said, secrets) == []
