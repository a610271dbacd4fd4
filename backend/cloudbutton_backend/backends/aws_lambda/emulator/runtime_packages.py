"""The packages that Lambda's own Python has beside the standard library, gathered in one folder.

Code in an emulated environment must not find what happens to be installed here. So it runs with a
path made by hand, on which this folder of links stands for Lambda's `/var/runtime`.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import Final

from cloudbutton_backend.errors import MissingExtra

#: What AWS's images for Python contain: the runtime client, boto3, and what these two need.
PACKAGES: Final = (
    "awslambdaric",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "runtime_client",
    "s3transfer",
    "simplejson",
    "six",
    "snapshot_restore_py",
    "urllib3",
)


def gather(folder: Path) -> None:
    """Fill `folder` with links to the runtime's packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise MissingExtra("The Lambda emulator", "emulator", [name])
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)


def make_interpreter(path: Path) -> None:
    """Write a command that runs Python without what is installed for it, for child processes.

    A Python started by a handler finds its path in PYTHONPATH, as in Lambda.
    """
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(interpreter())} -S "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def interpreter() -> str:
    """Return the interpreter without a virtual environment around it."""
    found = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(found)


def runtime_name() -> str:
    """Return the one Lambda runtime that can be emulated here: this Python's."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"
