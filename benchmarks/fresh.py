"""Fresh interpreters and fresh IPython shells, for the cases in which nothing may be warm."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any


def run_script(source: str, *, environment: Mapping[str, str] | None = None) -> tuple[float, Any]:
    """Run `source` with `python -c`; return when it started and its last line, parsed.

    The clock is monotonic and the machine's, so times noted by parent and child compare.
    """
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **(environment or {})},
    )
    return started, json.loads(done.stdout.splitlines()[-1])


class Notebook:
    """IPython's shell in this process, without history, what it prints kept off the screen."""

    def __init__(self, *, extension: bool = True) -> None:
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        config = Config()
        config.HistoryManager.enabled = False
        self.shell: Any = InteractiveShell.instance(config=config)
        if extension:
            self.load_extension()

    def load_extension(self) -> float:
        """Load the extension; return the seconds it took."""
        start = time.perf_counter()
        self.run("%load_ext cloudbutton_ext")
        return time.perf_counter() - start

    def run(self, cell: str) -> float:
        """Run a cell; return the seconds it took. The cell's own error is raised."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            start = time.perf_counter()
            result = self.shell.run_cell(cell)
            seconds = time.perf_counter() - start
        result.raise_error()
        return seconds

    def value(self, name: str) -> Any:
        """Return a variable of the notebook."""
        return self.shell.user_ns[name]
