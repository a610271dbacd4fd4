"""What outlives a kernel, from the panel in a real JupyterLab: attaching to a job, its report."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from .page import Notebook

Open = Callable[..., Notebook]

SETUP = """%load_ext cloudbutton_ext
import os, time
def slow(x):
    time.sleep(0.1)
    return x * x
os.getpid()"""
MAP = "%%cloud map x in range(80) -> squares\nslow(x)"


def _run(notebook: Notebook, cell: int) -> None:
    notebook.activate(cell)
    notebook.command("notebook:run-cell")


def _begun(notebook: Notebook) -> None:
    """Run the set-up and begin the job."""
    _run(notebook, 0)
    notebook.wait_until_run(0)
    _run(notebook, 1)


def test_a_job_of_a_killed_kernel_is_attached_to_in_the_next_one(opened: Open) -> None:
    notebook = opened(SETUP, MAP, "squares == [x * x for x in range(80)]")
    _begun(notebook)
    panel = notebook.show_panel()
    row = panel.locator(".cb-JobRow", has_text=notebook.path).first
    row.wait_for()
    done = "row => Number(/(\\d+) of/.exec(row.textContent)?.[1] ?? 0) > 5"
    notebook.wait_for(done, row.element_handle())
    os.kill(int(notebook.result(0) or 0), signal.SIGKILL)
    row.get_by_text("Kernel gone").wait_for()
    notebook.page.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
    notebook.wait_until_ready()
    row.locator(".cb-JobRow-name").click()
    panel.get_by_text("finished are kept").wait_for()
    notebook.pictures("job-lost")
    notebook.activate(1)
    panel.get_by_role("button", name="Attach here").click()
    panel.locator(".cb-Job-state[data-state=done]").wait_for()
    notebook.wait_until_run(2)  # the new cell
    _run(notebook, 3)
    notebook.wait_until_run(3)
    assert notebook.result(3) == "True"
    notebook.pictures("job-attached")


def test_the_report_of_a_job_is_a_page_of_its_own(opened: Open, tmp_path: Path) -> None:
    notebook = opened(SETUP, MAP.replace("80", "8"))
    _begun(notebook)
    notebook.wait_until_run(1)
    panel = notebook.show_panel()
    panel.locator(".cb-JobRow[data-state=done]", has_text=notebook.path).first.locator(
        ".cb-JobRow-name"
    ).click()
    with notebook.page.expect_download() as downloaded:
        panel.get_by_role("button", name="Report").click()
    name = downloaded.value.suggested_filename
    assert name.startswith("cloudbutton-") and name.endswith(".html")
    downloaded.value.save_as(tmp_path / name)
    report = notebook.page.context.new_page()
    report.goto((tmp_path / name).as_uri())
    report.get_by_role("heading", name="squares").first.wait_for()
    report.close()
