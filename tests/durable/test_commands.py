"""`%cloud attach` and `cloudbutton attach`: what they understand, and what they bring."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from cloudbutton_backend.errors import CloudError, UnknownName
from cloudbutton_backend.job_model.timeline import Timeline
from cloudbutton_backend.session.launcher import JobSource
from cloudbutton_backend.session.session import Session
from cloudbutton_magic.commands.attach import AttachRequest, attach, parse_request
from cloudbutton_magic.display.view_model import View
from cloudbutton_magic.kernel.completion import CompletionSources, suggestions

from .conftest import ROOT, Start

SQUARED = [x * x for x in range(20)]


class Wall:
    """A screen that remembers what stayed on it."""

    def __init__(self) -> None:
        self.left: list[View] = []

    def draw(self, view: View) -> None:
        """Nothing is looked at while it runs."""

    def clear(self) -> None:
        """Nothing was drawn."""

    def close(self, view: View, timeline: Timeline | None) -> None:
        self.left.append(view)


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("k7m2", AttachRequest(job_id="k7m2")),
        ("k7m2 -> ys", AttachRequest(job_id="k7m2", names=("ys",))),
        ("k7m2->a, b", AttachRequest(job_id="k7m2", names=("a", "b"))),
        ("k7m2 -> ys --budget +1.00", AttachRequest(job_id="k7m2", names=("ys",), budget="+1.00")),
        (
            "k7m2 --backend lambda --workers=4 -> ys",
            AttachRequest(job_id="k7m2", names=("ys",), backend="lambda", workers=4),
        ),
    ],
)
def test_the_line_is_understood_in_any_order(text: str, request_: AttachRequest) -> None:
    assert parse_request(text) == request_


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Which job?"),
        ("-> ys", "Which job?"),
        ("k7m2 other -> ys", "Which job?"),
        ("k7m2 --budget -> ys", "`--budget` needs a value"),
        ("k7m2 --workers many", "`--workers`: expected"),
        ("k7m2 --wrokers 2", "Did you mean `--workers`"),
        ("k7m2 -> 2ys", "name"),
    ],
)
def test_what_is_not_understood_is_said(text: str, said: str) -> None:
    with pytest.raises(CloudError, match=said):
        parse_request(text)


def test_results_of_a_dead_kernels_job_are_put_into_the_name(victim: Start) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    program.open()
    names: dict[str, Any] = {}
    wall = Wall()
    assert attach(f"{job_id} -> ys", names, wall) is None
    assert names == {"ys": SQUARED}
    assert "20 items" in wall.left[-1].headline
    assert attach(job_id, {}, wall) == SQUARED


def test_a_cell_that_ran_as_one_task_sets_its_variables(session: Session) -> None:
    job = session.map(lambda _: (3, {"a": 1, "b": 2}), [None], origin=JobSource(kind="run"))
    job.wait()
    names: dict[str, Any] = {}
    assert attach(job.id, names, Wall()) == 3
    assert names == {"a": 1, "b": 2}
    chosen: dict[str, Any] = {}
    assert attach(f"{job.id} -> b", chosen, Wall()) is None
    assert chosen == {"b": 2}
    with pytest.raises(UnknownName, match="variable of the cell `c`"):
        attach(f"{job.id} -> c", {}, Wall())


def test_ids_of_all_kernels_jobs_are_suggested() -> None:
    known = CompletionSources(
        lambda: ["local"], lambda: ["mine2345"], lambda: ["mine2345", "dead2345"]
    )
    assert suggestions("%cloud attach d", known) == ["dead2345"]
    assert suggestions("%cloud att", known) == ["attach"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
    return subprocess.run(
        [sys.executable, "-m", "cloudbutton_ext.cli.main", *arguments],
        env=os.environ | {"PYTHONPATH": path, "CLOUDBUTTON_WORKERS": "2"},
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )


def test_the_rest_of_a_job_can_be_run_from_a_terminal(victim: Start) -> None:
    program = victim()
    job_id = program.killed_when(done=10)
    program.open()
    done = command("attach", job_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"Job {job_id} (squares) is done: 20 of 20 items.",
        f"`%cloud attach {job_id} -> NAME` in a notebook brings the results.",
    ]
    names: dict[str, Any] = {}
    attach(f"{job_id} -> ys", names, Wall())
    assert names["ys"] == SQUARED
    wrong = command("attach", "zzzzzzzz")
    assert wrong.returncode == 2 and "Unknown job `zzzzzzzz`" in wrong.stderr
