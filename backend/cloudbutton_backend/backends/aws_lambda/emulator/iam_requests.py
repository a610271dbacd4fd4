"""Which permission an AWS request needs: from method, address and body to action and resource."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, unquote

from cloudbutton_backend.backends.aws_lambda.emulator.environment_variables import principal_of
from cloudbutton_backend.backends.aws_lambda.emulator.function_store import (
    ACCOUNT,
    FunctionReference,
)


@dataclass(frozen=True, kw_only=True)
class ApiCall:
    """A request in the terms of IAM."""

    service: str
    action: str
    """As in a policy, without the service: `InvokeFunction`, `GetObject`."""
    resource: str
    """The ARN that a policy would have to allow, or `*`."""
    principal: str
    """`user`, `role` for code that runs in a function, or `service` for Lambda itself."""
    at: float = 0.0
    """Unix time."""

    @property
    def permission(self) -> str:
        """The action as a policy has it: `s3:GetObject`."""
        return f"{self.service}:{self.action}"


@dataclass(frozen=True)
class IamRequest:
    """The parts of an HTTP request that decide its permission."""

    method: str
    path: str
    """As it was sent, percent-encoded."""
    query: str
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes = b""

    @property
    def scope(self) -> tuple[str, str, str] | None:
        """Access key, region and service of the signature, None if there is none."""
        found = re.search(
            r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request",
            self.headers.get("authorization", ""),
        )
        if found is None:
            signed = dict(parse_qsl(self.query)).get("X-Amz-Credential", "")
            found = re.fullmatch(r"([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request", signed)
        return (found[1], found[2], found[3]) if found else None


def calls_of(request: IamRequest, at: float) -> list[ApiCall]:
    """Return the permissions that a request needs; none for one that is not signed."""
    scope = request.scope
    if scope is None:
        return []
    key, region, service = scope
    known = {"lambda": _lambda, "s3": _s3, "iam": _iam, "sts": _sts, "logs": _logs}
    find = known.get(service)
    pairs = find(request, region) if find else [(f"{request.method} {request.path}", "*")]
    who = principal_of(key)
    calls = []
    for action, resource in pairs:
        owner, _, name = action.rpartition(":")
        calls.append(
            ApiCall(service=owner or service, action=name, resource=resource, principal=who, at=at)
        )
    return calls


_F: Final = r"/functions/(?P<f>[^/]+)"
_L: Final = r"/layers/(?P<l>[^/]+)"

#: Method, address (after the date) and action of what Lambda offers and we have seen used.
_LAMBDA: Final = tuple(
    (method, re.compile(pattern + "/?"), action)
    for method, pattern, action in (
        ("POST", r"/functions", "CreateFunction"),
        ("GET", r"/functions", "ListFunctions"),
        ("GET", _F, "GetFunction"),
        ("DELETE", _F, "DeleteFunction"),
        ("GET", _F + "/configuration", "GetFunctionConfiguration"),
        ("PUT", _F + "/configuration", "UpdateFunctionConfiguration"),
        ("PUT", _F + "/code", "UpdateFunctionCode"),
        ("POST", _F + "/invocations", "InvokeFunction"),
        ("PUT", _F + "/concurrency", "PutFunctionConcurrency"),
        ("GET", _F + "/concurrency", "GetFunctionConcurrency"),
        ("DELETE", _F + "/concurrency", "DeleteFunctionConcurrency"),
        ("PUT", _F + "/event-invoke-config", "PutFunctionEventInvokeConfig"),
        ("POST", _F + "/event-invoke-config", "UpdateFunctionEventInvokeConfig"),
        ("GET", _F + "/event-invoke-config", "GetFunctionEventInvokeConfig"),
        ("DELETE", _F + "/event-invoke-config", "DeleteFunctionEventInvokeConfig"),
        ("POST", _F + "/versions", "PublishVersion"),
        ("GET", _F + "/versions", "ListVersionsByFunction"),
        ("POST", _F + "/aliases", "CreateAlias"),
        ("GET", _F + "/aliases", "ListAliases"),
        ("POST", _F + "/policy", "AddPermission"),
        ("GET", _F + "/policy", "GetPolicy"),
        ("GET", r"/tags/(?P<t>[^/]+)", "ListTags"),
        ("POST", r"/tags/(?P<t>[^/]+)", "TagResource"),
        ("DELETE", r"/tags/(?P<t>[^/]+)", "UntagResource"),
        ("GET", r"/layers", "ListLayers"),
        ("GET", _L + "/versions", "ListLayerVersions"),
        ("POST", _L + "/versions", "PublishLayerVersion"),
        ("GET", _L + r"/versions/(?P<v>\d+)", "GetLayerVersion"),
        ("DELETE", _L + r"/versions/(?P<v>\d+)", "DeleteLayerVersion"),
        ("GET", r"/account-settings", "GetAccountSettings"),
    )
)


@dataclass(frozen=True)
class ApiOperation:
    """An operation of Lambda's API, recognised from its address."""

    action: str
    parts: Mapping[str, str]
    """The variable parts of the address: function (f), layer (l), layer version (v), ARN (t)."""


def lambda_operation(method: str, path: str) -> ApiOperation | None:
    """Return which operation of Lambda's an address means."""
    undated = re.sub(r"^/\d{4}-\d\d-\d\d", "", path)
    for verb, pattern, action in _LAMBDA:
        found = pattern.fullmatch(undated)
        if verb == method and found:
            parts = {name: unquote(text) for name, text in found.groupdict().items() if text}
            return ApiOperation(action, parts)
    return None


def _lambda(request: IamRequest, region: str) -> list[tuple[str, str]]:
    operation = lambda_operation(request.method, request.path)
    if operation is None:
        return [(f"{request.method} {request.path}", "*")]
    action, parts = operation.action, operation.parts
    arn = f"arn:aws:lambda:{region}:{ACCOUNT}:"
    query = dict(parse_qsl(request.query))
    if action == "ListLayers" and query.get("find") == "LayerVersion":
        return [("GetLayerVersion", query.get("Arn", "*"))]
    resource = "*"
    body = _json(request.body) if action.startswith(("Create", "Update")) else {}
    name = str(body.get("FunctionName", "")) if action == "CreateFunction" else parts.get("f", "")
    if name:
        reference = FunctionReference.parse(name, query.get("Qualifier"))
        resource = f"{arn}function:{reference.name}"
        if action == "InvokeFunction" and reference.version not in (None, "$LATEST"):
            resource += f":{reference.version}"
    elif "l" in parts:
        resource = f"{arn}layer:{parts['l'].rpartition(':')[2]}"
        if "v" in parts:
            resource += f":{parts['v']}"
    elif "t" in parts:
        resource = parts["t"]
    needs = [(action, resource)]
    if action == "GetFunction":
        needs.append(("ListTags", resource))  # else the tags are left out of the answer
    # What Lambda looks at with the caller's permissions.
    if "Role" in body:
        needs.append(("iam:PassRole", str(body["Role"])))
    for layer in body.get("Layers") or []:
        needs.append(("GetLayerVersion", str(layer)))
    code = body.get("Code") if action == "CreateFunction" else body
    if isinstance(code, dict) and "S3Bucket" in code:
        needs.append(("s3:GetObject", f"arn:aws:s3:::{code['S3Bucket']}/{code.get('S3Key')}"))
    if body.get("Tags"):
        needs.append(("TagResource", resource))
    return needs


#: Permission by the sub-resource in the query, for buckets: reading, writing, deleting.
_BUCKET: Final = {
    "acl": ("GetBucketAcl", "PutBucketAcl", ""),
    "cors": ("GetBucketCORS", "PutBucketCORS", "PutBucketCORS"),
    "encryption": ("GetEncryptionConfiguration",) + ("PutEncryptionConfiguration",) * 2,
    "lifecycle": ("GetLifecycleConfiguration",) + ("PutLifecycleConfiguration",) * 2,
    "location": ("GetBucketLocation", "", ""),
    "ownershipControls": ("GetBucketOwnershipControls",) + ("PutBucketOwnershipControls",) * 2,
    "policy": ("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"),
    "policyStatus": ("GetBucketPolicyStatus", "", ""),
    "publicAccessBlock": ("GetBucketPublicAccessBlock",) + ("PutBucketPublicAccessBlock",) * 2,
    "tagging": ("GetBucketTagging", "PutBucketTagging", "PutBucketTagging"),
    "uploads": ("ListBucketMultipartUploads", "", ""),
    "versioning": ("GetBucketVersioning", "PutBucketVersioning", ""),
    "versions": ("ListBucketVersions", "", ""),
}
_READ_WRITE_DELETE: Final = {"GET": 0, "HEAD": 0, "PUT": 1, "DELETE": 2}


def _s3(request: IamRequest, _region: str) -> list[tuple[str, str]]:
    bucket, _, key = unquote(request.path).lstrip("/").partition("/")
    query = parse_qs(request.query, keep_blank_values=True)
    method = request.method
    if not bucket:
        return [("ListAllMyBuckets", "*")]
    arn = f"arn:aws:s3:::{bucket}"
    if not key:
        for part, actions in _BUCKET.items():
            if part in query and method in _READ_WRITE_DELETE:
                return [(actions[_READ_WRITE_DELETE[method]], arn)]
        if method == "POST" and "delete" in query:
            keys = re.findall(rb"<Key>(.*?)</Key>", request.body, flags=re.S)
            return [("DeleteObject", f"{arn}/{unquote(k.decode())}") for k in keys]
        plain = {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}
        return [(plain.get(method, "ListBucket"), arn)]
    resource = f"{arn}/{key}"
    if "tagging" in query:
        verbs = ("GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging")
        return [(verbs[_READ_WRITE_DELETE[method]], resource)]
    if "uploadId" in query and method in ("DELETE", "GET"):
        action = "AbortMultipartUpload" if method == "DELETE" else "ListMultipartUploadParts"
        return [(action, resource)]
    plain = {"GET": "GetObject", "HEAD": "GetObject", "DELETE": "DeleteObject"}
    needs = [(plain.get(method, "PutObject"), resource)]
    source = request.headers.get("x-amz-copy-source")
    if source:
        needs.append(("GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}"))
    return needs


#: Names of the things that IAM's actions are about, by the request's parameter.
_IAM_RESOURCES: Final = {
    "RoleName": "role",
    "InstanceProfileName": "instance-profile",
    "UserName": "user",
    "GroupName": "group",
}


def _iam(request: IamRequest, _region: str) -> list[tuple[str, str]]:
    form = _form(request)
    for parameter, kind in _IAM_RESOURCES.items():
        if parameter in form:
            path = form.get("Path", "/")
            resource = f"arn:aws:iam::{ACCOUNT}:{kind}{path}{form[parameter]}"
            needs = [(form.get("Action", "?"), resource)]
            if needs[0][0] == "CreateRole" and "Tags.member.1.Key" in form:
                needs.append(("TagRole", resource))
            return needs
    return [(form.get("Action", "?"), form.get("PolicyArn", "*"))]


def _sts(request: IamRequest, _region: str) -> list[tuple[str, str]]:
    form = _form(request)
    return [(form.get("Action", "?"), form.get("RoleArn", "*"))]


def _logs(request: IamRequest, region: str) -> list[tuple[str, str]]:
    action = request.headers.get("x-amz-target", "?").rpartition(".")[2]
    body = _json(request.body)
    group = body.get("logGroupName") or body.get("logGroupIdentifier")
    if group is None:
        return [(action, str(body.get("resourceArn", "*")))]
    resource = f"arn:aws:logs:{region}:{ACCOUNT}:log-group:{group}:*"
    needs = [(action, resource)]
    if action == "CreateLogGroup" and body.get("tags"):
        needs.append(("TagResource", resource))
    return needs


def _form(request: IamRequest) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode("utf-8", "replace") or request.query))


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
