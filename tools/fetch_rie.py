"""Fetches AWS's Lambda Runtime Interface Emulator, which tests compare ours with.

It is a program inside the wheel of aws-sam-cli, whose many dependencies are not needed: the wheel is
fetched alone, from wherever pip gets packages, in the version that constraints.txt names, and the program
goes to `share/cloudbutton` of this environment. Run it with the environment's Python:
`.venv/bin/python tools/fetch_rie.py`.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
WHERE = Path(sys.prefix) / "share" / "cloudbutton" / "aws-lambda-rie"
VERSION = WHERE.with_suffix(".version")
"""The release of aws-sam-cli that the program there is of."""
MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}


def main() -> int:
    """Fetch it, unless it is there."""
    (version,) = re.findall(
        r"^aws-sam-cli==(\S+)$", CONSTRAINTS.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    if WHERE.exists() and VERSION.exists() and VERSION.read_text(encoding="utf-8") == version:
        return 0
    machine = MACHINES.get(platform.machine())
    if machine is None or not sys.platform.startswith("linux"):
        print("AWS has no Runtime Interface Emulator for this machine.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps"]
        command += ["--only-binary=:all:", "--disable-pip-version-check", "-d", folder]
        if subprocess.call([*command, f"aws-sam-cli=={version}"]) != 0:
            return 1
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            program = opened.read(f"samcli/local/rapid/aws-lambda-rie-{machine}")
    WHERE.parent.mkdir(parents=True, exist_ok=True)
    new = WHERE.with_suffix(".new")
    new.write_bytes(program)
    new.chmod(0o755)
    new.replace(WHERE)  # never half of it
    VERSION.write_text(version, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
