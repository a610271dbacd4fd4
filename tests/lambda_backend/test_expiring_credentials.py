"""Credentials that end while a job runs: what functions are given must not end with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import ReadOnlyCredentials

from cloudbutton_backend.backends.aws_lambda import http as web_module
from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.bucket import Bucket
from cloudbutton_backend.backends.aws_lambda.http import SignedHttpClient
from cloudbutton_backend.backends.aws_lambda.remote_job import RemoteJob, Uploads
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.signing import Credentials, Endpoint
from tests.lambda_backend.harness import spec_of

HOME = DeploymentTarget(account="123456789012", region="eu-west-1", python="3.12")


class Session(BotoClients):
    """Credentials of a login, which the client library renews."""

    logins = 1

    def credentials(self) -> Any:
        return ReadOnlyCredentials(f"ASIA{self.logins}", "secret", f"token {self.logins}")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(web_module, "_FRESH", 0.0)
    endpoint = Endpoint("s3", HOME.region, "https", f"{HOME.bucket}.s3.example.com")
    web = SignedHttpClient(Session(HOME.region, {}), {"s3": endpoint})
    yield Bucket(web, HOME.bucket, HOME.region, HOME.account)
    Session.logins = 1


async def test_urls_are_signed_again_when_the_credentials_are(bucket: Bucket) -> None:
    job = RemoteJob(spec_of(lambda x: x), b"key", HOME, HOME, ())
    uploads = Uploads(bucket)

    async def signer() -> str:
        stop = json.loads(await job.shared_part(bucket, uploads))["stop"]
        return str(parse_qs(urlsplit(stop).query)["X-Amz-Security-Token"][0])

    assert [await signer(), await signer()] == ["token 1", "token 1"]
    Session.logins = 2
    assert await signer() == "token 2"


def test_credentials_are_not_shown() -> None:
    shown = repr(Credentials("AKIAEXAMPLE", "the secret", "the token"))
    assert "the secret" not in shown and "the token" not in shown
