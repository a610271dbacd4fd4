"""A notebook's kernel, as far as it matters here: a shell in a process of its own that runs cells.

``kernel.py CELLS``: a JSON list of cells. After each, a line of JSON with what it printed and raised.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys


def main() -> None:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "cloudbutton_magic")
    for cell in json.loads(sys.argv[1]):
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            result = shell.run_cell(cell, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        said = {"out": shown.getvalue(), "error": None if error is None else repr(error)}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
