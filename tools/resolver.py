"""Runs uv, which resolves for other Pythons and platforms, and for the lowest versions.

`make` installs it in an environment of its own, whose Python runs this. uv does not read pip's
configuration; it is told from there which index to ask. Further sources that pip is to look at may hold
some files of a release only, as on one machine, and would decide what is resolved for another.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: pip's settings, and the variables that tell uv the same.
SAME = {
    "cert": "SSL_CERT_FILE",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "index-url": "UV_DEFAULT_INDEX",
    "timeout": "UV_HTTP_TIMEOUT",
    "trusted-host": "UV_INSECURE_HOST",
}
SECTIONS = ("global", "install", ":env:")
"""Of pip's configuration; the later counts more."""


def uv(arguments: Sequence[str], *, given: str = "") -> None:
    """Run uv in the checkout; `given` is its standard input.

    Raises
    ------
    SystemExit
        It failed, and has said why.
    """
    command = [str(Path(sys.executable).with_name("uv")), *arguments]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=_environment(), input=given, text=True
    )
    if done.returncode != 0:
        raise SystemExit(done.returncode)


def _environment() -> dict[str, str]:
    show = [sys.executable, "-m", "pip", "config", "list"]
    config = subprocess.run(show, stdout=subprocess.PIPE, text=True, check=True).stdout
    own = {"UV_PYTHON_DOWNLOADS": "never", "SKIP_JUPYTER_BUILDER": "1"}
    return {**own, **translated(config), **os.environ}


def translated(config: str) -> dict[str, str]:
    """Return the variables that tell uv what `pip config list` says of the index."""
    found: dict[str, str] = {}
    for wanted in SECTIONS:
        for line in config.splitlines():
            key, _, value = line.partition("=")
            section, _, name = key.partition(".")
            if section == wanted and name in SAME:
                found[SAME[name]] = " ".join(str(ast.literal_eval(value)).split())
    return found
