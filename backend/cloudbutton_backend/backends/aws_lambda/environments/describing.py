"""What an environment would consist of, in words, without building it or asking AWS."""

from __future__ import annotations

from collections.abc import Iterable

from cloudbutton_backend.backends.aws_lambda.environments.building import find_built
from cloudbutton_backend.backends.aws_lambda.environments.locking import Lock, lock_for
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
    return f"On Lambda ({where}):\n{packages_table(lock)}\n{_state(lock)}"


def packages_table(lock: Lock) -> str:
    """Return a line per package: its version, and where it comes from."""
    width = max(len(pin.name) for pin in lock.pins)
    long = max(len(pin.version) for pin in lock.pins)
    how = {"copied": "Python only, copied from here", "wheel": "compiled, from a wheel"}
    return "\n".join(
        f"  {pin.name:<{width}}  {pin.version:<{long}}  {how[pin.origin]}" for pin in lock.pins
    )


def _state(lock: Lock) -> str:
    built = find_built(lock)
    name = lock.hash[:12]
    if built is None:
        return f"Environment {name}: not built here yet; that is done once, at the first run."
    how = "a layer" if built.as_layer else "fetched when a function starts"
    return f"Environment {name}: {built.nbytes / 1e6:.1f} MB, {built.unpacked / 1e6:.1f} MB unpacked, {how}."
