"""The Cancel button: there while a job runs and a server can be asked, nowhere else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cloudbutton_backend.job_model import JobState, Progress
from cloudbutton_magic.display.rendering import html_of
from cloudbutton_magic.display.screens import cancel_button, kernel_id
from cloudbutton_magic.display.view_model import view_of

RUNNING = Progress(
    job_id="abc", name="ys", backend="local", state=JobState.RUNNING, total=4, done=1, failed=0,
    running=2, workers=2, elapsed=2.0, task_seconds=1.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("/run/jupyter/kernel-3566cbb6-1382-45e2-b207.json", "3566cbb6-1382-45e2-b207"),
        ("kernel-v2-12ab.json", "v2-12ab"),
        ("/tmp/tmpq0.json", ""),
        ("", ""),
    ],
)
def test_a_kernel_is_known_by_its_connection_file(file: str, found: str) -> None:
    kernel: Any = SimpleNamespace(parent=SimpleNamespace(connection_file=file))
    assert kernel_id(SimpleNamespace(kernel=kernel)) == found


@pytest.mark.parametrize("shell", [None, SimpleNamespace(), SimpleNamespace(kernel=None)])
def test_a_shell_without_a_kernel_has_no_button(shell: Any) -> None:
    assert cancel_button(kernel_id(shell)) == ""


def test_the_button_is_hidden_until_its_script_finds_a_server() -> None:
    html = html_of(view_of(RUNNING), cancel=cancel_button("k1"))
    assert 'class="cb-cancel" hidden data-kernel="k1"' in html


def test_a_job_that_has_ended_has_no_button_and_no_script() -> None:
    done = replace(RUNNING, state=JobState.DONE, done=4, running=0)
    html = html_of(view_of(done), cancel=cancel_button("k1"))
    assert "<button" not in html and "<script" not in html
