"""Our signatures are those of botocore, character by character."""

from __future__ import annotations

import calendar
import datetime
import hashlib
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

THEN = datetime.datetime(2026, 11, 20, 12, 30, 15)
NOW = float(calendar.timegm(THEN.timetuple()))
LAMBDA = Endpoint("lambda", "eu-central-1", "https", "lambda.eu-central-1.amazonaws.com")
S3 = Endpoint("s3", "eu-west-1", "https", "b-123-eu-west-1.s3.eu-west-1.amazonaws.com")
EMULATED = Endpoint("s3", "us-east-1", "http", "127.0.0.1:5000", "/a-bucket")
KEYS = [Credentials("AKIA", "secret/+x"), Credentials("ASIA", "other", "to+ken/==")]


@pytest.fixture(autouse=True)
def _their_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: THEN, raising=False)


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
    url, ours = signed(
        credentials,
        endpoint,
        method,
        endpoint.path(name),
        NOW,
        query=query,
        headers=headers,
        sha256=digest,
    )
    request = AWSRequest(
        method, url, headers={**headers, "X-Amz-Content-SHA256": digest}, data=body
    )
    auth: Any = botocore.auth.S3SigV4Auth if endpoint.service == "s3" else botocore.auth.SigV4Auth
    request.context["client_config"] = None
    auth(theirs(credentials), endpoint.service, endpoint.region).add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize("credentials", KEYS, ids=["user", "session"])
@pytest.mark.parametrize("endpoint", [S3, EMULATED], ids=["aws", "emulated"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_presigned_url_is_the_one_that_botocore_makes(
    credentials: Credentials, endpoint: Endpoint, method: str
) -> None:
    path = endpoint.path("jobs/abc/results/7")
    ours = presigned(credentials, endpoint, method, path, NOW, 3600)
    request = AWSRequest(method, endpoint.url(path))
    botocore.auth.S3SigV4QueryAuth(
        theirs(credentials), "s3", endpoint.region, expires=3600
    ).add_auth(request)
    assert _pieces(ours) == _pieces(request.url)


def _pieces(url: str) -> tuple[str, str, dict[str, str]]:
    parts = urlsplit(url)
    return parts.netloc, parts.path, dict(parse_qsl(parts.query))
