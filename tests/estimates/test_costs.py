"""`%cloud cost` and `cloudbutton cost`: what was spent, and how good the estimates were."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.job_model import Expectation, JobRecord, JobState
from cloudbutton_backend.journal import Journal, JournalReader
from cloudbutton_backend.session import session as session_module
from cloudbutton_backend.units import dollars_between, seconds_between
from cloudbutton_ext.cli.main import main
from cloudbutton_magic.commands.cost_report import costs
from cloudbutton_magic.commands.line_magic import run_command

NOW = time.time()


def a_job(job_id: str, backend: str, **columns: Any) -> JobRecord:
    return JobRecord(
        id=job_id, name="job", kind="map", backend=backend, n_items=10, created=NOW, pid=1,
        host="here", **columns,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(tmp_path))
    own = session_module.Session()  # or this process's would keep its journal here from now on
    monkeypatch.setattr(session_module, "_current", own)
    journal = Journal.open(tmp_path)
    for job_id, backend, spend, notebook in [
        ("aaaa2222", "lambda", 0.25, "/home/a/big.ipynb"),
        ("bbbb2222", "lambda", 0.5, "/home/a/big.ipynb"),
        ("cccc2222", "lambda", 0.125, None),
        ("dddd2222", "an emulator", 4.0, "/home/a/big.ipynb"),
        ("eeee2222", "local", 0.0, None),
    ]:
        expected = {"estimate": 0.3, "estimate_low": 0.2, "estimate_high": 0.6} if spend else {}
        ran_on = (
            {"backend": "lambda", "emulated": True} if "emul" in backend else {"backend": backend}
        )
        journal.add_job(a_job(job_id, notebook=notebook, **ran_on, **expected))
        journal.update_job(job_id, state=JobState.DONE, spend=spend, done=10, ended=NOW + 1)
    assert journal.flush(10)
    journal.close()
    yield tmp_path
    own.close()


def test_it_is_added_up_by_day_backend_and_notebook(home: Path) -> None:
    shown = costs(reader=JournalReader(home), now=NOW)
    found, told = shown.report, shown.to_dict()
    assert [
        (each["backend"], each["emulated"], each["jobs"], each["spend"]) for each in told["by_day"]
    ] == [
        ("lambda", False, 3, 0.875),
        ("lambda", True, 1, 4.0),
    ]
    assert [(each.notebook, each.jobs, each.spend) for each in found.by_notebook] == [
        ("/home/a/big.ipynb", 2, 0.75),
        (None, 1, 0.125),
    ]
    assert (told["total"], told["today"]) == (0.875, 0.875)  # emulated jobs cost nothing


def test_estimates_are_judged(home: Path) -> None:
    text = repr(costs(reader=JournalReader(home), now=NOW))
    assert "Estimates of bills" not in repr(costs(reader=JournalReader(home / "none")))
    assert "50% of 4 jobs within the interval that is to hold 90 %" in text


def test_the_magic_shows_it(home: Path) -> None:
    shown = run_command("cost 7", context=None)  # type: ignore[arg-type]
    assert repr(shown).startswith("$0.88 spent in 7 days, $0.88 today")
    assert "big.ipynb" in shown._repr_html_()
    with pytest.raises(UsageError, match="number of days"):
        run_command("cost much", context=None)  # type: ignore[arg-type]


def test_the_budget_of_a_day_is_shown_as_it_was_set(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBUTTON_BUDGET_PER_DAY", "0.012")
    shown = costs(reader=JournalReader(home), now=NOW)
    assert "$0.88 of $0.012 today" in repr(shown)


def test_the_command_prints_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost"]) == 0
    assert "$0.88 spent in 31 days" in capsys.readouterr().out
    assert main(["cost", "--json", "--days", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["days"], told["total"]) == (3, 0.875)
    assert told["estimates"]["money"]["jobs"] == 4
    assert main(["cost", "--days", "0"]) == 2


@pytest.mark.parametrize(
    ("money", "shown"),
    [
        (Expectation(0.0, 0.0, 0.0), "free"),
        (Expectation(0.21, 0.18, 0.264), "$0.21 ($0.18–0.26)"),
        (Expectation(0.0123, 0.00711, 0.0224), "$0.012 ($0.0071–0.022)"),
        (Expectation(1234.5, 1000.0, 2000.0), "$1,234.50 ($1,000.00–2,000.00)"),
    ],
)
def test_money_has_two_digits_that_count(money: Expectation, shown: str) -> None:
    assert dollars_between(money) == shown


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (Expectation(11.24, 9.0, 14.1), "11.2 s (9.0–14.1 s)"),
        (Expectation(0.5, 0.05, 1.5), "0.50 s (50 ms–1.5 s)"),
        (Expectation(362.0, 310.0, 480.0), "6 min 02 s (5.2–8.0 min)"),
    ],
)
def test_a_time_has_its_interval_in_one_unit_where_it_can(time: Expectation, shown: str) -> None:
    assert seconds_between(time) == shown
