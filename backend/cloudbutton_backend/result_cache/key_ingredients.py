"""The ingredients of cache keys beside the item."""

from __future__ import annotations

import hashlib
import platform
import sys
from dataclasses import dataclass, field
from typing import Any, Final

from cloudbutton_backend.capture.content_digest import Unkeyable, content_of
from cloudbutton_backend.capture.distributions import Distribution
from cloudbutton_backend.result_cache.code_versions import needed_by, versions_of

_VERSION: Final = 1
"""Of how keys are made: another one finds nothing of before."""


@dataclass(frozen=True, kw_only=True)
class KeyIngredients:
    """The ingredients that all keys of a job share."""

    code: str
    """SHA-256, in hex, of the function, all values that its code uses, and what this process has set."""
    python: str
    machine: str
    packages: tuple[Distribution, ...]
    """The distributions behind what the code imports."""
    beneath: tuple[Distribution, ...]
    """What those need, directly or not."""
    draws: bool
    """Whether the code names `cloud.rng`: then its seed and the item's place in the list count, too."""
    seed: int | None
    """The seed that was chosen; None if it was drawn, so that it comes never again."""
    classes: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """cloudpickle's ids, in this kernel, of the notebook's classes in the code: no part of the key."""

    def digest(self) -> bytes:
        """Return what stands for all of them in a key, but for the seed."""
        plain = (
            _VERSION,
            self.code,
            self.python,
            self.machine,
            [tuple(each) for each in self.packages],
            [tuple(each) for each in self.beneath],
        )
        return hashlib.sha256(repr(plain).encode()).digest()

    def lines(self) -> list[str]:
        """Return them in words."""
        packages = ", ".join(f"{name} {version}" for name, version in self.packages) or "none"
        if self.beneath:
            packages += f", and {len(self.beneath)} that they need"
        lines = [
            f"code and captured values: {self.code[:16]}",
            f"Python: {self.python} on {self.machine}",
            f"packages: {packages}",
            "the item: its content",
        ]
        if self.draws and self.seed is None:
            lines.append("seed: a new one each time, so nothing is found; choose one with `seed=`")
        elif self.draws:
            lines.append(f"seed: {self.seed}, and the item's place in the list (the code uses rng)")
        lines.append(
            "not looked at: files, the network, the clock, environment variables;"
            " nor generators without a seed, whose numbers come back as they were"
        )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON-able data."""
        return {
            "code": self.code,
            "python": self.python,
            "machine": self.machine,
            "packages": {each.name: each.version for each in self.packages},
            "beneath": {each.name: each.version for each in self.beneath},
            "draws": self.draws,
            "seed": self.seed if self.draws else None,
        }


def ingredients_of(code: Any, seed: int | None) -> KeyIngredients:
    """Return the ingredients for results of `code`.

    Raises
    ------
    Unkeyable
        The function or a value that it uses has no content that could be told.
    """
    content = content_of(code)
    if content_of(code).digest != content.digest:
        raise Unkeyable("it is pickled differently each time")
    packages = versions_of(content.packages)
    python, machine = platform_here()
    return KeyIngredients(
        code=content.digest.hex(),
        python=python,
        machine=machine,
        packages=packages,
        beneath=needed_by(packages),
        draws=content.draws,
        seed=seed,
        classes=content.classes,
    )


def platform_here() -> tuple[str, str]:
    """Return the kind and minor version of this Python, and the kind of machine."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"{platform.python_implementation()} {version}", platform.machine()
