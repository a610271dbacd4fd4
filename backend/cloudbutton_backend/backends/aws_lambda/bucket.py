"""An asynchronous client of the bucket: put, get and list objects, and presign URLs for functions."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from xml.etree import ElementTree

from cloudbutton_backend.backends.aws_lambda.aws_errors import RequestContext, from_code
from cloudbutton_backend.backends.aws_lambda.http import (
    HttpReply,
    NoAnswer,
    NotSent,
    SignedHttpClient,
)
from cloudbutton_backend.backends.aws_lambda.rate_limit import delay
from cloudbutton_backend.backends.aws_lambda.signing import Credentials
from cloudbutton_backend.errors import CloudServiceError, Unreachable
from cloudbutton_backend.worker.wire import Buffer

MOST: Final = 5 << 30
"""Bytes that S3 takes in one request."""
_ATTEMPTS: Final = 3
"""However long they take."""
_SMALL: Final = 1 << 20
_WITHIN: Final = 60.0
_SECONDS_PER_MB: Final = 2.0
"""What a very slow connection takes."""
_URL_SECONDS: Final = 12 * 3600
_CODE: Final = re.compile(rb"<Code>(.*?)</Code>")
_MESSAGE: Final = re.compile(rb"<Message>(.*?)</Message>", re.S)


class Pieces:
    """Buffers as a request's body, which can be sent more than once."""

    def __init__(self, pieces: Sequence[Buffer]) -> None:
        self.pieces = [memoryview(piece) for piece in pieces if len(piece)]
        self.nbytes = sum(len(piece) for piece in self.pieces)
        state = hashlib.sha256()
        for piece in self.pieces:
            state.update(piece)
        self.sha256 = state.hexdigest()

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for piece in self.pieces:
            for start in range(0, len(piece), _SMALL):
                yield piece[start : start + _SMALL]


class Bucket:
    """The bucket of job data and captured values. Each request is tried several times.

    All accounts share the names of buckets, so each request says whose this one must be.

    Parameters
    ----------
    patience
        Seconds for which nothing may get through.
    """

    def __init__(
        self, web: SignedHttpClient, name: str, region: str, account: str, patience: float = 60.0
    ) -> None:
        self._web, self.name, self._region, self._account = web, name, region, account
        self._patience = patience
        self._chance = random.Random()

    async def put(self, key: str, body: Pieces) -> None:
        """Put an object."""
        if body.nbytes > MOST:
            raise CloudServiceError(
                f"A value of {body.nbytes / 1e6:,.1f} MB is too large to be sent: S3 takes at most "
                f"{MOST / 1e6:,.1f} MB in one piece. Put it into storage yourself and read it in the task.",
                action="s3:PutObject",
                resource=key,
            )
        data: Any = b"".join(body.pieces) if body.nbytes <= _SMALL else body
        headers = {"Content-Length": str(body.nbytes)}
        await self._ask("PutObject", "PUT", key, headers=headers, body=data, sha256=body.sha256,
                        nbytes=body.nbytes)  # fmt: skip

    async def get(self, key: str, nbytes: int = 0) -> bytes:
        """Return an object, whose size is expected to be about `nbytes`."""
        return (await self._ask("GetObject", "GET", key, nbytes=nbytes)).body

    async def age(self, key: str) -> float | None:
        """Return an object's age in seconds, None if there is none."""
        reply = await self._ask("HeadObject", "HEAD", key, missing=True)
        if reply.status == 404:
            return None
        put_at = parsedate_to_datetime(reply.headers["Last-Modified"]).timestamp()
        return time.time() - put_at

    async def size(self, key: str) -> int:
        """Return the size of an object that exists."""
        return int((await self._ask("HeadObject", "HEAD", key)).headers["Content-Length"])

    async def list(self, prefix: str, after: str = "") -> list[tuple[str, int]]:
        """Return names and sizes of the objects under a prefix, those after `after`."""
        found: list[tuple[str, int]] = []
        while True:
            query = {"list-type": "2", "prefix": prefix}
            if after:
                query["start-after"] = after
            reply = await self._ask("ListObjectsV2", "GET", "", query=query)
            page = ElementTree.fromstring(reply.body)
            space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
            for entry in page.iter(f"{space}Contents"):
                key, size = entry.findtext(f"{space}Key"), entry.findtext(f"{space}Size")
                found.append((key or "", int(size or 0)))
            if page.findtext(f"{space}IsTruncated") != "true":
                return found
            after = found[-1][0]

    async def signer(self) -> Credentials:
        """Return the credentials that sign URLs now; the URLs expire with them."""
        return await self._web.credentials()

    async def url(self, method: str, key: str, seconds: int = _URL_SECONDS) -> str:
        """Return a URL that allows one kind of request on one object."""
        return self._web.presign(await self._web.credentials(), method, key, seconds)

    async def _ask(
        self,
        operation: str,
        method: str,
        key: str,
        *,
        missing: bool = False,
        nbytes: int = 0,
        headers: Mapping[str, str] | None = None,
        **request: Any,
    ) -> HttpReply:
        asked = RequestContext(
            service="s3",
            operation=operation,
            region=self._region,
            resource=f"s3://{self.name}/{key}",
        )
        found = {**(headers or {}), "x-amz-expected-bucket-owner": self._account}
        timeout = _WITHIN + _SECONDS_PER_MB * nbytes / 1e6
        trouble, attempt, begun = "", 0, time.monotonic()
        while attempt < _ATTEMPTS or time.monotonic() - begun < self._patience:
            if attempt:
                await asyncio.sleep(delay(attempt, self._chance))
            attempt += 1
            try:
                reply = await self._web.send(
                    "s3", method, key, headers=found, timeout=timeout, **request
                )
            except (NotSent, NoAnswer) as error:
                trouble = str(error)
                continue
            if reply.status < 300 or (missing and reply.status == 404):
                return reply
            code, text = _CODE.search(reply.body), _MESSAGE.search(reply.body)
            trouble = text[1].decode() if text else f"HTTP {reply.status}"
            if reply.status < 500 and reply.status != 429:
                raise from_code(code[1].decode() if code else str(reply.status), trouble, asked)
        raise Unreachable(
            f"{asked.resource} could not be reached in {attempt} attempts: {trouble}.",
            action=asked.action,
            code="",
            resource=asked.resource,
        )
