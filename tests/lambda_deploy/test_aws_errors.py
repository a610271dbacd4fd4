"""What AWS and its client library say comes out as our errors, with the user's names and what to do."""

from __future__ import annotations

import pickle

import pytest
from botocore import exceptions as aws

from cloudbutton_backend.backends.aws_lambda.aws_errors import (
    RequestContext,
    from_code,
    from_exception,
)
from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.errors import (
    AlreadyThere,
    CloudServiceError,
    NoCredentials,
    NotPermitted,
    NotThere,
    Throttled,
    Unreachable,
)

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:cloudbutton-py311-x86_64-1769"
ASKED = RequestContext(
    service="lambda",
    operation="CreateFunction",
    region="eu-central-2",
    resource="function cloudbutton-py311-x86_64-1769",
    purpose="deploy",
    regions=("eu-central-1", "eu-west-1", "us-east-1"),
)


@pytest.mark.parametrize(
    ("code", "message", "kind", "told"),
    [
        (
            "AccessDeniedException",
            "User: arn:aws:iam::123456789012:user/ada is not authorized to perform: "
            f"lambda:CreateFunction on resource: {ARN} because no identity-based policy allows it",
            NotPermitted,
            f"arn:aws:iam::123456789012:user/ada lacks lambda:CreateFunction on {ARN}",
        ),
        (
            "AccessDenied",
            "Access Denied",
            NotPermitted,
            "you lack lambda:CreateFunction on function",
        ),
        ("403", "Forbidden", NotPermitted, "`cloudbutton policy lambda --for deploy` prints"),
        (
            "AccessDenied",
            "… with an explicit deny in a service control policy",
            NotPermitted,
            "denied explicitly by service control policy",
        ),
        ("ExpiredTokenException", "expired", NoCredentials, "aws sso login"),
        ("InvalidClientTokenId", "no such key", NoCredentials, "region may not be enabled"),
        ("SignatureDoesNotMatch", "Signature expired: …", Unreachable, "clock is wrong"),
        ("SignatureDoesNotMatch", "Check your key", NoCredentials, "mistyped"),
        ("RequestTimeTooSkewed", "too large", Unreachable, "clock is wrong"),
        ("TooManyRequestsException", "Rate exceeded", Throttled, "fewer workers"),
        ("PermanentRedirect", "use another endpoint", Unreachable, "--region"),
        ("NoSuchBucket", "gone", NotThere, "is not there"),
        ("ResourceConflictException", "in progress", AlreadyThere, "in progress"),
        ("CodeStorageExceededException", "75 GB", CloudServiceError, "75 GB"),
    ],
)
def test_a_refusal_says_what_happened_and_what_to_do(
    code: str, message: str, kind: type[CloudServiceError], told: str
) -> None:
    error = from_code(code, message, ASKED)
    assert type(error) is kind
    assert told in str(error)
    assert (error.action, error.code) == ("lambda:CreateFunction", code)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (aws.NoCredentialsError(), NoCredentials, "never asks for a key"),
        (aws.PartialCredentialsError(provider="env", cred_var="key"), NoCredentials, "incomplete"),
        (aws.UnauthorizedSSOTokenError(), NoCredentials, "aws sso login"),
        (aws.ProfileNotFound(profile="lab"), NoCredentials, "lab"),
        (aws.NoRegionError(), Unreachable, "--region"),
        (
            aws.EndpointConnectionError(endpoint_url="https://lambda.eu-central-2…"),
            Unreachable,
            "did you mean `eu-central-1`",
        ),
        (aws.ConnectTimeoutError(endpoint_url="https://…"), Unreachable, "proxy or firewall"),
        (aws.SSLError(endpoint_url="https://…", error="self-signed"), Unreachable, "self-signed"),
    ],
)
def test_what_never_reached_aws_is_explained_too(
    error: aws.BotoCoreError, kind: type[CloudServiceError], told: str
) -> None:
    found = from_exception(error, ASKED)
    assert type(found) is kind
    assert told in str(found)


@pytest.mark.parametrize(
    "name", [name for name in dir(aws) if name.endswith(("Error", "Exception"))]
)
def test_no_error_of_the_client_library_gets_through_as_it_is(name: str) -> None:
    kind = getattr(aws, name)
    if not (isinstance(kind, type) and issubclass(kind, aws.BotoCoreError)):
        kind = aws.BotoCoreError
    error = kind.__new__(kind)
    Exception.__init__(error, "as it says itself")
    assert isinstance(from_exception(error, ASKED), CloudServiceError)


def test_an_error_travels_between_processes_with_what_it_knows() -> None:
    error = pickle.loads(pickle.dumps(from_code("AccessDenied", "Access Denied", ASKED)))
    assert type(error) is NotPermitted
    assert error.action == "lambda:CreateFunction"
    assert "you lack" in str(error)


@pytest.mark.usefixtures("without_configuration")
def test_without_credentials_the_first_request_says_so() -> None:
    with pytest.raises(NoCredentials, match="No AWS credentials were found"):
        BotoClients("eu-central-1").account


@pytest.mark.usefixtures("without_configuration")
def test_without_a_region_the_first_look_says_so() -> None:
    with pytest.raises(Unreachable, match=r"No AWS region is chosen.*settings.*`--region"):
        BotoClients().region


@pytest.mark.usefixtures("without_configuration")
def test_a_profile_that_does_not_exist_is_named() -> None:
    with pytest.raises(NoCredentials, match="lab"):
        BotoClients("eu-central-1", profile="lab").account


def test_an_endpoint_where_nobody_listens_is_unreachable() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    clients = BotoClients("eu-central-1", {"sts": "http://127.0.0.1:1"}, environment=keys)
    with pytest.raises(Unreachable, match="could not be reached"):
        clients.account
