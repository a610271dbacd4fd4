"""Ensures that a function has the imported packages: describes, builds and deploys an environment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment.apply import Pause, deploy
from cloudbutton_backend.backends.aws_lambda.deployment.desired import DesiredDeployment
from cloudbutton_backend.backends.aws_lambda.deployment.preflight import require_deployed
from cloudbutton_backend.backends.aws_lambda.environments.layer_build import (
    build,
    find_built,
    remember,
)
from cloudbutton_backend.backends.aws_lambda.environments.package_lock import (
    EnvironmentLock,
    LocalPackages,
    glibc_of,
    lock_for,
)
from cloudbutton_backend.backends.aws_lambda.function_archive import version
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.runtimes import Platform
from cloudbutton_backend.errors import CloudError, NotDeployed, NotPermitted


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
    """Return which packages were installed here from wheels that would not load there."""
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


Say = Callable[[str], None]


def ensure_environment(
    clients: BotoClients,
    target: DeploymentTarget,
    lock: EnvironmentLock,
    *,
    say: Say = lambda _: None,
    pause: Pause = time.sleep,
) -> DeploymentTarget:
    """Return the target whose function has the packages of `lock`; it is deployed when this returns.

    Where it is deployed already, that takes one request. Else the environment is built and the function
    made, if the user may do so, and `say` is told: the first time takes from seconds to minutes. That
    happens only beside a function that was deployed by the user's own will.

    Raises
    ------
    PackagesDoNotFit
        A package cannot be had for Lambda; the error names what can.
    NotDeployed
        Nothing is deployed, or the user may not make the function; the error says what to do or ask for.
    CloudServiceError
        AWS refused something else, or cannot be reached.
    """
    wanted = target.with_(environment=lock.hash)
    remember(lock)
    try:
        require_deployed(clients, wanted)
    except NotDeployed:
        pass
    else:
        return wanted
    require_deployed(clients, target)
    packages = f"{len(lock.pins)} package{'s' * (len(lock.pins) != 1)}"
    say(f"Preparing {packages} for Lambda, once: {listed(lock)} …")
    deploy_environment(clients, [wanted], lock, pause=pause)
    return wanted


def deploy_environment(
    clients: BotoClients,
    targets: Sequence[DeploymentTarget],
    lock: EnvironmentLock,
    *,
    say: Say = lambda _: None,
    pause: Pause = time.sleep,
) -> None:
    """Build an environment and make functions that have it. As `ensure_environment`, without a check."""
    built = build(lock)
    desired = DesiredDeployment(
        targets=tuple(target.with_(environment=lock.hash) for target in targets),
        version=version(),
        packages=built.packages,
    )
    try:
        deploy(clients, desired, say=say, pause=pause)
    except NotPermitted as error:
        raise NotDeployed(
            f"Nothing is deployed for the packages that this code needs ({listed(lock)}), and your "
            f"credentials may not deploy it: {error.action} is missing. Whoever may can do it once for all: "
            f"`cloudbutton env build --deploy {lock.hash[:12]}` on this machine, or with the file that "
            f"`cloudbutton env build --lock {lock.hash[:12]}` prints, on theirs."
        ) from error


def listed(lock: EnvironmentLock, most: int = 6) -> str:
    """Return the packages of a lock for a line of text."""
    names = [str(pin) for pin in lock.pins]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
