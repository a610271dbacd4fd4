"""Requests of JupyterLab to this kernel: prepare to run a pressed cell, show a cell's plan.

It asks by `user_expressions` of a silent, empty execute_request, which leaves no trace in the
notebook's names, its history and its outputs, and is answered in order before the cell that
follows it. A Python without this module answers with a `ModuleNotFoundError`, which says enough.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any, Final

from IPython import get_ipython

from cloudbutton_backend.errors import CloudError, UsageError
from cloudbutton_magic import load_ipython_extension
from cloudbutton_magic.cells.cell_context import context_of_button_cell, remember_notebook
from cloudbutton_magic.cells.options import parse_options
from cloudbutton_magic.kernel import consent
from cloudbutton_magic.kernel.execution_hook import cell_magic_of, options_line, split_button_line

PROTOCOL: Final = 1
"""What the extension and this kernel agree on; counts up when one would misunderstand the other."""


@dataclass(frozen=True)
class ReadyAnswer:
    """The kernel's answer: the button works here."""

    backend: str
    """Where the cell will run."""
    allowed: bool
    """False if that costs money and the user did not agree: the cell will not run."""

    def _repr_json_(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "backend": self.backend, "allowed": self.allowed}


def prepare(request: str) -> ReadyAnswer:
    """Make the kernel ready for one execution of a pressed cell; ask the user if it costs money.

    Parameters
    ----------
    request
        JSON: `choice` is the cell's metadata, `cell_id` its id, `may_spend` the backends that the
        user has agreed to in this notebook, `notebook` the path that it has now.
    """
    shell: Any = get_ipython()
    load_ipython_extension(shell)
    asked = json.loads(request)
    consent.agree(shell, asked.get("may_spend", ()))
    if asked.get("notebook"):
        remember_notebook(shell, asked["notebook"])
    try:
        backend = parse_options(options_line(asked["choice"])).resolve().backend
    except CloudError:
        return ReadyAnswer("", True)  # the cell itself will say what is wrong with its options
    return ReadyAnswer(backend, consent.ask(shell, backend, asked.get("cell_id")))


def plan(request: str) -> Any:
    """Return what `%%cloud --dry-run` shows of a cell, without running any of it.

    Parameters
    ----------
    request
        JSON: `choice` as above, `text` the cell's.

    Raises
    ------
    UsageError
        If the cell is one that the button leaves alone, or its options make no sense.
    """
    from cloudbutton_magic.button.dry_run import plan_button

    shell: Any = get_ipython()
    asked = json.loads(request)
    text, choice = asked["text"], asked["choice"]
    line, text = split_button_line(text) or (options_line(choice), text)
    tree, source = _parsed(shell, text)
    magic = cell_magic_of(tree)
    if magic is not None:
        raise UsageError(
            f"The button leaves a cell alone that begins with `%%{magic[0]} {magic[1]}`."
        )
    context = context_of_button_cell(shell, line, text, source)
    return plan_button(tree, context, parse_options(line).resolve())


def _parsed(shell: Any, text: str) -> tuple[ast.Module, str]:
    source = shell.transform_cell(text)
    try:
        return ast.parse(source), source
    except SyntaxError as error:
        raise UsageError(f"The cell is not Python: {error}.") from None
