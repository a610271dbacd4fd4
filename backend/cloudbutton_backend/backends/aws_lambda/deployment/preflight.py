"""Checks whether jobs can run there: before a job, for `status`, the doctor and the panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment.actual import (
    ActualFunction,
    look_at_function,
)
from cloudbutton_backend.backends.aws_lambda.deployment.planning import drift
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.runtimes import runtime_for
from cloudbutton_backend.errors import CloudError, NotDeployed, NotThere

#: Concurrent calls that AWS gives to new accounts, more or less; older ones have a thousand.
_FEW: Final = 100


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def require_deployed(clients: BotoClients, target: DeploymentTarget) -> ActualFunction:
    """Return the function that jobs on `target` use. One request.

    Raises
    ------
    NotDeployed
        It is not there, or was deployed by another version; the error names the command that helps.
    CloudServiceError
        AWS cannot be asked.
    """
    name = target.function
    actual = look_at_function(clients, target)
    if actual is None:
        raise NotDeployed(_missing(target))
    differs = drift(target, None, actual)
    if "code" in differs or "Handler" in differs:
        raise NotDeployed(
            f"Function {name} in {target.region} was deployed by another version of Cloud Button or "
            f"cloudpickle (its tag says {actual.version or 'nothing'}), and must agree with this one. Bring "
            f"it up to date: `{_command(target)}`. Where colleagues use another version, deploy your own "
            f"with `--prefix`."
        )
    return actual


def health(clients: BotoClients, target: DeploymentTarget) -> Iterator[CheckResult]:
    """Yield findings on what jobs on `target` need; each check may cost one request."""
    looks: dict[str, Callable[[], CheckResult]] = {
        "credentials": lambda: CheckResult("credentials", True, f"account {clients.account}"),
        "runtime": lambda: _runtime(target),
        "function": lambda: _function(clients, target),
        "bucket": lambda: _bucket(clients, target),
        "concurrency": lambda: _concurrency(clients),
    }
    for name, look in looks.items():
        try:
            yield look()
        except CloudError as error:
            yield CheckResult(name, False, str(error))
            if name == "credentials":
                return  # nothing else can be asked


def _runtime(target: DeploymentTarget) -> CheckResult:
    runtime = runtime_for(target.python)
    detail = f"Python {target.python} on {runtime.system}, supported until {runtime.deprecated}"
    return CheckResult("runtime", True, detail)


def _function(clients: BotoClients, target: DeploymentTarget) -> CheckResult:
    actual = require_deployed(clients, target)
    differs = drift(target, None, actual)
    if differs:
        changes = ", ".join(f"{name}: {change}" for name, change in differs.items())
        detail = (
            f"{target.function} was changed by hand ({changes}); `{_command(target)}` repairs it"
        )
        return CheckResult("function", False, detail)
    return CheckResult("function", True, f"{target.function}, version {actual.version}")


def _bucket(clients: BotoClients, target: DeploymentTarget) -> CheckResult:
    about = f"bucket {target.bucket}"
    owned = {"Bucket": target.bucket, "ExpectedBucketOwner": target.account}
    try:
        clients.call("s3", "HeadBucket", about=about, **owned)
    except NotThere as error:
        raise NotDeployed(f"There is no bucket {target.bucket}: `{_command(target)}`.") from error
    return CheckResult("bucket", True, target.bucket)


def _concurrency(clients: BotoClients) -> CheckResult:
    limit = concurrency(clients)
    detail = f"{limit:,} calls at a time in this account and region"
    if limit < _FEW:
        detail += (
            "; ask for more in the console under Service Quotas, AWS Lambda, Concurrent executions"
        )
    return CheckResult("concurrency", True, detail)


def concurrency(clients: BotoClients) -> int:
    """Return how many calls the account may have running at a time in this region."""
    settings = clients.call("lambda", "GetAccountSettings", about="the limits of your account")
    return int(settings["AccountLimit"]["ConcurrentExecutions"])


def _missing(target: DeploymentTarget) -> str:
    if target.environment:
        return (
            f"Nothing is deployed in {target.region} for these packages: function {target.function} is not "
            f"there. Whoever may deploy can make it: `{_command(target)}`."
        )
    return (
        f"Cloud Button is not deployed in {target.region} for Python {target.python} with {target.memory:,} "
        f"MiB on {target.arch}: function {target.function} is not there. Deploy it: `{_command(target)}`."
    )


def _command(target: DeploymentTarget) -> str:
    """Return what to type for a function to be made or brought up to date."""
    if target.environment:
        return f"cloudbutton env build --deploy {target.environment[:12]} --region {target.region}"
    prefix = "" if target.prefix == "cloudbutton" else f" --prefix {target.prefix}"
    return (
        f"cloudbutton deploy lambda --region {target.region} --memory {target.memory} "
        f"--arch {target.arch}{prefix}"
    )
