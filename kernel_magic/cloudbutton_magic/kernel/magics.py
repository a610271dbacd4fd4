"""`%%cloud` and `%cloud` in IPython: they parse, delegate and let errors show plainly."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import (
    Magics,
    cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
    output_can_be_silenced,
)

from cloudbutton_backend.settings import resolve
from cloudbutton_magic.cells.cell_context import context_of_cell, transform_below
from cloudbutton_magic.cells.header import MapHeader, RunHeader, parse_header
from cloudbutton_magic.cells.map_cell import map_cell, run_cell_as_task
from cloudbutton_magic.cells.options import parse_options, shared_options
from cloudbutton_magic.commands.line_magic import CommandContext, run_command
from cloudbutton_magic.display.screens import screen_for
from cloudbutton_magic.kernel.error_display import PlainErrors


@magics_class
class CloudMagics(Magics):
    """The magics; all they do is found in modules that do not know IPython's magics."""

    @property
    def _shell(self) -> Any:
        """The shell that registered the magics; IPython's own attribute may be None."""
        return self.shell

    @no_var_expand
    @output_can_be_silenced
    @cell_magic("cloud")  # type: ignore[arg-type]
    @shared_options
    def cloud_cell(self, line: str, cell: str) -> Any:
        """Run this cell on workers.

        %%cloud map TARGET in ITERABLE [for … in …] [if …] [-> NAME] [options]
            The cell's body runs for each item; its last expression is the item's result.
            NAME gets the list of results. `-> a, b` takes pairs apart into two lists.
        %%cloud map ITERABLE [-> NAME] [options]
            The same with the one function that the cell defines.
        %%cloud run [-> a, b] [options]
            The whole cell runs as one task and brings its variables back.
        %%cloud [options]
            The button: the cell's independent loops run in parallel, the rest runs here.
        """
        with PlainErrors(self._shell):
            header = parse_header(line)
            options = parse_options(header.options)
            context = context_of_cell(self._shell, line, cell, quiet=options.quiet)
            if isinstance(header, MapHeader):
                return map_cell(header, options, cell, context)
            if isinstance(header, RunHeader):
                return run_cell_as_task(header, options, cell, context)
            from cloudbutton_magic.button.button_magic import run_button

            source = transform_below(self._shell, cell)
            return run_button(options, source, context, transform=self._shell.transform_ast)

    @no_var_expand
    @line_magic("cloud")  # type: ignore[arg-type]
    def cloud_line(self, line: str) -> Any:
        """Manage jobs and backends: `%cloud` lists the commands."""
        with PlainErrors(self._shell):
            screen = screen_for(self._shell, resolve().view)
            namespace: dict[str, Any] = self._shell.user_ns
            return run_command(line, CommandContext(namespace=namespace, screen=screen))
