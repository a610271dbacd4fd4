"""What is on AWS for jobs: planned, printed, made, looked at and removed again."""

from cloudbutton_backend.backends.aws_lambda.deploying.carrying_out import deploy, undeploy
from cloudbutton_backend.backends.aws_lambda.deploying.found import Found, look_around, look_for
from cloudbutton_backend.backends.aws_lambda.deploying.planning import plan_deployment
from cloudbutton_backend.backends.aws_lambda.deploying.policies import policy
from cloudbutton_backend.backends.aws_lambda.deploying.ready import (
    Line,
    concurrency,
    health,
    require_deployed,
)
from cloudbutton_backend.backends.aws_lambda.deploying.removing import plan_removal
from cloudbutton_backend.backends.aws_lambda.deploying.status import describe, standing_cost
from cloudbutton_backend.backends.aws_lambda.deploying.steps import Plan, Step
from cloudbutton_backend.backends.aws_lambda.deploying.wish import Packages, Wish

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
