"""From what is there to the steps that remove what was deployed, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cloudbutton_backend.backends.aws_lambda.deployment.actual import Found
from cloudbutton_backend.backends.aws_lambda.deployment.desired import ROLE_POLICY
from cloudbutton_backend.backends.aws_lambda.deployment.steps import Emptied, Plan, Request, Step
from cloudbutton_backend.backends.aws_lambda.resource_names import TAG


def plan_removal(found: Found) -> Plan:
    """Return the steps that remove everything of ours; what is somebody else's is kept and named."""
    steps = (
        *_functions(found),
        *_layers(found),
        *_logs(found),
        *_role(found),
        *_bucket(found),
    )
    return Plan(steps=steps, kept=tuple(_others(found)))


def _functions(found: Found) -> Iterator[Step]:
    for name, function in found.functions.items():
        if function.is_ours:
            delete = Request(
                service="lambda", operation="DeleteFunction", parameters={"FunctionName": name}
            )
            yield Step(kind="delete", what=f"function {name}", actions=(delete,))


def _layers(found: Found) -> Iterator[Step]:
    for name, versions in found.layers.items():
        deletions = tuple(
            Request(
                service="lambda",
                operation="DeleteLayerVersion",
                parameters={"LayerName": name, "VersionNumber": int(arn.rpartition(":")[2])},
            )
            for arn in versions
        )
        yield Step(kind="delete", what=f"layer {name}", actions=deletions)


def _logs(found: Found) -> Iterator[Step]:
    if found.log_group is not None and TAG in found.log_group.tags:
        group = found.home.log_group
        delete = Request(
            service="logs", operation="DeleteLogGroup", parameters={"logGroupName": group}
        )
        yield Step(kind="delete", what=f"log group {group}", actions=(delete,))


def _role(found: Found) -> Iterator[Step]:
    if found.role is None or TAG not in found.role.tags:
        return
    named = {"RoleName": found.home.role}
    requests = [Request(service="iam", operation="DeleteRole", parameters=named)]
    if found.role.policy is not None:
        parameters = {**named, "PolicyName": ROLE_POLICY}
        requests.insert(
            0, Request(service="iam", operation="DeleteRolePolicy", parameters=parameters)
        )
    yield Step(kind="delete", what=f"role {found.home.role}", actions=tuple(requests))


def _bucket(found: Found) -> Iterator[Step]:
    """Last of all: while it is there, a second try finds what the first has left."""
    if found.bucket is None or not found.bucket.is_ours:
        return
    name = found.home.bucket
    detail = "it is empty"
    if found.stored is not None and found.stored.objects:
        more = "" if found.stored.complete else "more than "
        megabytes = f"{found.stored.nbytes / 1e6:,.1f} MB"
        detail = f"with {more}{found.stored.objects:,} objects in it ({more}{megabytes})"
    parameters = {"Bucket": name, "ExpectedBucketOwner": found.home.account}
    delete = Request(service="s3", operation="DeleteBucket", parameters=parameters)
    yield Step(kind="delete", what=f"bucket {name}", detail=detail, actions=(Emptied(name), delete))


def _others(found: Found) -> Iterator[str]:
    for name, function in found.functions.items():
        if not function.is_ours:
            yield f"function {name}"
    if found.role is not None and TAG not in found.role.tags:
        yield f"role {found.home.role}"
    if found.log_group is not None and TAG not in found.log_group.tags:
        yield f"log group {found.home.log_group}"
    if found.bucket is not None and not found.bucket.is_ours:
        yield f"bucket {found.home.bucket}"
