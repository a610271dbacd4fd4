"""Claims about constraints.txt: it settles each version on every platform, and no registry."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if not line.startswith("#")]

#: Installed by hand only, as they are so large.
UNPINNED_EXTRAS = {"peers"}

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS = (("linux", "Linux", "posix"), ("darwin", "Darwin", "posix"), ("win32", "Windows", "nt"))


def _required() -> Iterator[Requirement]:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    named = [extras[name] for name in extras if name not in UNPINNED_EXTRAS]
    for text in itertools.chain(
        PROJECT["build-system"]["requires"], project["dependencies"], *named
    ):
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            yield requirement


REQUIRED = sorted({str(requirement) for requirement in _required()})


def _environments() -> Iterator[dict[str, str]]:
    for python, (platform, system, name) in itertools.product(PYTHONS, PLATFORMS):
        yield {
            "python_version": python,
            "python_full_version": f"{python}.9",
            "sys_platform": platform,
            "platform_system": system,
            "os_name": name,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
        }


def _holds(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize("text", REQUIRED)
def test_what_pyproject_requires_is_pinned_once_on_every_python_and_platform(text: str) -> None:
    required = Requirement(text)
    for environment in _environments():
        if not _holds(required, environment):
            continue
        versions = [
            next(iter(pin.specifier)).version
            for pin in PINS
            if canonicalize_name(pin.name) == canonicalize_name(required.name)
            and _holds(pin, environment)
        ]
        assert len(versions) == 1, environment
        assert required.specifier.contains(versions[0], prereleases=True), (
            f"{text} does not admit {versions[0]}: `make constraints ARGS=--keep`"
        )


def test_each_line_names_a_version_and_nothing_else() -> None:
    line = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.+]*( ; [a-z0-9_.*<>=!' ]+)?", flags=re.IGNORECASE)
    assert [each for each in LINES if not each.startswith("#") and not line.fullmatch(each)] == []
