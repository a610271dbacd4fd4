"""Runs tests with other versions of packages than constraints.txt has: the newest, or the lowest.

`make test-newest` and `make test-lowest` run what depends on packages; with `PART=short`, as CI does, what
depends on them most. Each has an environment of its own, `.venv-newest` and `.venv-lowest`, which is
brought up to date first.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from resolver import ROOT, uv

#: How uv is told. The lowest are those of what pyproject.toml names: the bounds of others are theirs.
RESOLUTIONS = {"newest": "highest", "lowest": "lowest-direct"}

#: What depends on packages most: capture, errors, magics, the extension in JupyterLab, AWS's clients.
SHORT = (
    "tests/surfaces",
    "tests/capture",
    "tests/magic/test_cells.py",
    "tests/magic/test_magics.py",
    "tests/magic/test_shown_errors.py",
    "tests/server/test_backends.py",
    "tests/lambda_backend/test_invoking.py",
    "tests/lambda_backend/test_signing.py",
    "tests/lambda_deploy/test_aws_errors.py",
    "tests/e2e/test_button.py::test_pressed_on_an_ordinary_cell_it_leaves_what_the_plain_cell_leaves",
)
#: All that depends on them but for what repeats the same with faults, on other backends or for long.
LONG = (
    "tests/surfaces",
    "tests/capture",
    "tests/corpus",
    "tests/dask_backend/test_jobs.py",
    "tests/dask_graph",
    "tests/display",
    "tests/e2e/test_button.py",
    "tests/e2e/test_panel.py",
    "tests/examples",
    "tests/ext",
    "tests/joblib",
    "tests/lambda_backend/test_calls.py",
    "tests/lambda_backend/test_invoking.py",
    "tests/lambda_backend/test_jobs.py",
    "tests/lambda_backend/test_signing.py",
    "tests/lambda_deploy",
    "tests/lambda_emulator",
    "tests/local",
    "tests/magic",
    "tests/server",
    "tests/test_wheel.py",
)
PARTS = {"short": SHORT, "long": LONG}

#: Old releases warn of new ones of what they use themselves, which is no error of ours.
QUIET = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning", "UserWarning")

EXTENSION = ROOT / "cloudbutton_ext" / "labextension"


def main() -> None:
    """Bring the environment up to date, and run the tests in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=RESOLUTIONS)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("pytest", nargs=argparse.REMAINDER, help="for pytest, instead of the part")
    chosen = parser.parse_args()
    home = ROOT / f".venv-{chosen.which}"
    python = home / "bin" / "python"
    _make_environment(home, python, RESOLUTIONS[chosen.which])
    subprocess.run([python, "tools/fetch_rie.py"], cwd=ROOT, check=True)
    subprocess.run(["tools/install_browser", python], cwd=ROOT, check=True)
    browser = subprocess.run(
        ["tools/browser"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    environment = {**os.environ, "TEST_BROWSER": browser.stdout.strip()}
    command = [python, "-m", "pytest", "-q"]
    if chosen.which == "lowest":
        command += [word for kind in QUIET for word in ("-W", f"default::{kind}")]
    command += chosen.pytest or PARTS[chosen.part]
    code = subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode
    if code != 0:
        print(f"\nThis was with the {chosen.which} versions. Other than in constraints.txt are:\n")
        print("\n".join(_differences(home)) or "none")
    raise SystemExit(code)


def _make_environment(home: Path, python: Path, resolution: str) -> None:
    """Install exactly what a resolution comes to, and the checkout."""
    if not python.exists():
        uv(["venv", "--quiet", "--python", sys.executable, str(home)])
    wanted = home / "requirements.txt"
    # Wheels alone: of packages that have none for this Python, the lowest with one is the lowest.
    uv(
        ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--upgrade",
         "--python", str(python), "--only-binary", ":all:", "--resolution", resolution,
         "--extra", "test", "--output-file", str(wanted), "pyproject.toml", "-"],
        given="pip>=23",  # which builds environments for Lambda
    )  # fmt: skip
    with wanted.open("a", encoding="utf-8") as file:
        file.write("-e .\n")
    # What is in this folder is a copy of ours, and not what an installation has put there.
    extension = home / "share" / "jupyter" / "labextensions" / "cloudbutton"
    shutil.rmtree(extension, ignore_errors=True)
    uv(["pip", "sync", "--quiet", "--python", str(python), str(wanted)])
    shutil.rmtree(extension, ignore_errors=True)
    shutil.copytree(EXTENSION, extension)  # old servers follow no links


def _differences(home: Path) -> Iterator[str]:
    """Yield a line for each package of which constraints.txt does not have the version in use."""
    tested: dict[str, set[str]] = {}
    for name, version in _pins(ROOT / "constraints.txt"):
        tested.setdefault(name, set()).add(version)
    for name, version in _pins(home / "requirements.txt"):
        if name in tested and version not in tested[name]:
            yield f"  {name} {version}, not {' or '.join(sorted(tested[name]))}"


def _pins(path: Path) -> list[tuple[str, str]]:
    text = path.read_text(encoding="utf-8")
    return re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
