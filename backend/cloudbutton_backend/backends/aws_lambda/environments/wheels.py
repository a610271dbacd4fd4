"""Gets wheels for another platform, with the user's own pip and its configuration."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from packaging.version import InvalidVersion, Version

from cloudbutton_backend.backends.aws_lambda.environments.package_lock import PinnedPackage
from cloudbutton_backend.backends.aws_lambda.resource_names import ARCHS
from cloudbutton_backend.backends.aws_lambda.runtimes import RUNTIMES, Platform
from cloudbutton_backend.errors import PackagesDoNotFit

#: Seconds for a download, which may be half a gigabyte over a slow line, and for asking which there are.
_DOWNLOAD_WITHIN: Final = 1800.0
_ASK_WITHIN: Final = 60.0
_FROM_VERSIONS: Final = re.compile(r"\(from versions: ([^)]*)\)")
_NONE_FITS: Final = re.compile(
    r"(?:No matching distribution found for|requirement) (?P<name>[\w.-]+)==", re.I
)


@dataclass(frozen=True)
class PipResult:
    """The result of a run of pip."""

    code: int
    text: str


Pip = Callable[[Sequence[str], float], PipResult]


def run_pip(arguments: Sequence[str], seconds: float) -> PipResult:
    """Run pip in this Python, as the user has configured it."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return PipResult(1, f"pip had not finished after {seconds:g} s")
    return PipResult(done.returncode, done.stdout)


def download(
    pins: Sequence[PinnedPackage], where: Platform, folder: Path, pip: Pip = run_pip
) -> list[Path]:
    """Put wheels of exactly these versions into `folder`, and return their paths.

    Raises
    ------
    PackagesDoNotFit
        There is no wheel of some of them for the platform; each is named, with what fits.
    """
    if not pins:
        return []
    answer = pip(
        ["download", *_for(where), "--dest", str(folder), *map(_exact, pins)], _DOWNLOAD_WITHIN
    )
    if answer.code == 0:
        return sorted(folder.glob("*.whl"))
    if "No module named pip" in answer.text:
        raise PackagesDoNotFit(
            f"Packages for Lambda are fetched with pip, which this Python ({sys.executable}) does not have: "
            f"`{sys.executable} -m ensurepip`, or `uv pip install pip`."
        )
    problems = [problem for pin in pins if (problem := _problem(pin, where, folder, pip))]
    if not problems:
        problems = [f"pip failed:\n{_tail(answer.text)}"]
    raise PackagesDoNotFit(
        f"No environment for {where} can be made of what is installed here.\n" + "\n".join(problems)
    )


def nearest(wanted: str, versions: Sequence[str]) -> str | None:
    """Return the version next to the one that is wanted: the newest before it, else the oldest after.

    Pure. A release is taken in preference to a pre-release.
    """
    known = [version for each in versions if (version := _version(each)) is not None]
    known = [each for each in known if not each.is_prerelease] or known
    target = _version(wanted)
    if target is None or not known:
        return None
    before = [each for each in known if each <= target]
    return str(max(before) if before else min(known))


def _problem(pin: PinnedPackage, where: Platform, folder: Path, pip: Pip) -> str | None:
    """Return why a package cannot be had, in words; None if it can."""
    answer = pip(["download", *_for(where), "--dest", str(folder), _exact(pin)], _DOWNLOAD_WITHIN)
    if answer.code == 0:
        return None
    if not _NONE_FITS.search(answer.text):
        return f"  {pin}: pip failed: {_tail(answer.text, 3)}"
    found = _FROM_VERSIONS.search(answer.text)
    versions = [each.strip() for each in found[1].split(",")] if found else []
    choices = list(_choices(pin, where, versions, pip))
    advice = "; ".join(choices) or "ask its authors for one, or leave it out of the code"
    return f"  {pin} has no wheel for {where}: {advice}."


def _choices(pin: PinnedPackage, where: Platform, versions: Sequence[str], pip: Pip) -> list[str]:
    choices = []
    close = nearest(pin.version, versions)
    if close is not None:
        choices.append(f"{pin.name} {close} has one (`pip install {pin.name}=={close}`)")
    for arch in ARCHS:
        if arch != where.arch and _exists(pin, replace(where, arch=arch), pip):
            choices.append(f"on {arch} it has one (`--arch {arch}`)")
    newer = [each for each in RUNTIMES if each.glibc > where.glibc]
    if newer and _exists(pin, replace(where, glibc=newer[0].glibc), pip):
        choices.append(
            f"its wheels need a newer system than that of Lambda's Python {where.python}: they fit with a "
            f"notebook on Python {newer[0].python} or later"
        )
    return choices


def _exists(pin: PinnedPackage, where: Platform, pip: Pip) -> bool:
    with tempfile.TemporaryDirectory(prefix="cloudbutton-") as nowhere:
        arguments = ["install", "--dry-run", "--target", nowhere, *_for(where), _exact(pin)]
        return pip(arguments, _ASK_WITHIN).code == 0


def _for(where: Platform) -> list[str]:
    tags = [part for tag in where.tags for part in ("--platform", tag)]
    return ["--no-deps", "--only-binary", ":all:", "--implementation", "cp",
            "--python-version", where.python, *tags]  # fmt: skip


def _exact(pin: PinnedPackage) -> str:
    return f"{pin.name}=={pin.version}"


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _tail(text: str, lines: int = 10) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
