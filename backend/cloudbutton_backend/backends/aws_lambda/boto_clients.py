"""Requests to AWS with this machine's credentials; failures are translated into our errors."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import botocore.httpsession
import botocore.loaders
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cloudbutton_backend.backends.aws_lambda.aws_errors import (
    Purpose,
    RequestContext,
    from_exception,
)

#: What we use, by the names that the variables for endpoints have.
_SERVICES: Final = {
    "iam": "IAM",
    "lambda": "LAMBDA",
    "logs": "CLOUDWATCH_LOGS",
    "s3": "S3",
    "sts": "STS",
}
#: Throttling and broken connections are tried again by the client library, with jitter.
_RETRIES: Final = {"mode": "standard", "total_max_attempts": 6}
_CONNECT_WITHIN, _READ_WITHIN = 10.0, 70.0


def configured_endpoints(environment: Mapping[str, str]) -> dict[str, str]:
    """Return where services are, as far as environment variables say so. Pure."""
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return {}
    everywhere = environment.get("AWS_ENDPOINT_URL", "")
    found = {
        service: environment.get(f"AWS_ENDPOINT_URL_{name}") or everywhere
        for service, name in _SERVICES.items()
    }
    return {service: url for service, url in found.items() if url}


@functools.cache
def _loader() -> Any:
    """Return what reads the descriptions of AWS's services: megabytes, which all clients share."""
    return botocore.loaders.create_loader()


class BotoClients:
    """Makes botocore clients, one for each service, and translates what they raise.

    Parameters
    ----------
    region
        None: the one of the profile or of ``AWS_DEFAULT_REGION``.
    endpoints
        Where services are, other than at AWS; how the emulator is reached. None: as the variables say
        that other AWS tools follow, too (``AWS_ENDPOINT_URL_S3``, …).
    profile
        Of the user's AWS configuration; None: the one in use.
    environment
        Credentials to use instead of the ambient ones, under the names of the environment variables
        ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and ``AWS_SESSION_TOKEN``.
    purpose
        Which policy an error names that says what is missing.
    """

    def __init__(
        self,
        region: str | None = None,
        endpoints: Mapping[str, str] | None = None,
        *,
        profile: str | None = None,
        environment: Mapping[str, str] | None = None,
        purpose: Purpose = "run",
    ) -> None:
        self._region, self._profile, self._environment = region, profile, environment
        self.endpoints: Mapping[str, str] = (
            configured_endpoints(os.environ) if endpoints is None else dict(endpoints)
        )
        self.purpose = purpose
        self._clients: dict[str, Any] = {}
        # A session makes one client at a time; clients themselves may be shared among threads.
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        where = "emulated" if self.endpoints else self._profile or "ambient credentials"
        return f"<Clients {self._region or 'default region'} ({where})>"

    @functools.cached_property
    def region(self) -> str:
        """The region that requests go to."""
        with self.translated("sts", "GetCallerIdentity"):
            found = self._region or self._session.get_config_variable("region")
            if not found:
                from botocore.exceptions import NoRegionError

                raise NoRegionError
        return str(found)

    @functools.cached_property
    def account(self) -> str:
        """The number of the account that the credentials belong to."""
        return str(self.call("sts", "GetCallerIdentity")["Account"])

    def credentials(self) -> Any:
        """Return the credentials as they are now, to sign a request with."""
        with self.translated("sts", "GetCallerIdentity"):
            found = self._session.get_credentials()
            if found is None:
                from botocore.exceptions import NoCredentialsError

                raise NoCredentialsError
            return found.get_frozen_credentials()

    def authorities(self) -> str:
        """Return the file, or folder, with the certificate authorities that the client library trusts."""
        configured = self._session.get_config_variable("ca_bundle")
        return str(
            configured
            or os.environ.get("REQUESTS_CA_BUNDLE")
            or botocore.httpsession.get_cert_path(True)
        )

    def client(self, service: str) -> Any:
        """Return the botocore client of a service; call it inside `translated`."""
        region = self.region
        with self._lock:
            if service not in self._clients:
                with self.translated(service, "CreateClient"):
                    self._clients[service] = self._session.create_client(
                        service,
                        region_name=region,
                        endpoint_url=self.endpoints.get(service),
                        config=self._config(service),
                    )
            return self._clients[service]

    def call(
        self, service: str, operation: str, *, about: str = "", **parameters: Any
    ) -> dict[str, Any]:
        """Make one request; `operation` as AWS names it, `about` what it concerns, for errors."""
        client = self.client(service)
        with self.translated(service, operation, about=about):
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**parameters)
            return answer

    def pages(
        self, service: str, operation: str, *, about: str = "", **parameters: Any
    ) -> Iterator[dict[str, Any]]:
        """Make a request, and those for the pages that follow."""
        client = self.client(service)
        with self.translated(service, operation, about=about):
            yield from client.get_paginator(xform_name(operation)).paginate(**parameters)

    @contextmanager
    def translated(self, service: str, operation: str, *, about: str = "") -> Iterator[None]:
        """Turn the client library's errors in this block into ours."""
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            asked = RequestContext(
                service=service,
                operation=operation,
                region=self.__dict__.get("region", self._region),
                resource=about,
                purpose=self.purpose,
                regions=self._known_regions(),
            )
            raise from_exception(error, asked) from error

    @functools.cached_property
    def _session(self) -> Any:
        session = botocore.session.Session(profile=self._profile)
        session.register_component("data_loader", _loader())
        if self._environment is not None:
            session.set_credentials(
                self._environment["AWS_ACCESS_KEY_ID"],
                self._environment["AWS_SECRET_ACCESS_KEY"],
                self._environment.get("AWS_SESSION_TOKEN"),
            )
        return session

    def _known_regions(self) -> tuple[str, ...]:
        if self.endpoints:
            return ()
        # A session of its own: that of a profile that does not exist answers nothing at all.
        return tuple(botocore.session.Session().get_available_regions("lambda"))

    def _config(self, service: str) -> Config:
        # Endpoints that are given are not AWS's, and answer to one name only.
        s3 = {"addressing_style": "path"} if service in self.endpoints else None
        return Config(
            connect_timeout=_CONNECT_WITHIN,
            read_timeout=_READ_WITHIN,
            retries=_RETRIES,
            max_pool_connections=32,
            s3=s3,
        )
