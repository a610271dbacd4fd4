from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from cloudbutton_backend.journal import ErrorRecord, Journal

from .conftest import Ask, a_job

PRINTED = "<script>alert(document.domain)</script>"


def report(jp_fetch: Any, loop: asyncio.AbstractEventLoop) -> Any:
    return loop.run_until_complete(jp_fetch("cloudbutton", "api", "jobs/abcd2345/report"))


def test_a_report_is_a_file_to_keep_and_runs_nothing_if_it_is_shown(
    journal: Journal, jp_fetch: Any, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> None:
    journal.add_job(a_job(source=f"fit('{PRINTED}')"))
    journal.add_error(ErrorRecord("abcd2345", 0, PRINTED, "ValueError", PRINTED, PRINTED))
    assert journal.flush(10)
    answer = report(jp_fetch, jp_asyncio_loop)
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert (
        answer.headers["Content-Disposition"] == 'attachment; filename="cloudbutton-abcd2345.html"'
    )
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'"} <= set(policy)
    assert not [part for part in policy if "script" in part or "allow-" in part]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = answer.body.decode()
    assert "scores" in page
    assert "<script" not in page


def test_a_report_says_neither_where_files_are_nor_the_token(
    journal: Journal,
    tmp_path: Path,
    jp_fetch: Any,
    jp_serverapp: Any,
    jp_asyncio_loop: asyncio.AbstractEventLoop,
) -> None:
    journal.add_job(a_job(notebook=str(tmp_path / "a.ipynb")))
    journal.update_job("abcd2345", warnings=[f"full: '{tmp_path}/x.seg'"])
    assert journal.flush(10)
    page = report(jp_fetch, jp_asyncio_loop).body.decode()
    assert "a.ipynb" in page
    assert not [
        secret
        for secret in (str(tmp_path), jp_serverapp.identity_provider.token, "/home/", "/root/")
        if secret in page
    ]


def test_a_report_of_no_job_is_an_error_in_words(ask: Ask, journal: Journal) -> None:
    journal.add_job(a_job())
    assert journal.flush(10)
    status, body = ask("jobs/nosuch22/report")
    assert status == 404
    assert "`nosuch22`" in body["message"]
    assert ask("jobs/abcd/report").status == 404  # the beginning of an id is for people who type
