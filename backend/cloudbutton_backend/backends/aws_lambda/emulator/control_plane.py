"""Lambda's API beside Invoke: moto answers, and requests are recorded so that code can run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import web

from cloudbutton_backend.backends.aws_lambda.emulator import function_store, limits
from cloudbutton_backend.backends.aws_lambda.emulator.clock import EmulatorClock
from cloudbutton_backend.backends.aws_lambda.emulator.emulated_faults import EmulatedFaults
from cloudbutton_backend.backends.aws_lambda.emulator.environment_pool import EnvironmentPool
from cloudbutton_backend.backends.aws_lambda.emulator.environment_variables import SERVICE_KEY
from cloudbutton_backend.backends.aws_lambda.emulator.function_store import (
    LATEST,
    FunctionReference,
    FunctionStore,
    RequestRejected,
    invalid,
)
from cloudbutton_backend.backends.aws_lambda.emulator.iam_requests import ApiOperation
from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits

_NOT_FORWARDED: Final = {"host", "content-length", "transfer-encoding", "connection"}
_NOT_RETURNED: Final = {"content-length", "transfer-encoding", "connection", "content-encoding"}
Body = dict[str, Any]

#: How Lambda itself asks S3 for code. Whether its caller may have it is recorded with the request.
_AS_SERVICE: Final = {
    "Authorization": "AWS4-HMAC-SHA256 "
    f"Credential={SERVICE_KEY}/20261120/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
}


@dataclass(frozen=True)
class ApiResponse:
    """An answer from moto."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Body:
        found = json.loads(self.body or b"{}")
        return found if isinstance(found, dict) else {}


class ControlPlane:
    """Functions, layers, versions and reservations."""

    def __init__(
        self,
        moto: str,
        library: FunctionStore,
        pool: EnvironmentPool,
        limits: LambdaLimits,
        clock: EmulatorClock,
    ) -> None:
        self._moto, self._library, self._pool = moto, library, pool
        self._limits, self._clock = limits, clock
        self._session: aiohttp.ClientSession | None = None
        self._refused_roles = 0
        self.faults = EmulatedFaults()
        self._special: Mapping[str, Callable[[_Asked], Awaitable[web.Response]]] = {
            "CreateFunction": self._create_function,
            "UpdateFunctionCode": self._update,
            "UpdateFunctionConfiguration": self._update,
            "DeleteFunction": self._delete_function,
            "PublishVersion": self._publish_version,
            "PublishLayerVersion": self._publish_layer,
            "PutFunctionConcurrency": self._put_concurrency,
            "DeleteFunctionConcurrency": self._delete_concurrency,
            "PutFunctionEventInvokeConfig": self._event_config,
            "UpdateFunctionEventInvokeConfig": self._event_config,
            "GetFunction": self._get,
            "GetFunctionConfiguration": self._get,
            "GetAccountSettings": self._account,
        }

    async def answer(
        self, request: web.BaseRequest, operation: ApiOperation | None, region: str
    ) -> web.Response:
        """Answer any request but Invoke."""
        body = await request.read()
        reference = FunctionReference.parse(
            (operation.parts if operation else {}).get("f", ""), request.query.get("Qualifier")
        )
        asked = _Asked(request, body, region, reference, operation.parts if operation else {})
        special = self._special.get(operation.action) if operation else None
        if special is None:
            return _passed_on(await self._forward(asked))
        return await special(asked)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _create_function(self, asked: _Asked) -> web.Response:
        wanted = asked.json
        name = FunctionReference.parse(str(wanted.get("FunctionName", "")), None).name
        if (asked.region, name) in self._library.entries:
            raise RequestRejected(
                409, "ResourceConflictException", f"Function already exist: {name}"
            )
        if self._refused_roles < self.faults.role_not_ready:
            self._refused_roles += 1
            raise invalid("The role defined for the function cannot be assumed by Lambda.")
        archive = await self._archive(wanted.get("Code") or {})
        _check(wanted)
        self._library.check_size(archive, asked.region, name, wanted.get("Layers") or [])
        answer = await self._forward(asked)
        if answer.status < 300:
            ready_at = self._clock.now() + self._limits.pending_seconds
            await asyncio.to_thread(self._library.put, answer.json, archive, ready_at)
            if wanted.get("Publish"):
                self._library.publish(asked.region, name, "1")
        return self._with_state(answer, asked.region, name)

    async def _update(self, asked: _Asked) -> web.Response:
        """Change a function's code or configuration."""
        entry, _ = self._library.find(asked.region, FunctionReference(asked.name, None))
        if self._clock.now() < entry.ready_at:
            arn = entry.versions[LATEST].arn
            message = (
                "The operation cannot be performed at this time. "
                f"An update is in progress for resource: {arn}"
            )
            raise RequestRejected(409, "ResourceConflictException", message)
        wanted = asked.json
        is_code = asked.request.path.rstrip("/").endswith("/code")
        archive = await self._archive(wanted) if is_code else None
        _check(wanted)
        old = self._library.layers_of(asked.region, asked.name)
        layers = wanted.get("Layers")
        self._library.check_size(
            archive, asked.region, asked.name, old if layers is None else layers
        )
        answer = await self._forward(asked)
        if answer.status < 300:
            ready_at = self._clock.now() + self._limits.pending_seconds
            await asyncio.to_thread(self._library.put, answer.json, archive, ready_at)
            self._pool.expire()
            if wanted.get("Publish"):
                version = str(answer.json.get("Version", LATEST))
                self._library.publish(asked.region, asked.name, version)
        return self._with_state(answer, asked.region, asked.name)

    async def _delete_function(self, asked: _Asked) -> web.Response:
        answer = await self._forward(asked)
        if answer.status < 300:
            version = asked.reference.version
            self._library.drop(asked.region, asked.name, version)
            self._pool.expire()
        return _passed_on(answer)

    async def _publish_version(self, asked: _Asked) -> web.Response:
        answer = await self._forward(asked)
        if answer.status < 300:
            self._library.publish(asked.region, asked.name, str(answer.json["Version"]))
        return self._with_state(answer, asked.region, asked.name)

    async def _publish_layer(self, asked: _Asked) -> web.Response:
        archive = await self._archive(asked.json.get("Content") or {})
        size = function_store.unzipped_size(archive)
        if size > self._limits.unzipped_bytes:
            raise invalid(f"Unzipped size must be smaller than {self._limits.unzipped_bytes} bytes")
        answer = await self._forward(asked)
        if answer.status < 300:
            self._library.add_layer(answer.json["LayerVersionArn"], archive)
        return _passed_on(answer)

    async def _put_concurrency(self, asked: _Asked) -> web.Response:
        entry, _ = self._library.find(asked.region, FunctionReference(asked.name, None))
        wanted = int(asked.json.get("ReservedConcurrentExecutions") or 0)
        others = sum(e.reserved or 0 for e in self._library.entries.values() if e is not entry)
        message = limits.reservation_refusal(wanted, others, self._limits)
        if message is not None:
            raise invalid(message)
        answer = await self._forward(asked)
        if answer.status < 300:
            entry.reserved = wanted
        return _passed_on(answer)

    async def _delete_concurrency(self, asked: _Asked) -> web.Response:
        answer = await self._forward(asked)
        if answer.status < 300:
            self._library.find(asked.region, FunctionReference(asked.name, None))[0].reserved = None
        return _passed_on(answer)

    async def _event_config(self, asked: _Asked) -> web.Response:
        answer = await self._forward(asked)
        if answer.status < 300 and "MaximumRetryAttempts" in asked.json:
            entry, _ = self._library.find(asked.region, FunctionReference(asked.name, None))
            entry.retries = int(asked.json["MaximumRetryAttempts"])
        return _passed_on(answer)

    async def _get(self, asked: _Asked) -> web.Response:
        return self._with_state(await self._forward(asked), asked.region, asked.name)

    async def _account(self, _asked: _Asked) -> web.Response:
        """Answer for the account, which moto does not know."""
        reserved = sum(entry.reserved or 0 for entry in self._library.entries.values())
        limit = {
            "CodeSizeUnzipped": self._limits.unzipped_bytes,
            "CodeSizeZipped": self._limits.zipped_bytes,
            "ConcurrentExecutions": self._limits.concurrency,
            "TotalCodeSize": 80_530_636_800,
            "UnreservedConcurrentExecutions": self._limits.concurrency - reserved,
        }
        usage = {"FunctionCount": len(self._library.entries), "TotalCodeSize": 0}
        return web.json_response({"AccountLimit": limit, "AccountUsage": usage})

    def _with_state(self, answer: ApiResponse, region: str, name: str) -> web.Response:
        """Add the function's state, which boto3's waiters read."""
        entry = self._library.entries.get((region, name))
        if answer.status >= 300 or entry is None:
            return _passed_on(answer)
        body = answer.json
        configuration = body.get("Configuration", body)
        waits = self._clock.now() < entry.ready_at
        configuration["State"] = "Pending" if waits and entry.is_new else "Active"
        if waits and entry.is_new:
            configuration["StateReasonCode"] = "Creating"
            configuration["StateReason"] = "The function is being created."
        configuration["LastUpdateStatus"] = (
            "InProgress" if waits and not entry.is_new else "Successful"
        )
        return web.Response(
            body=json.dumps(body).encode(),
            status=answer.status,
            content_type="application/json",
        )

    async def _archive(self, source: Body) -> bytes:
        """Return the zip file that a request carries, or names in S3."""
        if "ZipFile" in source:
            archive = function_store.decoded(source["ZipFile"])
            if len(archive) > self._limits.zipped_bytes:
                limit = self._limits.zipped_bytes
                message = f"Request must be smaller than {limit} bytes for this operation"
                raise RequestRejected(413, "RequestEntityTooLargeException", message)
            return archive
        if "S3Bucket" not in source:
            raise invalid("Please provide a source for function code.")
        url = f"{self._moto}/{source['S3Bucket']}/{source.get('S3Key', '')}"
        async with self._http().get(url, headers=_AS_SERVICE) as got:
            if got.status != 200:
                raise invalid(
                    "Error occurred while GetObject. S3 Error Code: NoSuchKey. "
                    "S3 Error Message: The specified key does not exist."
                )
            return await got.read()

    async def _forward(self, asked: _Asked) -> ApiResponse:
        """Forward the request to moto."""
        headers = {
            name: value
            for name, value in asked.request.headers.items()
            if name.lower() not in _NOT_FORWARDED
        }
        url = self._moto + asked.request.raw_path
        async with self._http().request(
            asked.request.method, _as_is(url), headers=headers, data=asked.body
        ) as got:
            return ApiResponse(got.status, got.headers, await got.read())

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=True)
        return self._session


@dataclass(frozen=True)
class _Asked:
    """A request, and what its address says."""

    request: web.BaseRequest
    body: bytes
    region: str
    reference: FunctionReference
    parts: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.reference.name

    @property
    def json(self) -> Body:
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            raise RequestRejected(
                400, "SerializationException", "The request is not JSON."
            ) from None
        return found if isinstance(found, dict) else {}


def _check(wanted: Body) -> None:
    """Refuse a configuration that Lambda would refuse."""
    for name, low, high in (("MemorySize", 128, 10_240), ("Timeout", 1, 900)):
        value = wanted.get(name)
        if value is not None and not low <= value <= high:
            raise RequestRejected(
                400,
                "ValidationException",
                f"Value '{value}' at '{name[0].lower()}{name[1:]}' failed to satisfy constraint: "
                f"Member must have value between {low} and {high}",
            )
    variables = (wanted.get("Environment") or {}).get("Variables") or {}
    if sum(len(k) + len(v) for k, v in variables.items()) > 4096:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment "
            "variables you have provided exceeded the 4KB limit."
        )


def _passed_on(answer: ApiResponse) -> web.Response:
    headers = {
        name: value for name, value in answer.headers.items() if name.lower() not in _NOT_RETURNED
    }
    return web.Response(body=answer.body, status=answer.status, headers=headers)


def _as_is(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)
