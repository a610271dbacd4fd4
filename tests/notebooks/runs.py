"""One run of a notebook in a kernel of its own: what each cell showed and left behind."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.magic.kernels import Executed, Kernel, environment, started

_DIGESTS: Final = "__import__('tests.notebooks.digests', fromlist=['x'])"
LARGEST: Final = 20_000_000
"""Bytes of a file that is copied beside a notebook."""
_OURS: Final = 'class="cloudbutton'
_SEEDS: Final = """
import random, numpy
random.seed(0)
numpy.random.seed(0)
del random, numpy
"""
_PLACES: Final = (
    (re.compile(r"\x1b\[[\d;]*m"), ""),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x"),
    (re.compile(re.escape(tempfile.gettempdir()) + r"/ipykernel_\d+/\d+\.py"), "<cell>"),
    (re.compile(r"<ipython-input-\d+-\w+>"), "<cell>"),
    (re.compile(r"(?<=\()\d+\.py(?=, line)"), "<cell>"),
    (re.compile(r"In\s?\[\d+\]"), "In[n]"),
)
"""What differs from one kernel to the next, whatever runs in it."""


@dataclass
class CellRun:
    """What one cell did."""

    code: str
    hangs: bool = False
    error: str = ""
    shown: dict[str, Any] = field(default_factory=dict)
    """Outputs by kind: `stdout`, `stderr`, `displayed` and `error`."""
    names: dict[str, str] = field(default_factory=dict)
    """Digests of values, by name."""
    told: list[str] = field(default_factory=list)
    """What the button said."""


@dataclass
class NotebookRun:
    """What a notebook did, up to the cell that hung."""

    cells: list[CellRun]
    files: dict[str, str]


def run_cells(
    cells: Sequence[str], data: Path, work: Path, state: Path, patience: float
) -> NotebookRun:
    """Run cells in a fresh kernel.

    Parameters
    ----------
    data
        A folder whose content the cells find in their working directory.
    work
        The working directory: made anew, so that all runs see the same path.
    state
        Where IPython and Cloud Button keep their files.
    patience
        Seconds for each cell.
    """
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(data, work, ignore=_left_out)
    state.mkdir(exist_ok=True)
    runs: list[CellRun] = []
    files: dict[str, str] = {}
    with started(work, {**environment(state), "PYTHONHASHSEED": "0"}) as kernel:
        kernel.run(_SEEDS, silent=True)
        if any(code.startswith("%%cloud") for code in cells):
            kernel.run("%load_ext cloudbutton_ext", silent=True)
        for code in cells:
            runs.append(_run_cell(kernel, code, patience))
            if runs[-1].hangs:
                break
        else:
            files = kernel.value(f"{_DIGESTS}.files({str(work)!r})")
    return NotebookRun(runs, files)


def _run_cell(kernel: Kernel, code: str, patience: float) -> CellRun:
    try:
        ran = kernel.receive(kernel.send(code), patience=patience)
        names = kernel.value(f"{_DIGESTS}.digests(get_ipython().user_ns)")
    except AssertionError:  # no end, or a kernel that does not answer any more
        return CellRun(code, hangs=True)
    shown, told = _outputs(ran)
    return CellRun(code, False, ran.reply.get("ename", ""), shown, names, told)


def _outputs(ran: Executed) -> tuple[dict[str, Any], list[str]]:
    """Return what the cell showed, and apart from it what the button said."""
    shown: dict[str, Any] = {"stdout": "", "stderr": "", "displayed": [], "error": ""}
    told: dict[str, str] = {}
    for number, message in enumerate(ran.messages):
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            shown[content["name"]] += content["text"]
        elif kind == "error":
            shown["error"] = [
                content["ename"],
                content["evalue"],
                _last_line(content["traceback"]),
            ]
        elif kind in ("display_data", "update_display_data", "execute_result"):
            if _OURS in content["data"].get("text/html", ""):
                key = content.get("transient", {}).get("display_id", str(number))
                told[key] = content["data"]["text/plain"]
            elif kind != "update_display_data":
                shown["displayed"].append(content["data"])
    cleaned: dict[str, Any] = json.loads(_without_places(json.dumps(shown)))
    return cleaned, list(told.values())


def _last_line(traceback: Iterable[str]) -> str:
    """Return the number of the line that a traceback points to last.

    Its text may be another's: IPython looks for it by the place of the code in its file.
    """
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(traceback))
    return "".join(re.findall(r"^-+> (\d+)", text, re.MULTILINE)[-1:])


def _without_places(text: str) -> str:
    for pattern, plain in _PLACES:
        text = pattern.sub(plain, text)
    return text


def _left_out(folder: str, names: list[str]) -> list[str]:
    """Return what is not copied: large files, and folders that are no data."""
    paths = [Path(folder) / name for name in names]
    return [
        path.name
        for path in paths
        if path.name in (".git", ".venv", "node_modules")
        or (path.is_file() and path.stat().st_size > LARGEST)
    ]
