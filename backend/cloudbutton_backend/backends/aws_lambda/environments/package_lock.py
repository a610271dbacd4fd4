"""Locks the packages that code imports: exact versions of all that they need, as a value."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from cloudbutton_backend.backends.aws_lambda.runtimes import Platform
from cloudbutton_backend.capture.distributions import distributions
from cloudbutton_backend.errors import PackagesDoNotFit, UsageError

Origin = Literal["copied", "wheel"]

FORMAT: Final = 1
"""Of what is built from a lock: another one makes other hashes."""

#: In each function's own archive, in the version of the notebook.
_IN_EVERY_FUNCTION: Final = frozenset({"cloudpickle"})


@dataclass(frozen=True, order=True)
class PinnedPackage:
    """One distribution in one version."""

    name: str
    version: str
    origin: Origin
    """`copied` from the installation here, where it is Python only; a `wheel` for the platform else."""
    digest: str = ""
    """Of what is installed, for what is copied."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class EnvironmentLock:
    """The exact contents of an environment."""

    platform: Platform
    pins: tuple[PinnedPackage, ...]
    """By name."""

    @property
    def hash(self) -> str:
        """The environment's name, as 64 hexadecimal digits: the same pins, the same name."""
        text = json.dumps([FORMAT, self.to_dict()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data, which `from_dict` reads."""
        return {"platform": asdict(self.platform), "pins": [asdict(pin) for pin in self.pins]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EnvironmentLock:
        """Return the lock that `to_dict` has written."""
        found = data["platform"]
        where = Platform(
            python=found["python"], arch=found["arch"], glibc=(found["glibc"][0], found["glibc"][1])
        )
        return cls(where, tuple(PinnedPackage(**pin) for pin in data["pins"]))


class Installed(Protocol):
    """An installed distribution."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def requires(self) -> Sequence[str]: ...

    @property
    def is_pure(self) -> bool:
        """Whether it is Python only, so that what is installed here runs anywhere."""

    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class LocalPackages:
    """A distribution that is installed here."""

    source: metadata.Distribution = field(compare=False)

    @property
    def name(self) -> str:
        return str(self.source.metadata["Name"])

    @property
    def version(self) -> str:
        return self.source.version

    @property
    def requires(self) -> Sequence[str]:
        return self.source.requires or ()

    @property
    def is_pure(self) -> bool:
        return bool(self.tags) and all(tag.endswith("-none-any") for tag in self.tags)

    @property
    def tags(self) -> list[str]:
        """The tags of the wheel that it was installed from."""
        return re.findall(r"^Tag: (\S+)", self.source.read_text("WHEEL") or "", re.M)

    @property
    def is_editable(self) -> bool:
        found = json.loads(self.source.read_text("direct_url.json") or "{}")
        return bool(found.get("dir_info", {}).get("editable"))

    @property
    def digest(self) -> str:
        """The digest of the list of its files, which has a digest of each."""
        kept = [line for line in (self.source.read_text("RECORD") or "").splitlines()
                if "__pycache__" not in line and ".dist-info/" not in line]  # fmt: skip
        return hashlib.sha256("\n".join(sorted(kept)).encode()).hexdigest()


def lock_for(imports: Iterable[str], where: Platform) -> EnvironmentLock | None:
    """Return the lock of what code needs that imports these packages; None if that is nothing.

    Parameters
    ----------
    imports
        Import names, as a capture report lists them.

    Raises
    ------
    PackagesDoNotFit
        Something that is needed there is not installed here, so that its version is unknown.
    """
    return lock_distributions([each.name for each in distributions(imports)], where)


def lock_distributions(names: Iterable[str], where: Platform) -> EnvironmentLock | None:
    """Return the lock of these distributions (`scikit-learn`) and all that they require."""
    installed: dict[str, LocalPackages] = {
        canonicalize_name(each.metadata["Name"]): LocalPackages(each)
        for each in metadata.distributions()
        if each.metadata["Name"]
    }
    for name in names:
        if canonicalize_name(name) not in installed:
            raise UsageError(
                f"There is no package `{name}` installed here; `pip list` shows which are."
            )
    editable = {name for name, each in installed.items() if each.is_editable}
    pins = closure(names, installed, markers_of(where), by_value=editable)
    return EnvironmentLock(where, pins) if pins else None


def closure(
    names: Iterable[str],
    installed: Mapping[str, Installed],
    there: Mapping[str, str],
    *,
    by_value: Iterable[str] = (),
) -> tuple[PinnedPackage, ...]:
    """Return pins for these distributions and for what they require where markers are as `there`.

    Pure. Those in `by_value` are the user's own and travel as code; what they require is needed too.
    """
    left_out = _IN_EVERY_FUNCTION | {canonicalize_name(name) for name in by_value}
    found: dict[str, PinnedPackage] = {}
    queue = deque((canonicalize_name(name), frozenset[str](), "the code") for name in names)
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        name, extras, wanted_by = queue.popleft()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in installed:
            raise PackagesDoNotFit(
                f"{wanted_by} requires {name} on Linux, which is not installed here, so its version is "
                f"unknown. Install it here too: `pip install {name}`."
            )
        each = installed[name]
        if name not in left_out:
            found[name] = _pin(each)
        for requirement in _required(each, extras, there):
            required = canonicalize_name(requirement.name)
            # Not here either, though it should be: then the code does without it.
            if required in installed or not _is_wanted(requirement, extras, _HERE):
                queue.append((required, frozenset(requirement.extras), str(each.name)))
    return tuple(sorted(found.values()))


def glibc_of(tags: Iterable[str]) -> tuple[int, int] | None:
    """Return the oldest glibc that a wheel with these tags loads with; None if they do not say. Pure."""
    versions = [
        (int(major), int(minor))
        for tag in tags
        for major, minor in re.findall(r"manylinux_(\d+)_(\d+)_", tag)
    ]
    versions += [(2, 17) for tag in tags if "manylinux2014" in tag]
    return min(versions, default=None)


def markers_of(where: Platform) -> dict[str, str]:
    """Return what environment markers (`sys_platform == "linux"`) are compared with on a platform."""
    machine = "aarch64" if where.arch == "arm64" else "x86_64"
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{where.python}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{where.python}.99",
        "python_version": where.python,
        "sys_platform": "linux",
    }


#: Of this machine, in those respects in which it may differ from Lambda.
_HERE: Final = {
    **markers_of(Platform.here()),
    "os_name": "nt" if sys.platform == "win32" else "posix",
    "platform_machine": platform.machine(),
    "platform_system": platform.system(),
    "sys_platform": sys.platform,
}


def _pin(each: Installed) -> PinnedPackage:
    name = canonicalize_name(each.name)
    if each.is_pure:
        return PinnedPackage(name, each.version, "copied", each.digest)
    return PinnedPackage(name, each.version, "wheel")


def _required(
    each: Installed, extras: frozenset[str], there: Mapping[str, str]
) -> Iterator[Requirement]:
    for text in each.requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # in old packages' metadata; pip passes over them as well
            continue
        if _is_wanted(requirement, extras, there):
            yield requirement


def _is_wanted(requirement: Requirement, extras: frozenset[str], there: Mapping[str, str]) -> bool:
    marker: Marker | None = requirement.marker
    if marker is None:
        return True
    return any(marker.evaluate({**there, "extra": extra}) for extra in ("", *sorted(extras)))


def read_lock(path: Path) -> EnvironmentLock:
    """Return the lock in a file."""
    return EnvironmentLock.from_dict(json.loads(path.read_text(encoding="utf-8")))
