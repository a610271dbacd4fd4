"""AWS's Signature Version 4, for the two kinds of requests made in great numbers. Pure.

botocore signs anything and takes 150 µs to do so; an invocation of a function has to be signed a
thousand times in a row, with three presigned URLs inside.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from time import gmtime, strftime
from typing import Final
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_SAFE_IN_PATH: Final = "/-_.~"
_SAFE_IN_QUERY: Final = "-_.~"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that sign requests."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a service."""

    service: str
    region: str
    scheme: str
    host: str
    """With the port, where it is not the scheme's own."""
    prefix: str = ""
    """What every path begins with: the bucket, where it is not in the host's name."""

    def url(self, path: str, query: str = "") -> str:
        """Return the URL of an encoded path."""
        return f"{self.scheme}://{self.host}{path}{'?' if query else ''}{query}"

    def path(self, name: str) -> str:
        """Return the encoded path of what the service knows as `name`."""
        return quote(f"{self.prefix}/{name}", safe=_SAFE_IN_PATH)


@lru_cache(maxsize=16)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _signature(
    credentials: Credentials, endpoint: Endpoint, stamp: str, scope: str, canonical: str
) -> str:
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    key = _signing_key(credentials.secret_key, stamp[:8], endpoint.region, endpoint.service)
    return hmac.digest(key, text.encode(), "sha256").hex()


def _query(parameters: Mapping[str, str]) -> str:
    return "&".join(
        f"{quote(name, safe=_SAFE_IN_QUERY)}={quote(parameters[name], safe=_SAFE_IN_QUERY)}"
        for name in sorted(parameters)
    )


def signed(
    credentials: Credentials,
    endpoint: Endpoint,
    method: str,
    path: str,
    now: float,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    sha256: str,
) -> tuple[str, dict[str, str]]:
    """Return the URL of a request and its headers, the signature among them.

    Parameters
    ----------
    path
        Encoded.
    now
        Unix time.
    headers
        All are signed.
    sha256
        Of the body, in hex.
    """
    stamp = strftime("%Y%m%dT%H%M%SZ", gmtime(now))
    scope = f"{stamp[:8]}/{endpoint.region}/{endpoint.service}/aws4_request"
    found = {name.lower(): value for name, value in (headers or {}).items()}
    found |= {"host": endpoint.host, "x-amz-date": stamp, "x-amz-content-sha256": sha256}
    if credentials.token:
        found["x-amz-security-token"] = credentials.token
    names = sorted(found)
    listed = ";".join(names)
    lines = "".join(f"{name}:{found[name].strip()}\n" for name in names)
    text = _query(query or {})
    canonical = f"{method}\n{path}\n{text}\n{lines}\n{listed}\n{sha256}"
    signature = _signature(credentials, endpoint, stamp, scope, canonical)
    found["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={listed}, Signature={signature}"
    )
    return endpoint.url(path, text), found


def presigned(
    credentials: Credentials,
    endpoint: Endpoint,
    method: str,
    path: str,
    now: float,
    seconds: int,
) -> str:
    """Return a URL that allows anyone one kind of request for `seconds`."""
    stamp = strftime("%Y%m%dT%H%M%SZ", gmtime(now))
    scope = f"{stamp[:8]}/{endpoint.region}/{endpoint.service}/aws4_request"
    parameters = {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.token:
        parameters["X-Amz-Security-Token"] = credentials.token
    text = _query(parameters)
    canonical = f"{method}\n{path}\n{text}\nhost:{endpoint.host}\n\nhost\n{_UNSIGNED}"
    signature = _signature(credentials, endpoint, stamp, scope, canonical)
    return endpoint.url(path, f"{text}&X-Amz-Signature={signature}")
