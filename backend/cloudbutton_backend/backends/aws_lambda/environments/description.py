"""What an environment would consist of, in words, without building it or asking AWS."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from cloudbutton_backend.backends.aws_lambda.environments.layer_build import find_built
from cloudbutton_backend.backends.aws_lambda.environments.package_lock import (
    EnvironmentLock,
    LocalPackages,
    glibc_of,
    lock_for,
)
from cloudbutton_backend.backends.aws_lambda.runtimes import Platform
from cloudbutton_backend.errors import CloudError


def describe_environment(imports: Iterable[str], where: Platform) -> str:
    """Return what functions on `where` need beside the code itself, for `%cloud explain`.

    Parameters
    ----------
    imports
        Import names of the installed packages that the code uses: `CaptureReport.packages`.
    """
    try:
        lock = lock_for(imports, where)
    except CloudError as error:
        return f"On Lambda: {error}"
    if lock is None:
        return f"On Lambda ({where}): no packages needed."
    lines = [f"On Lambda ({where}):", packages_table(lock), _state(lock), *_doubts(lock)]
    return "\n".join(lines)


def packages_table(lock: EnvironmentLock) -> str:
    """Return a line per package: its version, and where it comes from."""
    width = max(len(pin.name) for pin in lock.pins)
    long = max(len(pin.version) for pin in lock.pins)
    how = {"copied": "Python only, copied from here", "wheel": "compiled, from a wheel"}
    return "\n".join(
        f"  {pin.name:<{width}}  {pin.version:<{long}}  {how[pin.origin]}" for pin in lock.pins
    )


def _doubts(lock: EnvironmentLock) -> list[str]:
    """Say which packages were installed here from wheels that would not load there."""
    if find_built(lock) is not None:
        return []
    there = lock.platform.glibc
    needs = {
        str(pin): glibc
        for pin in lock.pins
        if pin.origin == "wheel"
        and (glibc := glibc_of(LocalPackages(metadata.distribution(pin.name)).tags)) is not None
        and glibc > there
    }
    if not needs:
        return []
    newest = max(needs.values())
    python = lock.platform.python
    return [
        f"Note: the wheels installed here of {', '.join(needs)} load with glibc {_dotted(newest)} or later; "
        f"Lambda's Python {python} has {_dotted(there)}. Unless there are others, building will fail and say "
        f"which versions fit."
    ]


def _dotted(glibc: tuple[int, int]) -> str:
    return f"{glibc[0]}.{glibc[1]}"


def _state(lock: EnvironmentLock) -> str:
    built = find_built(lock)
    name = lock.hash[:12]
    if built is None:
        return f"Environment {name}: not built here yet; that is done once, at the first run."
    how = "a layer" if built.as_layer else "fetched when a function starts"
    return f"Environment {name}: {built.nbytes / 1e6:.1f} MB, {built.unpacked / 1e6:.1f} MB unpacked, {how}."
