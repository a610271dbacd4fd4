"""A user of the emulated account, and functions of a few lines of source."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import boto3
from botocore.config import Config

from cloudbutton_backend.backends.aws_lambda.emulator import Emulator
from cloudbutton_backend.backends.aws_lambda.emulator.zygote_client import runtime_name

_numbers = itertools.count(1)


def zipped(files: Mapping[str, str]) -> bytes:
    """Return a zip archive of text files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@dataclass(frozen=True)
class Answer:
    """What came back of an invocation."""

    status: int
    error: str | None
    body: Any
    log: str
    headers: Mapping[str, str]

    @property
    def report(self) -> str:
        return next(line for line in self.log.splitlines() if line.startswith("REPORT"))


class Account:
    """A user of an emulated account."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._role = ""
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, service: str) -> Any:
        """Return a client that tries nothing twice."""
        key = service, self.emulator.region
        if key not in self._clients:
            self._clients[key] = boto3.client(
                service,
                endpoint_url=self.emulator.endpoints[service],
                region_name=self.emulator.region,
                aws_access_key_id=self.emulator.environment["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key="emulated",
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self._clients[key]

    @property
    def role(self) -> str:
        if not self._role:
            made = self.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
            self._role = made["Role"]["Arn"]
        return self._role

    def function(
        self, source: str, *, files: Mapping[str, str] | None = None, **options: Any
    ) -> str:
        """Create a function whose module is `source`; return its name."""
        handler = options.pop("Handler", "module.handler")
        return self.package(zipped({"module.py": source, **(files or {})}), handler, **options)

    def package(self, archive: bytes, handler: str, **options: Any) -> str:
        """Create a function of a deployment package; return its name."""
        name = f"f{next(_numbers)}"
        self.client("lambda").create_function(
            FunctionName=name,
            Runtime=options.pop("Runtime", runtime_name()),
            Role=self.role,
            Handler=handler,
            Code={"ZipFile": archive},
            **{"Timeout": 20, "MemorySize": 256, **options},
        )
        self.emulator.advance(self.emulator.limits.pending_seconds)
        return name

    def invoke(self, name: str, event: Any = None, **options: Any) -> Answer:
        """Invoke a function with boto3 and wait for its answer."""
        got = self.client("lambda").invoke(
            FunctionName=name,
            Payload=json.dumps({} if event is None else event),
            **{"LogType": "Tail", **options},
        )
        body = got["Payload"].read()
        return Answer(
            got["StatusCode"],
            got.get("FunctionError"),
            json.loads(body) if body else None,
            base64.b64decode(got.get("LogResult", "")).decode(),
            got["ResponseMetadata"]["HTTPHeaders"],
        )

    def invoke_together(self, name: str, events: list[Any]) -> list[tuple[int, Any]]:
        """Invoke a function with all events at the same time; return statuses and bodies."""
        url = f"{self.emulator.endpoints['lambda']}/2015-03-31/functions/{name}/invocations"

        async def all_of_them() -> list[tuple[int, Any]]:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector, headers=SIGNED) as session:

                async def one(event: Any) -> tuple[int, Any]:
                    async with session.post(url, json=event) as got:
                        return got.status, await got.json(content_type=None)

                return await asyncio.gather(*map(one, events))

        return asyncio.run(all_of_them())


#: The emulator wants a signature, and looks at who signed and for where.
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 "
    "Credential=AKIAEMULATEDUSER0000/20261120/us-east-1/lambda/aws4_request, Signature=0"
}


def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return what `condition` returns once that is true; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{condition} did not become true"
        time.sleep(0.01)
