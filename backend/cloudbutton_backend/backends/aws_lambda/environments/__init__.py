"""The packages that code imports, as environments for Lambda: locked, built once, deployed, described."""

from cloudbutton_backend.backends.aws_lambda.environments.ensure import (
    deploy_environment,
    describe_environment,
    ensure_environment,
    packages_table,
)
from cloudbutton_backend.backends.aws_lambda.environments.layer_build import (
    BuiltEnvironment,
    build,
    by_hash,
    find_built,
    known,
    prune,
)
from cloudbutton_backend.backends.aws_lambda.environments.package_lock import (
    EnvironmentLock,
    PinnedPackage,
    lock_distributions,
    lock_for,
    read_lock,
)

__all__ = [
    "BuiltEnvironment",
    "EnvironmentLock",
    "PinnedPackage",
    "build",
    "by_hash",
    "deploy_environment",
    "describe_environment",
    "ensure_environment",
    "find_built",
    "known",
    "lock_distributions",
    "lock_for",
    "packages_table",
    "prune",
    "read_lock",
]
