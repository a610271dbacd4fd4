"""The notebook runner behind `make demo`: what it prints, what it returns, what it leaves alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "run_notebook.py"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebook", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(path: Path, *cells: tuple[str, str]) -> Path:
    """Write a notebook of (source, tag) cells."""
    made = [new_code_cell(source, metadata={"tags": [tag] * bool(tag)}) for source, tag in cells]
    nbformat.write(new_notebook(cells=made), path)
    return path


def test_a_notebook_runs_in_this_python_and_stays_as_it_was(
    runner: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "import sys\nsys.executable"
    path = _write(tmp_path / "fine.ipynb", (source, ""), ("1 / 0", "raises-exception"))
    before = path.read_bytes()

    assert runner.main([str(path)]) == 0

    told = capsys.readouterr().out
    assert repr(sys.executable) in told
    assert "raised ZeroDivisionError, as it is meant to" in told
    assert path.read_bytes() == before


def test_an_unexpected_error_ends_the_run_and_is_not_saved(
    runner: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path / "bad.ipynb", ("int('x')", ""), ("'never'", ""))
    before = path.read_bytes()

    assert runner.main(["--save", str(path)]) == 1

    told = capsys.readouterr().out
    assert "ValueError: invalid literal" in told
    assert "Not run after this: 1 of 2 cells." in told
    assert path.read_bytes() == before


def test_save_puts_the_outputs_back(runner: ModuleType, tmp_path: Path) -> None:
    path = _write(tmp_path / "fine.ipynb", ("6 * 7", ""))
    assert runner.main(["--save", str(path)]) == 0
    (cell,) = nbformat.read(path, as_version=4).cells
    assert cell.outputs[0].data["text/plain"] == "42"


def test_outputs_that_name_a_folder_of_this_machine_are_not_saved(
    runner: ModuleType, tmp_path: Path
) -> None:
    home = str(Path.home())
    output = new_output("execute_result", data={"text/plain": f"'{home}/data.csv'"})
    notebook = new_notebook(cells=[new_code_cell("path", outputs=[output])])
    assert not runner.save(notebook, tmp_path / "leaky.ipynb")
    assert not (tmp_path / "leaky.ipynb").exists()


def test_a_missing_notebook_is_named(
    runner: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(["nowhere.ipynb"]) == 2
    assert "There is no notebook nowhere.ipynb." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("10 %\r20 %\rdone\n", ["done"]),
        ("\x1b[31mred\x1b[0m", ["red"]),
        ("\n\n", []),
        ("x" * 200, ["x" * 99 + "…"]),
    ],
)
def test_a_stream_is_shown_as_a_terminal_would(
    runner: ModuleType, text: str, seen: list[str]
) -> None:
    stream = new_output("stream", name="stdout", text=text)
    assert runner.shorten(runner.describe([stream])) == seen


def test_long_output_keeps_its_head_and_its_tail(runner: ModuleType) -> None:
    shown = runner.shorten([str(n) for n in range(1000)])
    assert len(shown) == runner.LINES_SHOWN
    assert (shown[0], shown[-1]) == ("0", "999")
    assert "987 lines more" in shown[7]
