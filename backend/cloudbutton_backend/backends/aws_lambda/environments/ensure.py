"""From what code imports to a function that has it: built where need be, deployed where one may."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment.apply import Pause, deploy
from cloudbutton_backend.backends.aws_lambda.deployment.desired import DesiredDeployment
from cloudbutton_backend.backends.aws_lambda.deployment.preflight import require_deployed
from cloudbutton_backend.backends.aws_lambda.environments.layer_build import build, remember
from cloudbutton_backend.backends.aws_lambda.environments.package_lock import EnvironmentLock
from cloudbutton_backend.backends.aws_lambda.function_archive import version
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.errors import NotDeployed, NotPermitted

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
    """Build an environment and make functions that have it. As `ensure_environment`, without a look."""
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
