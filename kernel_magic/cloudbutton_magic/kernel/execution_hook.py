"""The button on a cell, pressed or written above it as `%%cloud`: IPython reads the cell as a plain one.

Pressed, the choice is kept in the cell's metadata, which JupyterLab sends along with every execution:

    cell.metadata.cloudbutton = {"on": true, "backend": "lambda", "budget": 0.5, "workers": 8}

So there is nothing to remember from cell to cell. When IPython has parsed a cell whose request says
so, the tree is replaced by a single call that runs it through the button. Its history, its line
numbers, its last `;` and its syntax errors are those of the plain cell, because it is one until then.

A line `%%cloud` above a cell becomes a string that holds the whole, which the tree then begins with.
So the same holds for it, whoever reads the cell: IPython, `%%time`, `%%capture`.
"""

from __future__ import annotations

import ast
import itertools
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from IPython.display import display

from cloudbutton_backend.errors import UsageError
from cloudbutton_magic.analysis import first_await
from cloudbutton_magic.cells.cell_context import (
    context_of_button_cell,
    context_of_cell,
    request_of,
    transform_below,
)
from cloudbutton_magic.cells.header import ButtonHeader, parse_header
from cloudbutton_magic.cells.options import check_options, parse_options
from cloudbutton_magic.display.rendering import Table
from cloudbutton_magic.kernel.consent import require_consent
from cloudbutton_magic.kernel.error_display import PlainErrors
from cloudbutton_magic.kernel.shell_hooks import ShellHook

KEY: Final = "cloudbutton"
"""Of a cell's metadata."""

CHOICES: Final = ("backend", "budget", "workers", "memory")
"""What the metadata may hold beside `on`: each is an option of `%%cloud`."""


@dataclass(frozen=True)
class PressedCell:
    """A cell that runs as with `%%cloud` above it."""

    cell: str
    """The user's text."""
    source: str
    """The same as Python."""
    choice: Mapping[str, Any] | None
    """What the cell's metadata says."""
    line: str = ""
    """What stands after `%%cloud` where that is above the cell."""


class ExecutionHook(ShellHook):
    """Takes over the cells that have `%%cloud` above them, or whose metadata says that the button is on."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._current = threading.local()  # cells of subshells run beside each other
        self._pressed: dict[int, PressedCell] = {}
        self._numbers = itertools.count()

    def callbacks(self) -> Mapping[str, Callable[..., None]]:
        return {"pre_execute": self.before_execution, "pre_run_cell": self.before_cell}

    def register(self) -> None:
        super().register()
        self._shell.input_transformers_cleanup.append(self._quote_button_line)
        self._transform_last()

    def unregister(self) -> None:
        super().unregister()
        for transformers, ours in (
            (self._shell.input_transformers_cleanup, self._quote_button_line),
            (self._shell.ast_transformers, self),
        ):
            if ours in transformers:
                transformers.remove(ours)

    def _quote_button_line(self, lines: list[str]) -> list[str]:
        """Put a string that holds the cell in the place of `%%cloud` above it."""
        text = "".join(lines)
        if not _is_left_to_us(text):
            return lines
        self._transform_last()
        below = transform_below(self._shell, "".join(lines[1:])).splitlines(keepends=True)
        return [f"{text!r}\n", *below[1:]]

    # IPython's word for those that are not to be asked whether a cell is complete.
    _quote_button_line.has_side_effects = True  # type: ignore[attr-defined]

    def before_execution(self) -> None:
        """Forget the cell before: if it was not Python, IPython had no tree of it for `visit`.

        What front ends run silently is no cell, so `before_cell` is not called for it.
        """
        self._current.info = None

    def before_cell(self, info: Any) -> None:
        """Check whether we run the cell that begins."""
        choice = choice_of(request_of(self._shell), info.cell_id)
        if choice is not None:
            self._current.info = (info, choice)
            self._transform_last()

    def _transform_last(self) -> None:
        """Register our transformer as the last, again and again: others may clear the list."""
        transformers = self._shell.ast_transformers
        if self in transformers:
            transformers.remove(self)
        transformers.append(self)

    def visit(self, tree: ast.Module) -> ast.Module:
        """Return what IPython shall run in place of `tree`: as a rule, `tree`."""
        # Magics such as `%time` bring trees of their own: only the cell's, the first, counts.
        current, self._current.info = getattr(self._current, "info", None), None
        typed = _button_cell_of(tree)
        if typed is not None:
            tree.body.pop(0)
        if (current is None and typed is None) or not tree.body:
            return tree
        ast.fix_missing_locations(tree)  # those before us leave that to IPython
        magic = cell_magic_of(tree)
        if (magic and magic[0] == "cloud") or not self._compiles(tree):
            return tree
        if magic or first_await(tree):
            reason = f"`%%{magic[0]}` has it" if magic else "it uses `await` at its top level"
            if typed is None or not parse_options(typed[0]).quiet:
                display(Table(f"☁ ran here, as the plain cell: {reason}"))
            return tree
        number = next(self._numbers)
        if typed is not None:
            line, cell = typed
            source = transform_below(self._shell, cell)
            self._pressed[number] = PressedCell(cell, source, None, line)
        elif current is not None:
            info, choice = current
            source = getattr(info, "transformed_cell", None) or self._shell.transform_cell(
                info.raw_cell
            )
            self._pressed[number] = PressedCell(info.raw_cell, source, choice)
        return _replacement_call(number)

    def _compiles(self, tree: ast.Module) -> bool:
        """Tell whether Python accepts the cell; if not, IPython shall say so."""
        if first_await(tree):
            return True
        try:
            # By IPython's own, which remembers `from __future__ import …` for the cells after it.
            self._shell.compile(tree, "<cell>", "exec")
        except (SyntaxError, ValueError, RecursionError):
            return False
        return True

    def run(self, number: int) -> None:
        """Run a cell that was taken over."""
        pressed = self._pressed.pop(number)
        shell, cell, line = self._shell, pressed.cell, pressed.line
        with PlainErrors(shell):
            if pressed.choice is None:
                options = parse_options(line)
                context = context_of_cell(shell, line, cell, quiet=options.quiet)
            else:
                line = options_line(pressed.choice)
                options = parse_options(line)
                require_consent(shell, options.resolve().backend)
                context = context_of_button_cell(shell, line, cell, pressed.source)
            from cloudbutton_magic.button.button_magic import run_button

            run_button(options, pressed.source, context, transform=self._shell.transform_ast)


def _replacement_call(number: int) -> ast.Module:
    """Return a tree that runs a pressed cell and needs no name in the user's namespace."""
    return ast.parse(
        f"__import__({__name__!r}, fromlist=['run_pressed']).run_pressed({number})", mode="exec"
    )


def run_pressed(number: int) -> None:
    """Run the cell that the running shell's hook has taken over under `number`."""
    from IPython import get_ipython

    shell: Any = get_ipython()
    hooks = [each for each in shell.ast_transformers if isinstance(each, ExecutionHook)]
    hooks[0].run(number)


def choice_of(request: Mapping[str, Any], cell_id: str | None) -> Mapping[str, Any] | None:
    """Return what a request's metadata says about the button, None where it is off.

    `cell_id` is that of the cell that runs: code that a cell runs by `run_cell` has none, and is
    not the cell.
    """
    metadata = request.get("metadata") or {}
    choice = metadata.get(KEY)
    if cell_id is None or metadata.get("cellId") != cell_id or not isinstance(choice, Mapping):
        return None
    return choice if choice.get("on") is True else None


def options_line(choice: Mapping[str, Any]) -> str:
    """Return the options of a cell's metadata as they stand after `%%cloud`.

    Raises
    ------
    UsageError
        If there is one that this version does not know: running without it might not be what
        the user wants.
    """
    for name in choice:
        if name != "on" and name not in CHOICES:
            raise UsageError(
                f"This cell's metadata has the option `{name}`, which this version of Cloud Button "
                f"does not know; it knows {', '.join(CHOICES)}. Turn the button on this cell off "
                "and on again, or install a newer version in this kernel's Python."
            )
    given = [(name, choice[name]) for name in CHOICES if choice.get(name) is not None]
    return " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in given)


def split_button_line(text: str) -> tuple[str, str] | None:
    """Return the options and the rest of a cell with `%%cloud` above it, None for any other.

    Raises
    ------
    UsageError
        If the line is not one of ours.
    """
    first, _, rest = text.partition("\n")
    name, _, line = first.partition(" ")
    if name.rstrip() != "%%cloud":
        return None
    header = parse_header(line)
    return (header.options, rest) if isinstance(header, ButtonHeader) else None


def _is_left_to_us(text: str) -> bool:
    """Tell whether a cell runs as if the button were pressed on it; the magic has the others.

    It refuses options, and answers a dry run, whatever the cell's text.
    """
    if not text.startswith("%%cloud"):
        return False
    try:
        split = split_button_line(text)
        if split is None:
            return False
        options = parse_options(split[0])
        check_options(options)
    except UsageError:
        return False
    return not options.dry_run


def _button_cell_of(tree: ast.Module) -> tuple[str, str] | None:
    """Return the options and the text of the cell that a tree begins with as a string."""
    match tree.body:
        case [ast.Expr(value=ast.Constant(value=str(text))), *_] if _is_left_to_us(text):
            return split_button_line(text)
    return None


def cell_magic_of(tree: ast.Module) -> tuple[str, str, str] | None:
    """Return name, line and text of the cell magic that a whole cell is, or None."""
    match tree.body:
        case [
            ast.Expr(
                value=ast.Call(
                    func=ast.Attribute(attr="run_cell_magic"),
                    args=[
                        ast.Constant(value=str(name)),
                        ast.Constant(value=str(line)),
                        ast.Constant(value=str(text)),
                    ],
                )
            )
        ]:
            return name, line, text
    return None
