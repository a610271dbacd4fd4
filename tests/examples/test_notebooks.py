"""The tutorials keep their word: run from the first cell to the last, and as they are saved."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600
"""A whole notebook takes half a minute; a busy machine may need several."""
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))


def text_of(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
    return str(output.data.get("text/plain", ""))


def told(notebook: NotebookNode, beginning: str) -> str:
    """Return what the one cell said whose source begins so."""
    (cell,) = [cell for cell in notebook.cells if cell.source.startswith(beginning)]
    return "\n".join(text_of(output) for output in cell.outputs)


def run(name: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> NotebookNode:
    spec = importlib.util.spec_from_file_location("runner", ROOT / "tools" / "run_notebook.py")
    assert spec is not None and spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    parts = [str(ROOT / part) for part in ("", "kernel_magic", "backend")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(parts))
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(home))
    path = ROOT / "examples" / name
    notebook = nbformat.read(path, as_version=4)
    assert runner.run(notebook, path)
    return notebook


@pytest.mark.timeout(SECONDS)
def test_the_first_notebook_does_what_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notebook = run("01-first-cloud-cell.ipynb", monkeypatch, tmp_path)

    assert "✓ 24 items" in told(notebook, "%%cloud map gamma")
    assert "Identical to the plain loop: True" in told(notebook, "import cloudbutton_ext")
    printed = re.findall(r"^(\d): ", told(notebook, "%%cloud map digit"), re.MULTILINE)
    assert printed == list("0123456789"), "in item order"
    failure = told(notebook, "%%cloud map number")
    assert '----> 2 with open(f"batch-{number}.txt") as file:' in failure
    assert "item 7" in failure
    assert "✓ 12 items" in told(notebook, "%cloud retry")
    assert re.search(r"X +ndarray +935 kB +blob, sent once", told(notebook, "%cloud explain"))
    assert "The same with one worker: True" in told(notebook, "def resampled_accuracy")


@pytest.mark.timeout(SECONDS)
def test_the_button_runs_four_cells_in_parallel_refuses_one_and_changes_no_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notebook = run("02-the-button.ipynb", monkeypatch, tmp_path)

    for name in ("sweep", "simulation", "picture", "words", "smoothing"):
        assert "identical: True" in told(notebook, f'compare("{name}"')
    for cell in ("X, y = ", "size, stones", "picture = ", "library = "):
        begun = f"%%cloud\nstart = time.perf_counter()\n{cell}"
        assert re.search(r"✓ \d+ items in", told(notebook, begun)), cell
    assert "ran here: line 7 reads `level`, which the previous iteration wrote" in told(
        notebook, "%%cloud\nstart = time.perf_counter()\nmeasured"
    )
    assert "draws from the shared random generator `rng`" in told(notebook, "%%cloud\nrng")
    assert told(notebook, "%%cloud\nsquares") == "", "too short to gain, and to be worth a line"


@pytest.mark.timeout(SECONDS)
def test_the_lambda_notebook_has_right_prices_and_the_bill_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notebook = run("03-a-thousand-lambdas.ipynb", monkeypatch, tmp_path)

    assert "✓ 1,000 items" in told(notebook, "%%cloud map batch in range(1000) -> arithmetic")
    assert "identical: True" in told(notebook, "alone = ")
    price, error, formula = re.search(
        r"geometric average: +([\d.]+) ± ([\d.]+), by the formula ([\d.]+)",
        told(notebook, "mean = "),
    ).groups()  # type: ignore[union-attr]
    assert abs(float(price) - float(formula)) < 4 * float(error)
    assert "✓ 24 items" in told(notebook, "%%cloud map k in components")
    assert re.search(r"Installed packages needed: .*scikit-learn", told(notebook, "%cloud explain"))
    assert re.search(r"identical: True\n\d+ calls failed", told(notebook, "emulator.set_faults"))
    books, bill = re.findall(r"\$([\d.]+)", told(notebook, "reports = "))
    assert float(books) <= float(bill) < 1.1 * float(books), "storage is on the bill, too"


@pytest.mark.timeout(SECONDS)
def test_other_peoples_interfaces_give_what_they_give_without_us(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notebook = run("04-dask-and-scikit-learn.ipynb", monkeypatch, tmp_path)

    text = "\n".join(
        text_of(output) for cell in notebook.cells for output in cell.get("outputs", ())
    )
    claims = re.findall(r"identical: (\w+)", text)
    assert len(claims) >= 8 and set(claims) == {"True"}
    # How many fits joblib puts into a call depends on how long they take.
    assert "joblib: _fit_and_score  done" in told(notebook, "%cloud jobs")
    assert re.search(r"✓ 12 items in .* on \d+ dask workers", told(notebook, "%%cloud map gamma"))
    assert "on dask, identical: True" in told(
        notebook, 'with joblib.parallel_config("cloudbutton"):'
    )
    assert "100% Completed" in told(notebook, "from dask import delayed")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_saved_notebook_was_run_in_order_and_names_no_folder_of_its_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        failed = any(output.output_type == "error" for output in cell.outputs)
        assert failed == ("raises-exception" in cell.metadata.get("tags", []))
    assert not re.search(r"/(home|root|tmp|usr|work|Users)/", path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 1_000_000


@pytest.mark.timeout(SECONDS)
def test_a_job_goes_on_where_its_killed_kernel_had_come_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notebook = run("05-it-survives.ipynb", monkeypatch, tmp_path)

    died = told(notebook, "from cloudbutton_backend.journal")
    assert re.search(r"\d+ of 120 items were done; the job is lost", died)
    attached = told(notebook, 'get_ipython().run_line_magic("cloud", f"attach {job.id}')
    assert "✓ 120 items" in attached
    assert re.findall(r"^strip (\d+) by", attached, re.MULTILINE) == [str(n) for n in range(120)]
    assert "results: 120; strips that ran more than once: 0" in told(notebook, "batches = ")
    assert told(notebook, "exec(newton_source)") == "identical: True\n"
    assert told(notebook, 'get_ipython().run_line_magic("cloud", f"attach {squares').endswith(
        "True\n"
    )
