"""From what is there to the steps that remove what was deployed, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cloudbutton_backend.backends.aws_lambda.deployment.actual import ActualDeployment
from cloudbutton_backend.backends.aws_lambda.deployment.desired import ROLE_POLICY
from cloudbutton_backend.backends.aws_lambda.deployment.steps import (
    AwsRequest,
    DeploymentPlan,
    DeploymentStep,
    EmptyBucket,
)
from cloudbutton_backend.backends.aws_lambda.resource_names import TAG


def plan_removal(actual: ActualDeployment) -> DeploymentPlan:
    """Return the steps that remove everything of ours; what is somebody else's is kept and named."""
    steps = (
        *_functions(actual),
        *_layers(actual),
        *_logs(actual),
        *_role(actual),
        *_bucket(actual),
    )
    return DeploymentPlan(steps=steps, kept=tuple(_others(actual)))


def _functions(actual: ActualDeployment) -> Iterator[DeploymentStep]:
    for name, function in actual.functions.items():
        if function.is_ours:
            delete = AwsRequest(
                service="lambda", operation="DeleteFunction", parameters={"FunctionName": name}
            )
            yield DeploymentStep(kind="delete", what=f"function {name}", actions=(delete,))


def _layers(actual: ActualDeployment) -> Iterator[DeploymentStep]:
    for name, versions in actual.layers.items():
        deletions = tuple(
            AwsRequest(
                service="lambda",
                operation="DeleteLayerVersion",
                parameters={"LayerName": name, "VersionNumber": int(arn.rpartition(":")[2])},
            )
            for arn in versions
        )
        yield DeploymentStep(kind="delete", what=f"layer {name}", actions=deletions)


def _logs(actual: ActualDeployment) -> Iterator[DeploymentStep]:
    if actual.log_group is not None and TAG in actual.log_group.tags:
        group = actual.home.log_group
        delete = AwsRequest(
            service="logs", operation="DeleteLogGroup", parameters={"logGroupName": group}
        )
        yield DeploymentStep(kind="delete", what=f"log group {group}", actions=(delete,))


def _role(actual: ActualDeployment) -> Iterator[DeploymentStep]:
    if actual.role is None or TAG not in actual.role.tags:
        return
    named = {"RoleName": actual.home.role}
    requests = [AwsRequest(service="iam", operation="DeleteRole", parameters=named)]
    if actual.role.policy is not None:
        parameters = {**named, "PolicyName": ROLE_POLICY}
        requests.insert(
            0, AwsRequest(service="iam", operation="DeleteRolePolicy", parameters=parameters)
        )
    yield DeploymentStep(kind="delete", what=f"role {actual.home.role}", actions=tuple(requests))


def _bucket(actual: ActualDeployment) -> Iterator[DeploymentStep]:
    """Last of all: while it is there, a second try finds what the first has left."""
    if actual.bucket is None or not actual.bucket.is_ours:
        return
    name = actual.home.bucket
    detail = "it is empty"
    if actual.stored is not None and actual.stored.objects:
        more = "" if actual.stored.complete else "more than "
        megabytes = f"{actual.stored.nbytes / 1e6:,.1f} MB"
        detail = f"with {more}{actual.stored.objects:,} objects in it ({more}{megabytes})"
    parameters = {"Bucket": name, "ExpectedBucketOwner": actual.home.account}
    delete = AwsRequest(service="s3", operation="DeleteBucket", parameters=parameters)
    yield DeploymentStep(
        kind="delete", what=f"bucket {name}", detail=detail, actions=(EmptyBucket(name), delete)
    )


def _others(actual: ActualDeployment) -> Iterator[str]:
    for name, function in actual.functions.items():
        if not function.is_ours:
            yield f"function {name}"
    if actual.role is not None and TAG not in actual.role.tags:
        yield f"role {actual.home.role}"
    if actual.log_group is not None and TAG not in actual.log_group.tags:
        yield f"log group {actual.home.log_group}"
    if actual.bucket is not None and not actual.bucket.is_ours:
        yield f"bucket {actual.home.bucket}"
