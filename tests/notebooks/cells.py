"""The cells of a notebook or a script, and which of them the button is pressed on."""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path
from typing import Final

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from cloudbutton_magic.kernel.execution_hook import split_button_line

LOOPS: Final = (ast.For, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_CUT: Final = re.compile(r"^(?:# ?%%.*|#{20,})$", re.MULTILINE)
"""Where galleries, and editors, cut a script into cells."""


def read_cells(path: Path) -> list[str]:
    """Return the code cells of a notebook, or the parts of a script."""
    if path.suffix == ".ipynb":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        found = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    else:
        found = _CUT.split(path.read_text(encoding="utf-8"))
    return [cell for cell in found if cell.strip()]


def plain(cell: str) -> str:
    """Return a cell as it runs plainly: with the line numbers that it has below `%%cloud`."""
    button = _button_of(cell)
    return cell if button is None else f"#\n{button[1]}"


def pressed(cell: str) -> str:
    """Return a cell as it runs with the button."""
    button = _button_of(cell)
    return cell if button is None else f"%%cloud --force {button[0]}\n{button[1]}"


def _button_of(cell: str) -> tuple[str, str] | None:
    """Return options and text of a cell with a loop, None for others; it may have the button already."""
    options, text = split_button_line(cell) or ("", cell)
    return (options, text) if has_loop(text) and "--dry-run" not in options else None


def has_loop(cell: str) -> bool:
    """Tell whether a cell is Python with a loop in it, and not a magic's."""
    if cell.lstrip().startswith("%%"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(TransformerManager().transform_cell(cell))
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, LOOPS) for node in ast.walk(tree))
