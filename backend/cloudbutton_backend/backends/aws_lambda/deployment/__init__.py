"""Deployment on AWS: plan it, print it, apply it, inspect it, remove it."""

from cloudbutton_backend.backends.aws_lambda.deployment.actual import (
    ActualDeployment,
    look_around,
    look_for,
)
from cloudbutton_backend.backends.aws_lambda.deployment.apply import deploy, undeploy
from cloudbutton_backend.backends.aws_lambda.deployment.desired import (
    DesiredDeployment,
    PackageSource,
)
from cloudbutton_backend.backends.aws_lambda.deployment.planning import (
    plan_deployment,
    plan_removal,
)
from cloudbutton_backend.backends.aws_lambda.deployment.policies import policy
from cloudbutton_backend.backends.aws_lambda.deployment.preflight import (
    CheckResult,
    concurrency,
    health,
    require_deployed,
)
from cloudbutton_backend.backends.aws_lambda.deployment.status import describe, standing_cost
from cloudbutton_backend.backends.aws_lambda.deployment.steps import DeploymentPlan, DeploymentStep

__all__ = [
    "ActualDeployment",
    "CheckResult",
    "DeploymentPlan",
    "DeploymentStep",
    "DesiredDeployment",
    "PackageSource",
    "concurrency",
    "deploy",
    "describe",
    "health",
    "look_around",
    "look_for",
    "plan_deployment",
    "plan_removal",
    "policy",
    "require_deployed",
    "standing_cost",
    "undeploy",
]
