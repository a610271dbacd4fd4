"""Our signatures are those of botocore, character by character."""

from __future__ import annotations

import calendar
import hashlib
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials

from cloudbutton_backend.backends.aws_lambda.signing import (
    Credentials,
    Endpoint,
    presigned,
    signed,
)

LAMBDA = Endpoint("lambda", "eu-central-1", "https", "lambda.eu-central-1.amazonaws.com")
S3 = Endpoint("s3", "eu-west-1", "https", "b-123-eu-west-1.s3.eu-west-1.amazonaws.com")
EMULATED = Endpoint("s3", "us-east-1", "http", "127.0.0.1:5000", "/a-bucket")
KEYS = [Credentials("AKIA", "secret/+x"), Credentials("ASIA", "other", "to+ken/==")]


def signed_at(request: AWSRequest) -> float:
    """Return when botocore has signed a request, which it says in whole seconds."""
    said = time.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ")
    return float(calendar.timegm(said))


def theirs(credentials: Credentials) -> TheirCredentials:
    return TheirCredentials(credentials.access_key, credentials.secret_key, credentials.token)


@pytest.mark.parametrize("credentials", KEYS, ids=["user", "session"])
@pytest.mark.parametrize(
    ("endpoint", "method", "name", "query", "headers", "body"),
    [
        (LAMBDA, "POST", "2015-03-31/functions/cloudbutton-py311/invocations", {}, {}, b"{}"),
        (
            LAMBDA,
            "POST",
            "2015-03-31/functions/f/invocations",
            {},
            {"X-Amz-Log-Type": "Tail", "X-Amz-Invocation-Type": "RequestResponse"},
            b"x" * 1000,
        ),
        (S3, "GET", "", {"list-type": "2", "prefix": "jobs/abc/results/"}, {}, b""),
        (S3, "PUT", "jobs/abc/results/7", {}, {"If-None-Match": "*"}, b"data"),
        (EMULATED, "GET", "blobs/name with space+~", {}, {}, b""),
    ],
)
def test_a_signed_request_is_the_one_that_botocore_makes(
    credentials: Credentials,
    endpoint: Endpoint,
    method: str,
    name: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
) -> None:
    digest = hashlib.sha256(body).hexdigest()

    def ours(now: float) -> tuple[str, dict[str, str]]:
        path = endpoint.path(name)
        return signed(
            credentials, endpoint, method, path, now, query=query, headers=headers, sha256=digest
        )

    url, _ = ours(0.0)
    request = AWSRequest(
        method, url, headers={**headers, "X-Amz-Content-SHA256": digest}, data=body
    )
    auth: Any = botocore.auth.S3SigV4Auth if endpoint.service == "s3" else botocore.auth.SigV4Auth
    request.context["client_config"] = None
    auth(theirs(credentials), endpoint.service, endpoint.region).add_auth(request)
    assert ours(signed_at(request))[1]["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize("credentials", KEYS, ids=["user", "session"])
@pytest.mark.parametrize("endpoint", [S3, EMULATED], ids=["aws", "emulated"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_presigned_url_is_the_one_that_botocore_makes(
    credentials: Credentials, endpoint: Endpoint, method: str
) -> None:
    path = endpoint.path("jobs/abc/results/7")
    request = AWSRequest(method, endpoint.url(path))
    botocore.auth.S3SigV4QueryAuth(
        theirs(credentials), "s3", endpoint.region, expires=3600
    ).add_auth(request)
    ours = presigned(credentials, endpoint, method, path, signed_at(request), 3600)
    assert _pieces(ours) == _pieces(request.url)


def _pieces(url: str) -> tuple[str, str, dict[str, str]]:
    parts = urlsplit(url)
    return parts.netloc, parts.path, dict(parse_qsl(parts.query))
