"""How the emulator's processes are started."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).parents[4])


def command(module: str, argument: str) -> list[str]:
    """Return the command that runs `main` of one of our modules.

    The current folder, where a user's `json.py` may lie, is not on the path.
    """
    code = f"import sys; sys.path[0] = {_ROOT!r}; from {module} import main; main()"
    return [sys.executable, "-c", code, argument]
