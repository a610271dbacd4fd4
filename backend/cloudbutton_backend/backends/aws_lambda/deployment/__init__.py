"""What is on AWS for jobs: planned, printed, made, looked at and removed again."""

from cloudbutton_backend.backends.aws_lambda.deployment.actual import Found, look_around, look_for
from cloudbutton_backend.backends.aws_lambda.deployment.apply import deploy, undeploy
from cloudbutton_backend.backends.aws_lambda.deployment.desired import Packages, Wish
from cloudbutton_backend.backends.aws_lambda.deployment.planning import plan_deployment
from cloudbutton_backend.backends.aws_lambda.deployment.policies import policy
from cloudbutton_backend.backends.aws_lambda.deployment.preflight import (
    Line,
    concurrency,
    health,
    require_deployed,
)
from cloudbutton_backend.backends.aws_lambda.deployment.removal import plan_removal
from cloudbutton_backend.backends.aws_lambda.deployment.status import describe, standing_cost
from cloudbutton_backend.backends.aws_lambda.deployment.steps import Plan, Step

__all__ = [
    "Found",
    "Line",
    "Packages",
    "Plan",
    "Step",
    "Wish",
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
