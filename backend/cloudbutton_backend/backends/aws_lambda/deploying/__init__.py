"""What is on AWS for jobs: planned, printed, made, looked at and removed again."""

from cloudbutton_backend.backends.aws_lambda.deploying.carrying_out import deploy, undeploy
from cloudbutton_backend.backends.aws_lambda.deploying.found import Found, look_around, look_for
from cloudbutton_backend.backends.aws_lambda.deploying.planning import plan_deployment
from cloudbutton_backend.backends.aws_lambda.deploying.removing import plan_removal
from cloudbutton_backend.backends.aws_lambda.deploying.steps import Plan, Step
from cloudbutton_backend.backends.aws_lambda.deploying.wish import Packages, Wish

__all__ = [
    "Found",
    "Packages",
    "Plan",
    "Step",
    "Wish",
    "deploy",
    "look_around",
    "look_for",
    "plan_deployment",
    "plan_removal",
    "undeploy",
]
