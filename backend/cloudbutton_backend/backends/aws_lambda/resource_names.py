"""Names and ARNs of everything on AWS: they follow from a `DeploymentTarget`, so nothing is looked up."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from cloudbutton_backend.errors import UsageError

Arch = Literal["arm64", "x86_64"]

ARCHS: Final[tuple[Arch, ...]] = ("arm64", "x86_64")
PREFIX: Final = "cloudbutton"
MEMORY: Final = 1769
"""MiB that come with one whole vCPU."""
LEAST_MEMORY, MOST_MEMORY = 128, 10_240
ENVIRONMENT_DIGITS: Final = 12
"""Of an environment's hash, in the names of the function and the layer that it is made for."""
TAG: Final = "cloudbutton:version"
"""Everything that we make carries it; what does not is left alone."""

# A function's name has room for 64 characters and a bucket's for 63. The longest region's name leaves
# a bucket 35 of them for the prefix, the longest ending leaves a function 30.
_PREFIX: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,26}[a-z0-9])?")
_FUNCTION: Final = re.compile(
    r"(?P<prefix>.+?)-py(?P<python>\d{2,3})-(?P<arch>arm64|x86_64)-(?P<memory>\d+)"
    r"(?:-(?P<environment>[0-9a-f]{12}))?"
)


@dataclass(frozen=True, kw_only=True)
class DeploymentTarget:
    """One function: where it is, what it runs on, and what packages it has."""

    prefix: str = PREFIX
    account: str
    region: str
    arch: Arch = "x86_64"
    python: str
    """As `3.11`."""
    memory: int = MEMORY
    """MiB."""
    environment: str | None = None
    """The hash of the packages' lock, or its first digits; None: nothing but what the runtime has."""

    def __post_init__(self) -> None:
        require_prefix(self.prefix)
        if self.arch not in ARCHS:
            raise UsageError(
                f"Lambda has no architecture `{self.arch}`; it has {' and '.join(ARCHS)}."
            )
        if not LEAST_MEMORY <= self.memory <= MOST_MEMORY:
            raise UsageError(
                f"Lambda gives a function {LEAST_MEMORY} to {MOST_MEMORY:,} MiB of memory, "
                f"not {self.memory:,}."
            )

    @property
    def function(self) -> str:
        """The function's name."""
        environment = f"-{self.environment[:ENVIRONMENT_DIGITS]}" if self.environment else ""
        return (
            f"{self.prefix}-py{self.python.replace('.', '')}-{self.arch}-{self.memory}{environment}"
        )

    @property
    def function_arn(self) -> str:
        return f"{_arn(self, 'lambda')}:function:{self.function}"

    @property
    def layer(self) -> str | None:
        """The layer that carries the environment: one for all memory sizes."""
        if not self.environment:
            return None
        digits = self.environment[:ENVIRONMENT_DIGITS]
        return f"{self.prefix}-py{self.python.replace('.', '')}-{self.arch}-{digits}"

    @property
    def bucket(self) -> str:
        return f"{self.prefix}-{self.account}-{self.region}"

    @property
    def bucket_arn(self) -> str:
        return f"arn:{partition(self.region)}:s3:::{self.bucket}"

    @property
    def role(self) -> str:
        """The execution role. IAM knows no regions, so the name does."""
        return f"{self.prefix}-worker-{self.region}"

    @property
    def role_arn(self) -> str:
        return f"arn:{partition(self.region)}:iam::{self.account}:role/{self.role}"

    @property
    def log_group(self) -> str:
        """One for all functions of a prefix."""
        return f"/aws/lambda/{self.prefix}"

    @property
    def log_group_arn(self) -> str:
        return f"{_arn(self, 'logs')}:log-group:{self.log_group}"

    def with_(self, **changes: Any) -> DeploymentTarget:
        """Return the target with some of it changed."""
        return replace(self, **changes)


def parse_function(name: str, *, account: str, region: str) -> DeploymentTarget | None:
    """Return the target whose function has that name; None if the function is not ours."""
    match = _FUNCTION.fullmatch(name)
    if match is None or not _PREFIX.fullmatch(match["prefix"]):
        return None
    memory = int(match["memory"])
    if not LEAST_MEMORY <= memory <= MOST_MEMORY:
        return None
    arch: Arch = "arm64" if match["arch"] == "arm64" else "x86_64"
    return DeploymentTarget(
        prefix=match["prefix"],
        account=account,
        region=region,
        arch=arch,
        python=f"{match['python'][0]}.{match['python'][1:]}",
        memory=memory,
        environment=match["environment"],
    )


def require_prefix(prefix: str) -> str:
    """Return `prefix` if names can begin with it.

    Raises
    ------
    UsageError
        AWS would not accept names with it.
    """
    if _PREFIX.fullmatch(prefix):
        return prefix
    raise UsageError(
        f"Names on AWS cannot begin with `{prefix}`: use at most 28 small letters, digits and "
        f"hyphens, with a letter or digit at both ends."
    )


def job_prefix(job_id: str) -> str:
    """Return what the keys of a job's objects begin with; they expire after days."""
    return f"jobs/{job_id}/"


def blob_key(sha256: str) -> str:
    """Return the key of a captured value."""
    return f"blobs/{sha256}"


def environment_key(lock_hash: str) -> str:
    """Return the key of an environment's archive."""
    return f"environments/{lock_hash}.zip"


def partition(region: str) -> str:
    """Return the part of AWS that a region is in, as ARNs name it."""
    for beginning, name in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc")):
        if region.startswith(beginning):
            return name
    return "aws"


def _arn(target: DeploymentTarget, service: str) -> str:
    return f"arn:{partition(target.region)}:{service}:{target.region}:{target.account}"
