"""Plans the steps from the actual to the desired deployment, or to its removal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cloudbutton_backend.backends.aws_lambda.deployment import desired as w
from cloudbutton_backend.backends.aws_lambda.deployment.actual import (
    ActualDeployment,
    ActualFunction,
)
from cloudbutton_backend.backends.aws_lambda.deployment.desired import (
    ROLE_POLICY,
    DesiredDeployment,
)
from cloudbutton_backend.backends.aws_lambda.deployment.steps import (
    AwsRequest,
    DeferredValue,
    DeploymentPlan,
    DeploymentStep,
    EmptyBucket,
    FileContent,
)
from cloudbutton_backend.backends.aws_lambda.resource_names import TAG, DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.runtimes import runtime_identifier


def plan_deployment(desired: DesiredDeployment, actual: ActualDeployment) -> DeploymentPlan:
    """Return the steps from what is `found` to the desired deployment; none if it is there."""
    refusals = tuple(_refusals(desired, actual))
    if refusals:
        return DeploymentPlan(steps=(), refusals=refusals)
    steps = [
        *_role_steps(desired, actual),
        *_bucket_steps(desired, actual),
        *_log_steps(desired, actual),
        *_package_steps(desired, actual),
        *(step for target in desired.targets for step in _function_steps(desired, target, actual)),
    ]
    changed = {step.what for step in steps}
    return DeploymentPlan(steps=tuple(steps), kept=tuple(sorted(_all(desired) - changed)))


def drift(
    target: DeploymentTarget, packages: w.PackageSource | None, actual: ActualFunction
) -> dict[str, str]:
    """Return what of a function is not as this version would deploy it: `now → then`, by name."""
    wanted = w.function_settings(target, packages)
    differs = {
        name: f"{_short(actual.settings[name])} → {_short(value)}"
        for name, value in wanted.items()
        # AWS states all of these. What is left out is not supported there, as by an emulator.
        if name in actual.settings and not _agrees(actual.settings[name], value)
    }
    _, digest = w.function_code(target)
    if actual.settings.get("CodeSha256") != digest:
        differs["code"] = f"that of another version ({actual.version or 'unknown'})"
    return differs


def _refusals(desired: DesiredDeployment, actual: ActualDeployment) -> Iterator[str]:
    home = desired.home
    advice = "Choose another prefix (`--prefix`), or have it renamed or removed."
    if actual.role is not None and TAG not in actual.role.tags:
        yield (
            f"A role {home.role} exists in account {home.account} that Cloud Button has not made (it has no "
            f"tag {TAG}). {advice}"
        )
    if actual.bucket is not None and actual.bucket.foreign:
        yield (
            f"A bucket {home.bucket} exists that may not be looked at: it belongs to another account, or "
            f"you lack s3:ListBucket on it. {advice}"
        )
    elif actual.bucket is not None and not actual.bucket.is_ours:
        yield (
            f"A bucket {home.bucket} exists in your account that Cloud Button has not made (it has no tag "
            f"{TAG}, and something is in it). {advice}"
        )
    if actual.log_group is not None and actual.log_group.tags and TAG not in actual.log_group.tags:
        yield f"A log group {home.log_group} exists that Cloud Button has not made. {advice}"
    for name, function in actual.functions.items():
        if not function.is_ours:
            yield (
                f"A function {name} exists in {home.region} that Cloud Button has not made (it has no tag "
                f"{TAG}). {advice}"
            )


def _role_steps(desired: DesiredDeployment, actual: ActualDeployment) -> Iterator[DeploymentStep]:
    home, role = desired.home, actual.role
    named = {"RoleName": home.role}
    trust, policy = w.trust_policy(), w.role_policy(home)
    give_policy = AwsRequest(
        service="iam",
        operation="PutRolePolicy",
        parameters={**named, "PolicyName": w.ROLE_POLICY, "PolicyDocument": w.as_json(policy)},
    )
    what = _role_name(home)
    if role is None:
        make = AwsRequest(
            service="iam",
            operation="CreateRole",
            parameters={
                **named,
                "AssumeRolePolicyDocument": w.as_json(trust),
                "Description": "What code run by Cloud Button on Lambda may do: write its log.",
                "Tags": w.tag_list(desired.tags),
            },
        )
        detail = "for the functions; may write their log and nothing else"
        yield DeploymentStep(kind="create", what=what, detail=detail, actions=(make, give_policy))
        return
    requests, details = [], []
    if role.trust != trust:
        parameters = {**named, "PolicyDocument": w.as_json(trust)}
        requests.append(
            AwsRequest(service="iam", operation="UpdateAssumeRolePolicy", parameters=parameters)
        )
        details.append("who may use it")
    if role.policy != policy:
        requests.append(give_policy)
        details.append("what it may do")
    if requests:
        yield DeploymentStep(
            kind="update", what=what, detail=", ".join(details), actions=tuple(requests)
        )


def _bucket_steps(desired: DesiredDeployment, actual: ActualDeployment) -> Iterator[DeploymentStep]:
    home, bucket = desired.home, actual.bucket
    named = {"Bucket": home.bucket}
    owned = {**named, "ExpectedBucketOwner": home.account}
    # us-east-1 is where buckets are unless said otherwise, and must not be said.
    place = {"CreateBucketConfiguration": {"LocationConstraint": home.region}}
    if home.region == "us-east-1":
        place = {}
    missing: list[tuple[str, AwsRequest]] = []
    if bucket is None:
        missing.append(("", _s3("CreateBucket", {**named, **place})))
    if bucket is None or bucket.block != w.public_access_block():
        block = {"PublicAccessBlockConfiguration": w.public_access_block()}
        missing.append(("private", _s3("PutPublicAccessBlock", {**owned, **block})))
    if bucket is None or TAG not in bucket.tags:
        tagging = {"Tagging": {"TagSet": w.tag_list(desired.tags)}}
        missing.append(("tagged", _s3("PutBucketTagging", {**owned, **tagging})))
    if bucket is None or bucket.encryption is None:  # a key of the user's own is as good
        encryption = {"ServerSideEncryptionConfiguration": w.encryption()}
        missing.append(("encrypted", _s3("PutBucketEncryption", {**owned, **encryption})))
    if bucket is None or not _has_rules(bucket.rules):
        others = [dict(each) for each in (bucket.rules if bucket else ()) if not _is_our_rule(each)]
        rules = {"LifecycleConfiguration": {"Rules": [*others, *w.lifecycle_rules()]}}
        words = f"job data expires after {w.JOB_DAYS} days, captured values after {w.BLOB_DAYS}"
        missing.append((words, _s3("PutBucketLifecycleConfiguration", {**owned, **rules})))
    if missing:
        yield DeploymentStep(
            kind="create" if bucket is None else "update",
            what=_bucket_name(home),
            detail=", ".join(word for word, _ in missing if word),
            actions=tuple(request for _, request in missing),
        )


def _log_steps(desired: DesiredDeployment, actual: ActualDeployment) -> Iterator[DeploymentStep]:
    home, group = desired.home, actual.log_group
    named = {"logGroupName": home.log_group}
    keep = AwsRequest(
        service="logs",
        operation="PutRetentionPolicy",
        parameters={**named, "retentionInDays": w.LOG_DAYS},
    )
    detail = f"kept for {w.LOG_DAYS} days"
    what = _log_name(home)
    if group is None:
        make = AwsRequest(
            service="logs", operation="CreateLogGroup", parameters={**named, "tags": desired.tags}
        )
        yield DeploymentStep(kind="create", what=what, detail=detail, actions=(make, keep))
    elif group.days != w.LOG_DAYS:
        yield DeploymentStep(kind="update", what=what, detail=detail, actions=(keep,))


def _package_steps(
    desired: DesiredDeployment, actual: ActualDeployment
) -> Iterator[DeploymentStep]:
    packages = desired.packages
    if packages is None:
        return
    home, key = desired.home, w.archive_key(packages)
    if packages.hash not in actual.archives:
        place = {"Bucket": home.bucket, "Key": key}
        body = {"Body": FileContent(packages.archive), "Metadata": {w.DIGEST: packages.sha256}}
        put = _s3("PutObject", {**place, **body})
        detail = f"{packages.nbytes / 1e6:.1f} MB of packages"
        yield DeploymentStep(
            kind="create", what=_archive_name(home, packages), detail=detail, actions=(put,)
        )
    for layer, target in _layers(desired).items():
        if layer not in actual.layers:
            yield _layer_step(layer, target, packages)


def _layer_step(layer: str, target: DeploymentTarget, packages: w.PackageSource) -> DeploymentStep:
    publish = AwsRequest(
        service="lambda",
        operation="PublishLayerVersion",
        parameters={
            "LayerName": layer,
            "Description": f"Packages of Cloud Button's environment {packages.hash}",
            "Content": {"S3Bucket": target.bucket, "S3Key": w.archive_key(packages)},
            "CompatibleRuntimes": [runtime_identifier(target.python)],
            "CompatibleArchitectures": [target.arch],
        },
        gives=(layer, "LayerVersionArn"),
    )
    detail = f"{packages.unpacked / 1e6:.1f} MB unpacked"
    return DeploymentStep(kind="create", what=_layer_name(layer), detail=detail, actions=(publish,))


def _function_steps(
    desired: DesiredDeployment, target: DeploymentTarget, actual: ActualDeployment
) -> Iterator[DeploymentStep]:
    function = actual.functions.get(target.function)
    layers = _layer_arns(desired, target, actual)
    settings = w.function_settings(target, desired.packages)
    code, _ = w.function_code(target)
    named = {"FunctionName": target.function}
    tags = desired.tags_of(target, actual.archives.get(target.environment or ""))
    what = _function_name(target)
    if function is None:
        make = AwsRequest(
            service="lambda",
            operation="CreateFunction",
            parameters={
                **named,
                **settings,
                "Layers": layers,
                "Architectures": [target.arch],
                "Code": {"ZipFile": code},
                "Description": "Runs what notebooks send with Cloud Button.",
                "Tags": tags,
            },
            then_ready=target.function,
        )
        detail = f"Python {target.python}, {target.arch}, {target.memory:,} MiB"
        yield DeploymentStep(kind="create", what=what, detail=detail, actions=(make,))
        return
    differs = drift(target, desired.packages, function)
    requests = []
    if isinstance(layers[0] if layers else "", DeferredValue) or tuple(layers) != function.layers:
        differs["layers"] = "the packages asked for"
    if differs.keys() - {"code"}:
        parameters = {**named, **settings, "Layers": layers}
        requests.append(_update("UpdateFunctionConfiguration", target, parameters))
    if "code" in differs:
        parameters = {**named, "ZipFile": code, "Architectures": [target.arch]}
        requests.append(_update("UpdateFunctionCode", target, parameters))
    if requests or function.version != desired.version:
        # Last, so that the tag tells the truth when this is interrupted.
        tag = {"Resource": target.function_arn, "Tags": tags}
        requests.append(AwsRequest(service="lambda", operation="TagResource", parameters=tag))
        detail = ", ".join(f"{name}: {change}" for name, change in differs.items())
        if function.version != desired.version:
            detail = f"version {function.version} → {desired.version}" + (
                f", {detail}" if detail else ""
            )
        yield DeploymentStep(kind="update", what=what, detail=detail, actions=tuple(requests))


def _update(operation: str, target: DeploymentTarget, parameters: Mapping[str, Any]) -> AwsRequest:
    return AwsRequest(
        service="lambda",
        operation=operation,
        parameters=parameters,
        then_ready=target.function,
    )


def _layers(desired: DesiredDeployment) -> dict[str, DeploymentTarget]:
    """Return the desired layers, each with a target that it is for."""
    if desired.packages is None or not desired.packages.as_layer:
        return {}
    return {
        target.layer: target
        for target in desired.targets
        if target.layer is not None and target.environment == desired.packages.hash
    }


def _layer_arns(
    desired: DesiredDeployment, target: DeploymentTarget, actual: ActualDeployment
) -> list[str | DeferredValue]:
    """Return the layers that a function is to have."""
    if target.layer is None or target.layer not in _layers(desired):
        # Of an environment that was not asked for now, what the function has is right.
        function = actual.functions.get(target.function)
        return list(function.layers) if function is not None and target.environment else []
    versions = actual.layers.get(target.layer)
    return [versions[0] if versions else DeferredValue(target.layer)]


def _all(desired: DesiredDeployment) -> set[str]:
    """Return what each thing is called that should be there."""
    home, packages = desired.home, desired.packages
    everything = {_role_name(home), _bucket_name(home), _log_name(home)}
    everything |= {_function_name(target) for target in desired.targets}
    everything |= {_layer_name(layer) for layer in _layers(desired)}
    return everything | ({_archive_name(home, packages)} if packages is not None else set())


def _role_name(home: DeploymentTarget) -> str:
    return f"role {home.role}"


def _bucket_name(home: DeploymentTarget) -> str:
    return f"bucket {home.bucket}"


def _log_name(home: DeploymentTarget) -> str:
    return f"log group {home.log_group}"


def _archive_name(home: DeploymentTarget, packages: w.PackageSource) -> str:
    return f"object s3://{home.bucket}/{w.archive_key(packages)}"


def _layer_name(layer: str) -> str:
    return f"layer {layer}"


def _function_name(target: DeploymentTarget) -> str:
    return f"function {target.function}"


def _s3(operation: str, parameters: Mapping[str, Any]) -> AwsRequest:
    return AwsRequest(service="s3", operation=operation, parameters=parameters)


def _is_our_rule(rule: Mapping[str, Any]) -> bool:
    return rule.get("ID") in {each["ID"] for each in w.lifecycle_rules()}


def _has_rules(rules: tuple[Mapping[str, Any], ...]) -> bool:
    """Return whether our rules are among those of the bucket; the user may add others."""
    by_id = {rule.get("ID"): rule for rule in rules}
    return all(
        each["ID"] in by_id and _agrees(by_id[each["ID"]], each) for each in w.lifecycle_rules()
    )


def _agrees(actual: Any, wanted: Any) -> bool:
    """Return whether `found` is what was wanted, and perhaps more.

    AWS adds defaults to what it is given, and leaves out what is empty.
    """
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and all(
            _agrees(actual.get(key), value) for key, value in wanted.items()
        )
    return bool(actual == wanted) or (wanted == "" and actual is None)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(str(each) for each in value.values())
    return str(value).rpartition("/")[2] or str(value)


def plan_removal(actual: ActualDeployment) -> DeploymentPlan:
    """Return the steps that remove everything of ours; anything else is kept and named."""
    steps = (
        *_functions(actual),
        *_layer_steps(actual),
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


def _layer_steps(actual: ActualDeployment) -> Iterator[DeploymentStep]:
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
    """Remove the bucket, last of all: while it is there, a second try finds what the first has left."""
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
