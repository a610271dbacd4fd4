"""Runs notebooks without a browser and tells, cell by cell, what came of them.

A copy is executed, in a kernel of the Python that runs this script; nothing is written into the
checkout unless ``--save`` asks for the outputs to be put back into the notebook.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets import default

WIDTH = 100
LINES_SHOWN = 14
CELL_TIMEOUT = 600.0
EXPECTED_TO_FAIL = "raises-exception"


class _ThisPython(KernelSpecManager):
    """Answers every name with this interpreter; a `python3` registered elsewhere never wins."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class _KernelOfThisPython(AsyncKernelManager):
    @default("kernel_spec_manager")
    def _here(self) -> KernelSpecManager:
        return _ThisPython(parent=self)


def main(argv: Sequence[str] | None = None) -> int:
    """Run each notebook named; 0 when every cell ended as it should."""
    parser = argparse.ArgumentParser(description="Run notebooks and print each cell's outcome.")
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--save", action="store_true", help="write the outputs into the notebook")
    parser.add_argument(
        "--temporary-home",
        action="store_true",
        help="keep the journal of this run apart from yours, and remove it afterwards",
    )
    options = parser.parse_args(argv)

    missing = [str(path) for path in options.notebooks if not path.is_file()]
    if missing:
        print(f"There is no notebook {', '.join(missing)}.", file=sys.stderr)
        return 2

    all_fine = True
    with _home(temporary=options.temporary_home):
        for path in options.notebooks:
            notebook = nbformat.read(path, as_version=4)
            fine = run(notebook, path)
            if fine and options.save:
                fine = save(notebook, path)
            all_fine = all_fine and fine
    return 0 if all_fine else 1


def run(notebook: NotebookNode, path: Path) -> bool:
    """Execute `notebook` in place, printing as it goes; True when no cell failed unexpectedly."""
    numbered = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        kernel_manager_class=_KernelOfThisPython,
        timeout=CELL_TIMEOUT,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # the kernel's own warnings are not the reader's
        resources={"metadata": {"path": str(path.parent)}},
    )
    print(f"{path}: {len(numbered)} cells, Python {sys.version.split()[0]}")
    began = time.perf_counter()
    failed = 0
    with client.setup_kernel():
        for number, (index, cell) in enumerate(numbered, start=1):
            print(f"\n[{number}] {first_line(cell.source)}", flush=True)
            started = time.perf_counter()
            trouble = None
            try:
                client.execute_cell(cell, index)
            except CellExecutionError:
                trouble = "failed"
            except (CellTimeoutError, DeadKernelError) as error:
                trouble = f"failed: {str(error).strip().splitlines()[0]}"
            seconds = time.perf_counter() - started
            for line in shorten(describe(cell.outputs)):
                print(f"    {line}")
            print(f"    -- {trouble or verdict(cell)}, {seconds:.2f} s", flush=True)
            if trouble:
                failed += 1
                if left := len(numbered) - number:
                    print(f"    Not run after this: {left} of {len(numbered)} cells.")
                break
    total = time.perf_counter() - began
    print(f"\n{path}: {'FAILED' if failed else 'all cells ok'}, {total:.1f} s")
    return not failed


def verdict(cell: NotebookNode) -> str:
    """Say how a cell ended that was allowed to end so."""
    errors = [output.ename for output in cell.outputs if output.output_type == "error"]
    return f"ok: raised {errors[0]}, as it is meant to" if errors else "ok"


def first_line(source: str) -> str:
    """Return the first line that says something, marked when more follow."""
    lines = [line for line in source.splitlines() if line.strip()]
    if not lines:
        return "(empty)"
    more = f"   (+{len(lines) - 1} lines)" if len(lines) > 1 else ""
    return _cut(lines[0], WIDTH - len(more)) + more


def describe(outputs: Sequence[NotebookNode]) -> list[str]:
    """Return what a reader would see of `outputs`, as lines of plain text."""
    lines: list[str] = []
    for output in outputs:
        if output.output_type == "stream":
            lines += _as_on_a_terminal(output.text)
        elif output.output_type == "error":
            lines += [f"{output.ename}: {line}" for line in str(output.evalue).splitlines()[:1]]
            lines += [f"    {line}" for line in str(output.evalue).splitlines()[1:]]
        else:
            lines += _as_on_a_terminal(_text_of(output.data))
    return lines


def shorten(lines: Sequence[str]) -> list[str]:
    """Keep the head and the tail of what is long; the figures one looks for are at the end."""
    lines = [_cut(line, WIDTH) for line in lines if line.strip()]
    if len(lines) <= LINES_SHOWN:
        return lines
    head = LINES_SHOWN // 2
    tail = LINES_SHOWN - head - 1
    return [*lines[:head], f"... {len(lines) - head - tail} lines more ...", *lines[-tail:]]


def save(notebook: NotebookNode, path: Path) -> bool:
    """Write the outputs back, without what differs from machine to machine."""
    notebook.metadata.kernelspec = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata.language_info = {"name": "python", "file_extension": ".py"}
    text = nbformat.writes(notebook)
    named = [place for place in _private_places() if place in text]
    if named:
        print(f"{path}: not saved, its outputs name {named[0]}, a folder of this machine.")
        return False
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    print(f"{path}: outputs saved")
    return True


@contextlib.contextmanager
def _home(*, temporary: bool) -> Iterator[None]:
    """Give the kernels a CLOUDBUTTON_HOME that ends with this run, or leave the user's."""
    if not temporary:
        yield
        return
    # Workers may outlive their kernel by a moment and still write.
    with tempfile.TemporaryDirectory(prefix="cloudbutton-", ignore_cleanup_errors=True) as folder:
        os.environ["CLOUDBUTTON_HOME"] = folder
        yield


def _private_places() -> list[str]:
    places = [str(Path.home()), str(Path(__file__).resolve().parents[1])]
    return [place for place in places if len(place) > 1]


def _text_of(data: dict[str, Any]) -> str:
    if "text/plain" in data:
        return str(data["text/plain"])
    return f"<{', '.join(sorted(data))}>"


def _as_on_a_terminal(text: str) -> list[str]:
    """Drop colours, and whatever a carriage return has overwritten."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")
    return [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
