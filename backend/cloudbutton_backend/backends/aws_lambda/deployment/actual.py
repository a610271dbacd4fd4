"""The actual deployment: reads it from AWS, and changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.aws_errors import RequestContext, from_code
from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment.desired import (
    DIGEST,
    FETCHED_TAG,
    FREE_STORAGE,
    ROLE_POLICY,
)
from cloudbutton_backend.backends.aws_lambda.resource_names import (
    ENVIRONMENT_DIGITS,
    TAG,
    DeploymentTarget,
    environment_key,
    parse_function,
)
from cloudbutton_backend.errors import NotPermitted, NotThere

#: Objects that are counted before the text says "more than".
_COUNTED: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class ActualFunction:
    """A function that has one of our names."""

    target: DeploymentTarget
    settings: Mapping[str, Any]
    """Its configuration, as AWS states it."""
    tags: Mapping[str, str]

    @property
    def is_ours(self) -> bool:
        return TAG in self.tags

    @property
    def version(self) -> str:
        """The version of Cloud Button that deployed it; empty when it is not ours."""
        return self.tags.get(TAG, "")

    @property
    def fetches(self) -> str | None:
        """The SHA-256 of the archive of packages that it must fetch before it runs anything."""
        return self.tags.get(FETCHED_TAG)

    @property
    def storage(self) -> int:
        """MiB of /tmp that it has."""
        return int(self.settings.get("EphemeralStorage", {}).get("Size", FREE_STORAGE))

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(each["Arn"] for each in self.settings.get("Layers") or ())


@dataclass(frozen=True, kw_only=True)
class ActualRole:
    """A role that has our name."""

    trust: Mapping[str, Any]
    policy: Mapping[str, Any] | None
    """The inline policy that we give it."""
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ActualBucket:
    """A bucket that has our name."""

    tags: Mapping[str, str]
    block: Mapping[str, Any] | None
    encryption: str | None
    """The algorithm."""
    rules: tuple[Mapping[str, Any], ...]
    is_empty: bool
    foreign: bool = False
    """Whether it may not be looked at: most likely it is another account's."""

    @property
    def is_ours(self) -> bool:
        """Whether we made it: tagged, or empty, as one is between being made and being tagged."""
        return not self.foreign and (TAG in self.tags or (self.is_empty and not self.tags))


@dataclass(frozen=True, kw_only=True)
class ActualLogGroup:
    """A log group that has our name."""

    days: int | None
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StoredBytes:
    """The number and size of the objects in the bucket."""

    objects: int
    nbytes: int
    complete: bool
    """Whether all was counted."""


@dataclass(frozen=True, kw_only=True)
class ActualDeployment:
    """All that is there of one prefix in one region."""

    home: DeploymentTarget
    role: ActualRole | None = None
    bucket: ActualBucket | None = None
    log_group: ActualLogGroup | None = None
    functions: Mapping[str, ActualFunction] = field(default_factory=dict)
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name, the ARNs of the versions, the newest first."""
    archives: Mapping[str, str] = field(default_factory=dict)
    """Of the environments that were asked for, the SHA-256 of their archives in the bucket, by hash."""
    stored: StoredBytes | None = None

    @property
    def is_nothing(self) -> bool:
        return not (self.role or self.bucket or self.log_group or self.functions or self.layers)


def look_for(clients: BotoClients, targets: Collection[DeploymentTarget]) -> ActualDeployment:
    """Return the actual state of these functions and of what they need."""
    home = next(iter(targets))
    bucket = _bucket(clients, home)
    functions, layers, archives = {}, {}, {}
    for target in targets:
        actual = look_at_function(clients, target)
        if actual is not None:
            functions[target.function] = actual
        if target.layer is not None and target.layer not in layers:
            versions = _layer_versions(clients, target.layer)
            if versions:
                layers[target.layer] = versions
        if target.environment is not None and bucket is not None and not bucket.foreign:
            digest = _archive(clients, home, environment_key(target.environment))
            if digest is not None:
                archives[target.environment] = digest
    return ActualDeployment(
        home=home,
        role=_role(clients, home),
        bucket=bucket,
        log_group=_log_group(clients, home),
        functions=functions,
        layers=layers,
        archives=archives,
    )


def look_around(clients: BotoClients, home: DeploymentTarget) -> ActualDeployment:
    """Return everything that is there under `home`'s prefix in its region, and how much is stored."""
    functions = {}
    for page in clients.pages("lambda", "ListFunctions", about="the functions of this region"):
        for each in page.get("Functions", ()):
            target = _parsed(each["FunctionName"], home)
            actual = look_at_function(clients, target) if target is not None else None
            if actual is not None:
                functions[each["FunctionName"]] = actual
    bucket = _bucket(clients, home)
    readable = bucket is not None and not bucket.foreign
    return ActualDeployment(
        home=home,
        role=_role(clients, home),
        bucket=bucket,
        log_group=_log_group(clients, home),
        functions=functions,
        layers=_all_layers(clients, home),
        stored=_stored(clients, home) if readable else None,
    )


def _parsed(name: str, home: DeploymentTarget) -> DeploymentTarget | None:
    target = parse_function(name, account=home.account, region=home.region)
    return target if target is not None and target.prefix == home.prefix else None


def look_at_function(clients: BotoClients, target: DeploymentTarget) -> ActualFunction | None:
    """Return the function of a target, if it is there. One request.

    Raises
    ------
    NotPermitted
        Its tags may not be read, so it is unknown whose it is.
    """
    about = f"function {target.function}"
    try:
        # A smaller request would do without the archive's URL; but only this one tells the tags too.
        answer = clients.call("lambda", "GetFunction", FunctionName=target.function, about=about)
    except NotThere:
        return None
    if "TagsError" in answer:
        asked = RequestContext(
            service="lambda",
            operation="ListTags",
            region=clients.region,
            resource=target.function_arn,
            purpose=clients.purpose,
        )
        raise from_code("AccessDenied", answer["TagsError"].get("Message", ""), asked)
    return ActualFunction(
        target=target, settings=answer["Configuration"], tags=answer.get("Tags") or {}
    )


def _role(clients: BotoClients, home: DeploymentTarget) -> ActualRole | None:
    about = f"role {home.role}"
    try:
        role = clients.call("iam", "GetRole", RoleName=home.role, about=about)["Role"]
    except NotThere:
        return None
    try:
        policy = clients.call(
            "iam", "GetRolePolicy", RoleName=home.role, PolicyName=ROLE_POLICY, about=about
        )["PolicyDocument"]
    except NotThere:
        policy = None
    tags = {each["Key"]: each["Value"] for each in role.get("Tags", ())}
    return ActualRole(trust=role["AssumeRolePolicyDocument"], policy=policy, tags=tags)


def _bucket(clients: BotoClients, home: DeploymentTarget) -> ActualBucket | None:
    who = {"Bucket": home.bucket, "ExpectedBucketOwner": home.account}
    about = f"bucket {home.bucket}"
    try:
        clients.call("s3", "HeadBucket", about=about, **who)
    except NotThere:
        return None
    except (
        NotPermitted
    ):  # buckets of all accounts share their names, and S3 does not tell whose it is
        return ActualBucket(
            tags={}, block=None, encryption=None, rules=(), is_empty=False, foreign=True
        )
    tagging = _or_none(clients, "GetBucketTagging", home)
    block = _or_none(clients, "GetPublicAccessBlock", home)
    encryption = _or_none(clients, "GetBucketEncryption", home)
    rules = _or_none(clients, "GetBucketLifecycleConfiguration", home)
    listed = clients.call("s3", "ListObjectsV2", MaxKeys=1, about=about, **who)
    return ActualBucket(
        tags={each["Key"]: each["Value"] for each in (tagging or {}).get("TagSet", ())},
        block=(block or {}).get("PublicAccessBlockConfiguration"),
        encryption=_algorithm(encryption),
        rules=tuple((rules or {}).get("Rules", ())),
        is_empty=not listed.get("KeyCount"),
    )


def _or_none(clients: BotoClients, operation: str, home: DeploymentTarget) -> dict[str, Any] | None:
    """Ask S3 for a setting that a bucket may not have."""
    try:
        return clients.call(
            "s3",
            operation,
            Bucket=home.bucket,
            ExpectedBucketOwner=home.account,
            about=f"bucket {home.bucket}",
        )
    except NotThere:
        return None


def _algorithm(answer: Mapping[str, Any] | None) -> str | None:
    if answer is None:
        return None
    rule = answer["ServerSideEncryptionConfiguration"]["Rules"][0]
    return str(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"])


def _log_group(clients: BotoClients, home: DeploymentTarget) -> ActualLogGroup | None:
    about = f"log group {home.log_group}"
    answer = clients.call(
        "logs", "DescribeLogGroups", logGroupNamePrefix=home.log_group, about=about
    )
    group = next(
        (each for each in answer["logGroups"] if each["logGroupName"] == home.log_group), None
    )
    if group is None:
        return None
    tags = clients.call("logs", "ListTagsForResource", resourceArn=home.log_group_arn, about=about)[
        "tags"
    ]
    return ActualLogGroup(days=group.get("retentionInDays"), tags=tags)


def _layer_versions(clients: BotoClients, name: str) -> tuple[str, ...]:
    versions = [
        (each["Version"], each["LayerVersionArn"])
        for page in clients.pages(
            "lambda", "ListLayerVersions", LayerName=name, about=f"layer {name}"
        )
        for each in page["LayerVersions"]
    ]
    return tuple(arn for _, arn in sorted(versions, reverse=True))


def _all_layers(clients: BotoClients, home: DeploymentTarget) -> dict[str, tuple[str, ...]]:
    names = [
        each["LayerName"]
        for page in clients.pages("lambda", "ListLayers", about="the layers of this region")
        for each in page["Layers"]
        if _is_our_layer(each["LayerName"], home)
    ]
    actual = {name: _layer_versions(clients, name) for name in names}
    return {name: versions for name, versions in actual.items() if versions}


def _is_our_layer(name: str, home: DeploymentTarget) -> bool:
    """Return whether a layer has a name that we give, for one of our environments."""
    stem, _, digits = name.rpartition("-")
    return len(digits) == ENVIRONMENT_DIGITS and _parsed(f"{stem}-1769-{digits}", home) is not None


def _archive(clients: BotoClients, home: DeploymentTarget, key: str) -> str | None:
    """Return the SHA-256 that an archive was stored with, None if it is not there."""
    about = f"s3://{home.bucket}/{key}"
    try:
        answer = clients.call("s3", "HeadObject", Bucket=home.bucket, Key=key, about=about)
    except NotThere:
        return None
    return str(answer["Metadata"].get(DIGEST, ""))


def _stored(clients: BotoClients, home: DeploymentTarget) -> StoredBytes:
    objects = nbytes = 0
    pages = clients.pages("s3", "ListObjectsV2", Bucket=home.bucket, about=f"bucket {home.bucket}")
    for page in pages:
        objects += page.get("KeyCount", 0)
        nbytes += sum(each["Size"] for each in page.get("Contents", ()))
        if objects >= _COUNTED:
            return StoredBytes(objects=objects, nbytes=nbytes, complete=False)
    return StoredBytes(objects=objects, nbytes=nbytes, complete=True)
