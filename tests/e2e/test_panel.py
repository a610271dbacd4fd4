"""The panel in a real JupyterLab: it shows jobs of busy, dead and other kernels, and rests when hidden."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from collections.abc import Callable

from cloudbutton_backend.job_model import JobRecord, JobState
from cloudbutton_backend.journal.records import ProgressUpdate
from cloudbutton_backend.journal.tables import JournalTables

from .lab import Lab
from .page import Notebook

Open = Callable[..., Notebook]

SETUP = "import os, time\ndef slow(x):\n    time.sleep(0.1)\n    return x * x\nos.getpid()"
LONG = "ys = [slow(x) for x in range(2000)]"
SHORT = "zs = [slow(x) for x in range(50)]\nsum(zs)"
SUM = str(sum(x * x for x in range(50)))
API = "/cloudbutton/api/"

#: Milliseconds, as promised.
CANCELLED_WITHIN = 1_500
LOST_WITHIN = 5_000
OPENS_WITHIN = 1_000


def _started(notebook: Notebook, cell: int = 1) -> None:
    """Run the set-up, press the button on a cell, wait for its job."""
    notebook.activate(0)
    notebook.command("notebook:run-cell")
    notebook.wait_until_run(0)
    notebook.press(cell)
    notebook.cell(cell).locator(".cb-Cell-progress").wait_for()


def test_it_follows_a_job_of_a_blocked_kernel_and_cancels_it(opened: Open) -> None:
    notebook = opened(SETUP, LONG, "len(ys)")
    _started(notebook)
    row = notebook.show_panel().locator(".cb-JobRow", has_text=notebook.path).first
    row.get_by_text("Running").wait_for()
    done = "element => Number(/(\\d+) of/.exec(element.textContent)?.[1] ?? 0)"
    for more in (1, 5, 9):  # it is no still picture
        notebook.wait_for(f"([row, n]) => ({done})(row) > n", [row.element_handle(), more])
    notebook.pictures("panel-running")
    took = notebook.page.evaluate(
        """async button => {
            const model = window.jupyterapp.shell.currentWidget.content.widgets[1].model;
            const begun = performance.now();
            button.click();
            while (model.executionState !== 'idle') {
                await new Promise(requestAnimationFrame);
            }
            return performance.now() - begun;
        }""",
        row.get_by_role("button", name="Cancel for").element_handle(),
    )
    assert took < CANCELLED_WITHIN
    assert notebook.error(1) == "KeyboardInterrupt"
    row.get_by_text("Cancelled").wait_for()


def test_the_button_itself_cancels_the_job_of_its_cell(opened: Open) -> None:
    notebook = opened(SETUP, LONG)
    _started(notebook)
    notebook.page.get_by_role("button", name="Cancel the job of this cell").first.wait_for()
    notebook.press(1)
    notebook.wait_until_run(1)
    assert notebook.error(1) == "KeyboardInterrupt"
    assert notebook.metadata(1) == {"on": True}


def test_a_killed_kernel_is_noticed(opened: Open) -> None:
    notebook = opened(SETUP, LONG)
    _started(notebook)
    panel = notebook.show_panel()
    panel.locator(".cb-JobRow[data-state=running]", has_text=notebook.path).wait_for()
    kernel = int(notebook.result(0) or 0)
    begun = notebook.now()
    os.kill(kernel, signal.SIGKILL)
    panel.locator(".cb-JobRow[data-state=lost]", has_text=notebook.path).wait_for()
    assert notebook.now() - begun < LOST_WITHIN
    notebook.picture("panel-lost")


def test_a_reloaded_page_shows_what_runs_and_what_is_on(opened: Open) -> None:
    notebook = opened(SETUP, LONG)
    _started(notebook)
    notebook.save()
    notebook.page.reload()
    progress = notebook.cell(1).locator(".cb-Cell-progress")
    progress.wait_for()
    panel = notebook.show_panel()
    panel.locator(".cb-JobRow[data-state=running]", has_text=notebook.path).wait_for()
    before = int(progress.get_attribute("aria-valuenow") or 0)
    notebook.wait_for(
        "([bar, n]) => Number(bar.getAttribute('aria-valuenow')) > n",
        [progress.element_handle(), before],
    )
    notebook.press(1)
    panel.locator(".cb-JobRow[data-state=cancelled]", has_text=notebook.path).wait_for()
    notebook.cell(1).get_by_role("img", name="Cloud Button is on").wait_for()


def test_two_notebooks_run_at_once(opened: Open) -> None:
    one, two = opened(SETUP, SHORT), opened(SETUP, SHORT)
    for notebook in (one, two):
        _started(notebook)
    panel = one.show_panel()
    for notebook in (one, two):
        panel.locator(".cb-JobRow", has_text=notebook.path).first.wait_for()
    for notebook in (one, two):
        notebook.wait_until_run(1)
        assert notebook.result(1) == SUM
        panel.locator(".cb-JobRow[data-state=done]", has_text=notebook.path).first.wait_for()
    panel.locator(".cb-JobRow", has_text=two.path).first.locator(".cb-JobRow-name").click()
    panel.locator(".cb-Job").wait_for()
    one.pictures("job")


def test_a_hidden_panel_asks_for_nothing(opened: Open) -> None:
    watched, other = opened(SETUP, SHORT), opened(SETUP, SHORT)
    sockets = []
    requests: list[str] = []
    watched.page.on("websocket", lambda each: API in each.url and sockets.append(each))
    watched.show_panel().get_by_role("tab", name="Jobs").wait_for()
    watched.hide_panel()
    for each in sockets:
        if not each.is_closed():
            each.wait_for_event("close")
    watched.page.on("request", lambda each: API in each.url and requests.append(each.url))
    watched.page.on("websocket", lambda each: API in each.url and requests.append(each.url))
    _started(other)  # several seconds, in which much could be told
    other.wait_until_run(1)
    assert other.result(1) == SUM
    assert requests == []


def test_it_opens_at_once_on_a_journal_of_thousands(lab: Lab, opened: Open) -> None:
    notebook = opened(SETUP)
    _write_jobs(lab, 5_000)
    took = notebook.page.evaluate(
        """async () => {
            const begun = performance.now();
            void window.jupyterapp.commands.execute('cloudbutton:show-panel');
            while (document.querySelectorAll('.cb-JobRow').length < 50) {
                await new Promise(requestAnimationFrame);
            }
            return performance.now() - begun;
        }"""
    )
    notebook.picture("panel-thousands")
    assert took < OPENS_WITHIN


def _write_jobs(lab: Lab, count: int) -> None:
    """Put finished jobs into the journal, as a long-lived one has them."""
    store = JournalTables(lab.home)
    now = time.time()
    entries = itertools.chain.from_iterable(
        (
            JobRecord(
                id=f"old{n:05d}",
                name=f"for x in xs{n}",
                kind="button",
                backend="local",
                created=now - n,
                n_items=100,
                pid=os.getpid(),
                host=socket.gethostname(),
                source="%%cloud\nys = [f(x) for x in xs]",
            ),
            ProgressUpdate(f"old{n:05d}", {"state": JobState.DONE, "done": 100}),
        )
        for n in range(count)
    )
    store.write(list(entries))
    store.close()


def test_it_says_of_a_backend_what_is_well_and_what_wants_a_look(lab: Lab, opened: Open) -> None:
    kept = lab.home / "journal.db.corrupt-20260101-000000"
    kept.touch()
    notebook = opened(SETUP, SHORT)
    _started(notebook)  # so that there is a journal
    notebook.wait_until_run(1)
    panel = notebook.show_panel()
    panel.get_by_role("tab", name="Backend").click()
    for name, mark in (("Python", "good"), ("journal", "to be looked at")):
        line = panel.get_by_role("listitem").filter(has=notebook.page.get_by_text(name, exact=True))
        line.get_by_role("img", name=mark, exact=True).wait_for()
    kept.unlink()
