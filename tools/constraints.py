"""Writes constraints.txt: the exact versions that the commands of the Makefile install.

`make constraints` takes the newest release of each package that pyproject.toml admits, for every Python and
platform that we support; `make constraints ARGS=--keep` changes only what pyproject.toml requires to change.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from resolver import ROOT, uv

FILE = ROOT / "constraints.txt"
OLDEST_PYTHON = "3.10"

#: What an editable installation is built with, beside what pyproject.toml names.
BUILT_WITH = ("editables",)
#: Tools that are installed without their dependencies, which must not decide about ours.
ALONE = ("aws-sam-cli", "uv")

HEADER = """\
# The exact versions that the commands of the Makefile install, on every Python and platform.
# `make constraints` writes this file anew, with the newest releases; CONTRIBUTING.md says when.
"""


def main() -> None:
    """Resolve, and replace the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the versions that still fit")
    keep = parser.parse_args().keep
    needed = _resolved("\n".join(BUILT_WITH), ["--extra", "dev", "pyproject.toml"], keep)
    alone = _resolved("\n".join(ALONE), ["--no-deps"], keep)
    lines = sorted(needed + alone, key=lambda line: line.partition("==")[0])
    FILE.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


def _resolved(requirements: str, more: list[str], keep: bool) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / FILE.name
        if keep:  # of a file that is there uv keeps what it can
            shutil.copyfile(FILE, output)
        command = ["pip", "compile", "--quiet", "--universal", "--python-version", OLDEST_PYTHON]
        command += ["--no-header", "--no-annotate", "--output-file", str(output), *more, "-"]
        uv(command, given=requirements)
        return output.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    main()
