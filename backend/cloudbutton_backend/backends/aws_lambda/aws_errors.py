"""Translate errors of AWS and botocore into ours, with the permission that a refused request needs. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from botocore import exceptions as aws

from cloudbutton_backend.errors import (
    AlreadyThere,
    CloudServiceError,
    NoCredentials,
    NotPermitted,
    NotThere,
    Throttled,
    Unreachable,
)

#: Requests whose action has another name, or that need the one of another request.
_RENAMED: Final = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:AbortMultipartUpload": "s3:AbortMultipartUpload",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:UploadPart": "s3:PutObject",
}


def action_of(service: str, operation: str) -> str:
    """Return what a policy must allow for a request, `lambda:CreateFunction` for instance."""
    name = f"{service}:{operation}"
    return _RENAMED.get(name, name)


Purpose = Literal["run", "deploy"]

_DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden"}
)
_EXPIRED: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
)
_UNKNOWN_KEY: Final = frozenset(
    {"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure",
     "InvalidToken", "InvalidIdentityToken"}
)  # fmt: skip
_SIGNATURE: Final = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})
_SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
_THROTTLED: Final = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "SlowDown",
     "RequestLimitExceeded", "EC2ThrottledException", "429"}
)  # fmt: skip
_MISSING: Final = frozenset(
    {"404", "NoSuchBucket", "NoSuchKey", "NoSuchEntity", "NotFound", "ResourceNotFoundException",
     "NoSuchLifecycleConfiguration", "NoSuchTagSet", "NoSuchPublicAccessBlockConfiguration",
     "ServerSideEncryptionConfigurationNotFoundError", "NoSuchUpload"}
)  # fmt: skip
_THERE: Final = frozenset(
    {"BucketAlreadyExists", "BucketAlreadyOwnedByYou", "BucketNotEmpty", "ConflictException",
     "DeleteConflict", "EntityAlreadyExists", "OperationAborted", "PreconditionFailed", "412",
     "ResourceAlreadyExistsException", "ResourceConflictException", "ResourceInUseException"}
)  # fmt: skip
_ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
     "RegionDisabledException", "301"}
)  # fmt: skip

#: `aws login`, and with it the last of these, is younger than the oldest botocore that we take.
_LOGIN_ENDED: Final[tuple[type[Exception], ...]] = (
    aws.SSOTokenLoadError,
    aws.UnauthorizedSSOTokenError,
    aws.TokenRetrievalError,
    *([aws.LoginError] if hasattr(aws, "LoginError") else []),
)

#: "User: arn:… is not authorized to perform: lambda:CreateFunction on resource: arn:… because …"
_PERFORM: Final = re.compile(r"not authorized to perform: (?P<action>[\w-]+:\w+)")
_RESOURCE: Final = re.compile(r"on resource: (?P<resource>\S+)")
_USER: Final = re.compile(r"User: (?P<user>\S+)")
_DENIED_BY: Final = re.compile(r"explicit deny in (?:an?|the) ([\w -]+ policy)")


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """The request that failed."""

    service: str
    operation: str
    region: str | None = None
    resource: str = ""
    """What it was about, in words or as an ARN; empty where that is plain."""
    purpose: Purpose = "run"
    """Which of our policies allows it."""
    regions: Sequence[str] = ()
    """The known ones, for a hint."""

    @property
    def action(self) -> str:
        return action_of(self.service, self.operation)


def from_code(code: str, message: str, asked: RequestContext) -> CloudServiceError:
    """Return the error for a request that AWS answered with an error `code`."""
    kind, text = _explained(code, message, asked)
    found = _RESOURCE.search(message)
    resource = found["resource"] if found else asked.resource
    return kind(text, action=asked.action, code=code, resource=resource)


def from_exception(
    error: aws.BotoCoreError | aws.ClientError, asked: RequestContext
) -> CloudServiceError:
    """Return the error for a request that the client library gave up with `error`."""
    if isinstance(error, aws.ClientError):
        said = error.response.get("Error", {})
        return from_code(str(said.get("Code", "")), str(said.get("Message", "")), asked)
    kind, text = _not_sent(error, asked)
    return kind(text, action=asked.action, code=type(error).__name__, resource=asked.resource)


def _explained(
    code: str, message: str, asked: RequestContext
) -> tuple[type[CloudServiceError], str]:
    if code in _DENIED or code.startswith("AccessDenied"):
        return NotPermitted, _denied(message, asked)
    if code in _SKEWED or (code in _SIGNATURE and _about_time(message)):
        return Unreachable, (
            f"AWS refused {asked.action}: this machine's clock is wrong by more than five minutes "
            f"({message}). Set it right, for instance with `timedatectl set-ntp true`."
        )
    if code in _EXPIRED:
        return NoCredentials, (
            f"Your AWS credentials have expired, says {asked.service} in {_region(asked)}. Log in again, "
            f"for instance with `aws sso login`, or renew the ones in AWS_SESSION_TOKEN."
        )
    if code in _UNKNOWN_KEY or code in _SIGNATURE:
        return NoCredentials, (
            f"AWS does not accept your credentials in {_region(asked)} ({code}: {message}). They may be "
            f"mistyped or deleted, or the region may not be enabled for your account. See which are in "
            f"use with `aws sts get-caller-identity`."
        )
    if code in _THROTTLED:
        return Throttled, (
            f"AWS gets too many requests of yours at a time: {asked.action} was refused again and "
            f"again ({message}). Wait a minute, or use fewer workers."
        )
    if code in _ELSEWHERE:
        return Unreachable, (
            f"{_about(asked)} is not in region {_region(asked)} ({code}: {message}). Name the region where "
            f"Cloud Button was deployed: `region` in the settings of the backend, `--region`, or "
            f"AWS_DEFAULT_REGION."
        )
    if code in _MISSING:
        return (
            NotThere,
            f"{_about(asked)} is not there (region {_region(asked)}; {code}: {message}).",
        )
    if code in _THERE:
        return AlreadyThere, f"{_about(asked)}: {code}: {message}"
    return CloudServiceError, f"AWS refused {asked.action} for {_about(asked)}: {code}: {message}"


def _denied(message: str, asked: RequestContext) -> str:
    perform, resource = _PERFORM.search(message), _RESOURCE.search(message)
    user, denied_by = _USER.search(message), _DENIED_BY.search(message)
    action = perform["action"] if perform else asked.action
    on = resource["resource"] if resource else asked.resource
    who = user["user"] if user else "you"
    lacks = "lack" if who == "you" else "lacks"
    text = f"Not permitted: {who} {lacks} {action}{f' on {on}' if on else ''}. "
    if denied_by:
        text += (
            f"It is denied explicitly by {denied_by[1]}; whoever runs your account can tell why. "
        )
    return (
        f"{text}`cloudbutton policy lambda --for {asked.purpose}` prints all that is needed, to give to "
        f"whoever manages your AWS account."
    )


def _not_sent(
    error: aws.BotoCoreError, asked: RequestContext
) -> tuple[type[CloudServiceError], str]:
    if isinstance(error, aws.NoRegionError):
        return Unreachable, (
            "No AWS region is chosen. Choose one: `region` in the settings of the backend, `--region "
            "eu-central-1` on the command line, AWS_DEFAULT_REGION, or `aws configure`; the nearest to "
            "your data is the best."
        )
    if isinstance(error, aws.PartialCredentialsError):
        return NoCredentials, f"Your AWS credentials are incomplete: {error}."
    if isinstance(error, _LOGIN_ENDED):
        return NoCredentials, f"Your AWS login has ended ({error}). Log in again: `aws sso login`."
    if isinstance(
        error, (aws.NoCredentialsError, aws.CredentialRetrievalError, aws.NoAuthTokenError)
    ):
        return NoCredentials, (
            "No AWS credentials were found on this machine. Log in as you do for other AWS tools "
            "(`aws configure sso`, `aws configure`, or AWS_PROFILE to choose one); Cloud Button uses what "
            "is there and never asks for a key. To try without an account: `%cloud use lambda --emulate`."
            + ("" if isinstance(error, aws.NoCredentialsError) else f" ({error})")
        )
    if isinstance(error, aws.ProfileNotFound):
        return NoCredentials, (
            f"There is no AWS profile of that name ({error}). `aws configure list-profiles` lists them; "
            f"AWS_PROFILE chooses one."
        )
    if isinstance(error, (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError,
                          aws.ReadTimeoutError, aws.ConnectionClosedError, aws.SSLError,
                          aws.HTTPClientError, aws.InvalidRegionError,
                          aws.EndpointResolutionError)):  # fmt: skip
        return Unreachable, (
            f"AWS could not be reached ({error}).{_nearest(asked)} Is this machine online, and does a proxy "
            f"or firewall let it through?"
        )
    return CloudServiceError, f"{asked.action} could not be asked for: {error}"


def _nearest(asked: RequestContext) -> str:
    if not asked.region or not asked.regions or asked.region in asked.regions:
        return ""
    close = difflib.get_close_matches(asked.region, asked.regions, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else "."
    return f" AWS has no region `{asked.region}` that is known here{hint}"


def _about_time(message: str) -> bool:
    return bool(re.search(r"expired|not yet current|skew", message, re.I))


def _about(asked: RequestContext) -> str:
    return asked.resource or asked.action


def _region(asked: RequestContext) -> str:
    return asked.region or "no region"
