"""The Pythons that Lambda runs, until when, and which wheels fit them: a table, and looking in it."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from datetime import date
from typing import Final

from cloudbutton_backend.backends.aws_lambda.resource_names import Arch
from cloudbutton_backend.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """One of Lambda's managed Python runtimes."""

    python: str
    system: str
    glibc: tuple[int, int]
    """Of that system: newer wheels do not load there."""
    deprecated: date
    """From then on AWS no longer patches it; it goes on running."""
    closed: date | None = None
    """From then on no function can be made with it, as far as that has been announced."""


#: From https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html as of 2026-07-25 (read in
#: copies of that page), the day on which 3.10 closes from AWS's letter to its users of 2026-04-28.
#: Python 3.15 was a public preview then, due in November 2026. glibc: Amazon Linux 2 has 2.26 and Amazon
#: Linux 2023 has 2.34.
RUNTIMES: Final = (
    Runtime(
        python="3.10",
        system="Amazon Linux 2",
        glibc=(2, 26),
        deprecated=date(2026, 10, 31),
        closed=date(2027, 2, 1),
    ),
    Runtime(python="3.11", system="Amazon Linux 2", glibc=(2, 26), deprecated=date(2027, 6, 30)),
    Runtime(
        python="3.12", system="Amazon Linux 2023", glibc=(2, 34), deprecated=date(2028, 10, 31)
    ),
    Runtime(python="3.13", system="Amazon Linux 2023", glibc=(2, 34), deprecated=date(2029, 6, 30)),
    Runtime(python="3.14", system="Amazon Linux 2023", glibc=(2, 34), deprecated=date(2029, 6, 30)),
)
READ: Final = date(2026, 7, 25)
"""The state of AWS's page that the table shows."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A platform that wheels must fit."""

    python: str
    arch: Arch
    glibc: tuple[int, int]

    @classmethod
    def on_lambda(cls, python: str, arch: Arch) -> Platform:
        """Return that of Lambda's runtime for `python`."""
        return cls(python=python, arch=arch, glibc=runtime_for(python).glibc)

    @classmethod
    def here(cls) -> Platform:
        """Return that of this machine, for the emulator, whose functions run on it."""
        machine: Arch = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
        major, _, minor = platform.libc_ver()[1].partition(".")
        known = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (2, 17)
        return cls(python=notebook_python(), arch=machine, glibc=known)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of wheels that fit, as pip takes them; pure wheels always fit."""
        machine = "aarch64" if self.arch == "arm64" else "x86_64"
        major, newest = self.glibc
        # The new form of the tags, down to the glibc of the first that had it, and the old names.
        versions = [f"manylinux_{major}_{minor}_{machine}" for minor in range(newest, 4, -1)]
        older = ["manylinux2014", "manylinux2010", "manylinux1"]
        return (*versions, *(f"{name}_{machine}" for name in older))

    def __str__(self) -> str:
        return f"Python {self.python} on {self.arch}, glibc {self.glibc[0]}.{self.glibc[1]}"


def notebook_python() -> str:
    """Return the minor version of this process's Python, which is that of the notebook."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def runtime_identifier(python: str) -> str:
    """Return the identifier of a Python's runtime in requests, supported or not."""
    return f"python{python}"


def runtime_for(python: str, today: date | None = None) -> Runtime:
    """Return Lambda's runtime for a minor version of Python.

    Raises
    ------
    UsageError
        It has none, or none any more; the error names those it has.
    """
    today = today or date.today()
    usable = [each for each in RUNTIMES if each.closed is None or each.closed > today]
    found = next((each for each in usable if each.python == python), None)
    if found is not None:
        return found
    choices = ", ".join(each.python for each in usable)
    raise UsageError(
        f"Lambda has no runtime for new functions with Python {python}, which this notebook runs on; it "
        f"has {choices} (as of {max(READ, today) if today < READ else READ}). Bytecode and packages differ "
        f"between versions, so the notebook's must be one of them: start it in an environment with one of "
        f"these, for instance `conda create -n cloud python={usable[-1].python}`, or use another backend."
    )
