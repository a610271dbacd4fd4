"""The button on the cell in a real JupyterLab: pressed, kept in the notebook, honoured, asked about."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

from .lab import WITHOUT_US, Lab
from .page import Notebook

Open = Callable[..., Notebook]

SLOW = "import time\ndef slow(x):\n    time.sleep(0.03)\n    return x * x"
LOOP = "ys = []\nfor x in range(60):\n    ys.append(slow(x))\nsum(ys), x"
ON = {"cloudbutton": {"on": True}}


def _jobs(lab: Lab, notebook: Notebook) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.get(f"cloudbutton/api/jobs?notebook={notebook.path}")["jobs"]
    return found


def test_pressed_on_an_ordinary_cell_it_leaves_what_the_plain_cell_leaves(
    lab: Lab, opened: Open
) -> None:
    notebook = opened(SLOW, LOOP, LOOP)
    notebook.command("notebook:run-all-cells")
    notebook.wait_until_run(2)
    notebook.press(1)
    notebook.wait_for(
        "() => document.querySelectorAll('.cb-Cell-progress[role=progressbar]').length === 1"
    )
    notebook.wait_until_run(1)
    assert notebook.result(1) == notebook.result(2) == f"({sum(x * x for x in range(60))}, 59)"
    assert notebook.metadata(1) == {"on": True}
    job = _jobs(lab, notebook)[0]
    assert job["done"] > 0
    assert job["cell_id"] == lab.saved(notebook.path).cells[1].id
    notebook.cell(1).get_by_role("img", name="Cloud Button is on").wait_for()
    notebook.pictures("button-on")
    notebook.press(1)
    assert notebook.metadata(1) is None
    assert len(_jobs(lab, notebook)) == 1, "turning off runs nothing"


def test_a_notebook_that_was_renamed_shows_the_jobs_of_its_kernel(lab: Lab, opened: Open) -> None:
    notebook = opened(SLOW, LOOP)
    notebook.rename("renamed.ipynb")
    notebook.command("notebook:run-all-cells")
    notebook.wait_until_run(1)
    notebook.press(1)
    notebook.wait_for("() => document.querySelector('.cb-Cell-progress[role=progressbar]')")
    notebook.wait_until_run(1)
    assert [job["notebook"] for job in _jobs(lab, notebook)] == ["renamed.ipynb"]


def test_run_all_honours_the_metadata_and_leaves_the_text_alone(lab: Lab, opened: Open) -> None:
    notebook = opened(SLOW, {"source": LOOP, "metadata": ON}, LOOP)
    notebook.command("notebook:run-all-cells")
    notebook.wait_until_run(2)
    assert notebook.result(1) == notebook.result(2)
    cells = lab.saved(notebook.path).cells
    assert [job["cell_id"] for job in _jobs(lab, notebook)] == [cells[1].id]
    notebook.command("notebook:restart-run-all")
    notebook.page.get_by_role("button", name="Confirm Kernel Restart").click()
    notebook.wait_for(
        "() => window.jupyterapp.shell.currentWidget.content.widgets[2].model.executionState"
        " === 'running'"
    )
    notebook.wait_until_run(2)
    assert len(_jobs(lab, notebook)) == 2, "a restarted kernel knows, too"
    notebook.save()
    assert [cell.source for cell in lab.saved(notebook.path).cells] == [SLOW, LOOP, LOOP]


def test_a_notebook_with_the_button_on_runs_plainly_without_the_extension(
    lab: Lab, opened: Open, tmp_path: Path
) -> None:
    notebook = opened(SLOW, LOOP)
    notebook.command("notebook:run-all-cells")
    notebook.wait_until_run(1)
    notebook.press(1)
    notebook.wait_until_run(1)
    notebook.save()
    saved = lab.saved(notebook.path)
    assert saved.cells[1].metadata.cloudbutton == {"on": True}
    nbformat.validate(saved)
    before = len(_jobs(lab, notebook))
    # Another Jupyter, whose kernel knows nothing of us.
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-m", "jupyter", "execute", "--inplace", notebook.path],
        cwd=lab.notebooks,
        env={**plain, "IPYTHONDIR": str(tmp_path), "CLOUDBUTTON_HOME": str(lab.home)},
        check=True,
        capture_output=True,
    )
    shown = [o for o in lab.saved(notebook.path).cells[1].outputs if "data" in o]
    assert shown[-1].data["text/plain"] == notebook.result(1)
    assert len(_jobs(lab, notebook)) == before


def test_a_kernel_without_cloud_button_runs_the_cell_plainly_and_says_so(
    lab: Lab, opened: Open
) -> None:
    notebook = opened("ys = [x * x for x in range(60)]\nsum(ys)", kernel=WITHOUT_US)
    notebook.press(0)
    notebook.wait_until_run(0)
    assert notebook.result(0) == str(sum(x * x for x in range(60)))
    notebook.page.get_by_text("The Python of this kernel has no Cloud Button").first.wait_for()
    assert _jobs(lab, notebook) == []


def test_the_plan_is_shown_beside_the_notebook(lab: Lab, opened: Open) -> None:
    notebook = opened(SLOW, LOOP)
    notebook.command("notebook:run-all-cells")
    notebook.wait_until_run(1)
    before = notebook.outputs(1)
    notebook.cell(1).locator(".jp-InputPrompt").click(button="right")
    items = notebook.page.locator(".lm-Menu-item")
    items.filter(has_text="Cloud Button").click()
    items.filter(has_text="Show the Plan").click()
    dialog = notebook.page.get_by_role("dialog")
    dialog.get_by_text("1 loop could run in parallel on local").wait_for()
    notebook.picture("plan")
    dialog.get_by_role("button", name="Close").click()
    assert notebook.outputs(1) == before
    assert notebook.metadata(1) is None
    assert _jobs(lab, notebook) == []


def test_backend_and_budget_are_chosen_by_dialogs_and_shown_on_the_badge(
    lab: Lab, opened: Open
) -> None:
    notebook = opened(SLOW, LOOP)
    notebook.command("notebook:run-cell")
    notebook.wait_until_run(0)
    notebook.activate(1)
    notebook.command("cloudbutton:set-budget")
    dialog = notebook.page.get_by_role("dialog")
    accept = dialog.locator(".jp-mod-accept")
    dialog.get_by_role("textbox").fill("lots")
    assert accept.is_disabled()
    dialog.get_by_role("textbox").fill("0.5")
    accept.click()
    notebook.command("cloudbutton:run-on")
    backends = lab.get("cloudbutton/api/backends")["backends"]
    title = next(each["title"] for each in backends if each["name"] == "local")
    dialog.locator("select").select_option(label=title)
    notebook.picture("run-on")
    accept.click()
    notebook.wait_until_run(1)
    assert notebook.metadata(1) == {"on": True, "backend": "local", "budget": 0.5}
    assert _jobs(lab, notebook)[0]["budget"] == 0.5
    badge = notebook.cell(1).locator(".jp-cell-toolbar .cb-Cell-badge")
    badge.get_by_text("local · $0.50").wait_for()
    notebook.picture("badge")
    notebook.activate(1)
    notebook.page.keyboard.press("Alt+Shift+Enter")
    assert notebook.metadata(1) == {"on": False, "backend": "local", "budget": 0.5}


def test_a_backend_that_costs_money_asks_once_and_no_means_no(lab: Lab, opened: Open) -> None:
    pricey = {"cloudbutton": {"on": True, "backend": "pricey"}}
    notebook = opened(
        SLOW,
        {"source": LOOP, "metadata": pricey},
        {"source": "after = 1", "metadata": pricey},
    )
    notebook.command("notebook:run-all-cells")
    dialog = notebook.page.get_by_role("dialog")
    dialog.get_by_text("Spend money on pricey?").wait_for()
    notebook.picture("consent")
    dialog.get_by_role("button", name="Do Not Run").click()
    notebook.wait_until_run(1)
    assert notebook.error(1) == "NotConfirmed"
    assert notebook.outputs(2) == []
    assert dialog.count() == 0, "one answer is enough for all cells of a run"

    notebook.wait_until_ready()  # until then the kernel may still turn away what follows an error
    notebook.command("notebook:run-all-cells")
    dialog.get_by_role("button", name="Run on pricey").click()
    notebook.wait_until_run(2)
    assert notebook.error(1) is None
    assert notebook.result(1) == f"({sum(x * x for x in range(60))}, 59)"
    notebook.activate(1)
    # Until the news of its end is there, the button would cancel the job.
    label = "() => window.jupyterapp.commands.label('cloudbutton:press')"
    notebook.wait_for(f"() => ({label})() === 'Turn Cloud Button Off'")
    notebook.press(1)  # off
    notebook.press(1)  # on, and run: not asked again
    notebook.wait_until_run(1)
    assert notebook.error(1) is None
    notebook.save()
    consent = lab.saved(notebook.path).metadata.cloudbutton.consent.pricey
    assert set(consent) == {"date", "user"}
