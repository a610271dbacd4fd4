"""Signed requests to AWS at a high rate: a bounded pool of connections on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import socket
import ssl
import time
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.signing import Credentials, Endpoint, presigned, signed

_OTHERS: Final = 256
"""Descriptors that the rest of a notebook's process may need beside."""
_EACH: Final = 2
"""For a call: its own connection, and one to storage for what is too large for it."""


def connection_limit(calls: int) -> int:
    """Return how many of `calls` may be under way at a time, having the system's limit raised.

    Systems give a process a few hundred or a thousand descriptors at first, and more when it asks.
    """
    try:
        import resource
    except ImportError:  # Windows, where connections are none
        return calls
    wanted = _EACH * calls + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return calls
    more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):  # the system has a limit of its own above that
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
        soft = more
    return max(1, min(calls, (soft - min(_OTHERS, soft // 2)) // _EACH))


EMPTY: Final = hashlib.sha256(b"").hexdigest()
_FRESH: Final = 30.0
"""Seconds for which credentials are used before the client library is asked again: it renews them."""
_IDLE: Final = 20.0
"""Seconds after which an unused connection is closed, before the other side does so."""
_CONNECT_WITHIN: Final = 20.0
_PIECE: Final = 1 << 18


class NotSent(Exception):
    """A request never left: there was no connection. Repeating it costs nothing."""


class NoAnswer(Exception):
    """A connection ended after a request was sent: whether it was carried out is not known."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The answer to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class SignedHttpClient:
    """Makes requests; used on one event loop only.

    Parameters
    ----------
    clients
        Whose credentials and endpoints are used.
    endpoints
        By service.
    """

    def __init__(self, clients: BotoClients, endpoints: Mapping[str, Endpoint]) -> None:
        self._clients = clients
        self._endpoints = endpoints
        self._proxies = {name: _proxy(endpoint) for name, endpoint in endpoints.items()}
        self._session: aiohttp.ClientSession | None = None
        self._credentials: Credentials | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def credentials(self) -> Credentials:
        """Return the credentials to sign with. Renewing them may take seconds, hence the thread."""
        if self._credentials is None or time.monotonic() - self._read_at > _FRESH:
            async with self._reading:
                if self._credentials is None or time.monotonic() - self._read_at > _FRESH:
                    found = await asyncio.to_thread(self._clients.credentials)
                    self._credentials = Credentials(
                        found.access_key, found.secret_key, found.token or None
                    )
                    self._read_at = time.monotonic()
        return self._credentials

    def presign(self, credentials: Credentials, method: str, name: str, seconds: int) -> str:
        """Return a URL for one object in the bucket."""
        endpoint = self._endpoints["s3"]
        return presigned(credentials, endpoint, method, endpoint.path(name), time.time(), seconds)

    async def send(
        self,
        service: str,
        method: str,
        name: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[Any] = b"",
        sha256: str | None = None,
        timeout: float,
    ) -> HttpReply:
        """Make one request, once.

        Parameters
        ----------
        sha256
            Of the body, where it is not bytes.

        Raises
        ------
        NotSent, NoAnswer
            There is no telling apart beyond that; what the service answers is a `HttpReply`.
        """
        endpoint = self._endpoints[service]
        if sha256 is None:
            assert isinstance(body, bytes)
            sha256 = hashlib.sha256(body).hexdigest() if body else EMPTY
        url, found = signed(
            await self.credentials(),
            endpoint,
            method,
            endpoint.path(name),
            time.time(),
            query=query,
            headers=headers,
            sha256=sha256,
        )
        if self._session is None:
            self._session = _session(self._certificate_file())
        # As a file, bytes are written piece by piece, and other requests go on in between.
        data = io.BytesIO(body) if isinstance(body, bytes) and len(body) > _PIECE else body or None
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_WITHIN)
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                headers=found,
                data=data,
                timeout=limit,
                proxy=self._proxies[service],
            ) as response:
                return HttpReply(response.status, response.headers, await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(f"{endpoint.host}: {error}") from error
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise NoAnswer(f"{endpoint.host}: {type(error).__name__}: {error}") from error

    def _certificate_file(self) -> str | None:
        """Return the path of the trusted certificates; None without encryption, as in the emulator."""
        if all(endpoint.scheme == "http" for endpoint in self._endpoints.values()):
            return None
        return self._clients.authorities()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


def _proxy(endpoint: Endpoint) -> str | None:
    """Return the proxy that the environment names for a service, as other AWS tools use it.

    aiohttp would look for it at each request, on a thread, which takes as long as all the rest.
    """
    if proxy_bypass(endpoint.host):
        return None
    return getproxies().get(endpoint.scheme)


def _session(authorities: str | None) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,
        keepalive_timeout=_IDLE,
        ttl_dns_cache=60,
        socket_factory=_socket,
        ssl=True if authorities is None else _tls_context(authorities),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Content-Type"),
    )


def _tls_context(authorities: str) -> ssl.SSLContext:
    """Return the terms of encrypted connections: those of the client library, not of this machine.

    Behind a company's proxy, `AWS_CA_BUNDLE` names the trusted certificates; and some Pythons come
    without any authorities.
    """
    if os.path.isdir(authorities):
        return ssl.create_default_context(capath=authorities)
    return ssl.create_default_context(cafile=authorities)


def _socket(address: Any) -> socket.socket:
    """Return a socket whose other end is heard of while nothing is sent: a call may take 15 minutes."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
