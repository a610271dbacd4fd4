"""A job on Lambda: where its parts are stored, which function runs it, and how its calls are stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda import call_encoding
from cloudbutton_backend.backends.aws_lambda.bucket import Bucket, Pieces
from cloudbutton_backend.backends.aws_lambda.call_encoding import stop_text
from cloudbutton_backend.backends.aws_lambda.deployment.actual import ActualFunction
from cloudbutton_backend.backends.aws_lambda.deployment.desired import FREE_STORAGE
from cloudbutton_backend.backends.aws_lambda.resource_names import (
    Arch,
    DeploymentTarget,
    blob_key,
    environment_key,
    job_prefix,
)
from cloudbutton_backend.backends.aws_lambda.signing import Credentials
from cloudbutton_backend.backends.protocol import BatchCall, JobSpec
from cloudbutton_backend.cost import Rate, lambda_rate, storage_prices
from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.worker.aws_lambda.call_wire import (
    ASK_EVERY,
    START_ALLOWANCE,
    inline_part,
    stored_part,
)
from cloudbutton_backend.worker.wire import layout

_RENEW: Final = 1800.0
"""Seconds for which URLs are used at most, while the credentials that signed them are in use."""
_BLOB_AGE: Final = 20 * 86400.0
"""A captured value that was put longer ago is put again: it expires after 30 days."""
_PUTS, _GETS = 2, 4
"""Requests to storage that one call makes at most, beside asking every second whether it must stop."""
_START_SECONDS: Final = START_ALLOWANCE + 0.5
"""Billed at most for a new environment, beyond what is taken off the call's lease: what the platform
does before our code is loaded."""


@dataclass(frozen=True, slots=True)
class SentParts:
    """An encoded call: the body of the request, and the storage requests it took."""

    body: bytes
    puts: int


class Uploads:
    """Uploads captured values and functions, each once."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, tuple[str, int]] = {}
        """SHA-256 and size, by the digest that captured values have here."""
        self._under_way: dict[str, asyncio.Lock] = {}

    async def put(self, digest: str, parts: Sequence[Any]) -> tuple[str, int]:
        """Put a value, unless it is there; return its SHA-256 and size."""
        async with self._under_way.setdefault(digest, asyncio.Lock()):
            if digest not in self._known:
                pieces = await asyncio.to_thread(Pieces, layout(parts)[0])
                await self.put_pieces(pieces)
                self._known[digest] = pieces.sha256, pieces.nbytes
        return self._known[digest]

    async def put_pieces(self, pieces: Pieces) -> None:
        """Put bytes under their own digest, unless they are there."""
        key = blob_key(pieces.sha256)
        age = await self._bucket.age(key)
        if age is None or age > _BLOB_AGE:
            await self._bucket.put(key, pieces)


@dataclass(eq=False, slots=True)
class RemoteJob:
    """One job. Used on the event loop."""

    spec: JobSpec
    key: bytes
    usual: DeploymentTarget
    """The function by whose price calls are budgeted."""
    target: DeploymentTarget
    """The function that runs it, but for items that need more memory."""
    variables: Sequence[str]
    imports: frozenset[str] = frozenset()
    """What its function has beside the runtime's own packages, by import name."""
    packages: str | None = None
    """SHA-256 of the archive of packages that the function fetches."""
    storage: int = FREE_STORAGE
    """MiB of /tmp that it has."""
    detached: bool = False
    stopped: set[int] = field(default_factory=set)
    """Batches that were told to stop."""
    needs: dict[int, int] = field(default_factory=dict)
    """MiB that certain items need, as they ran out of memory before."""
    lost: dict[int, int] = field(default_factory=dict)
    """How often calls that begin with an item were lost without a trace."""
    ready: asyncio.Task[None] | None = None
    _text: str = ""
    _made: float = float("-inf")
    _signer: Credentials | None = None

    @property
    def stop_key(self) -> str:
        return f"{job_prefix(self.spec.id)}stop"

    def answer_key(self, batch: int) -> str:
        return f"{job_prefix(self.spec.id)}results/{batch:010d}"

    @property
    def is_limited(self) -> bool:
        """Whether it has a budget, so that no call may cost more than was set aside for it."""
        return self.spec.has_budget

    def memory_for(self, call: BatchCall) -> int:
        """Return the MiB that a call's function must have."""
        if not self.needs:
            return self.target.memory
        span = range(call.first, call.first + call.count)
        return max([self.target.memory, *(self.needs[item] for item in span if item in self.needs)])

    async def shared_part(self, bucket: Bucket, uploads: Uploads) -> str:
        """Return the part of the request that all its calls share, uploading captured values if necessary."""
        signer = await bucket.signer()
        if time.monotonic() - self._made < _RENEW and signer == self._signer:
            return self._text
        spec = self.spec
        blobs: dict[str, Mapping[str, Any]] = {}
        for blob in spec.blobs:
            sha256, nbytes = await uploads.put(blob.digest, blob.parts)
            url = await bucket.url("GET", blob_key(sha256))
            blobs[blob.digest] = stored_part(sha256, nbytes, url)
        function: Mapping[str, Any] = inline_part(spec.payload)
        if len(spec.payload) > call_encoding.INLINE_FUNCTION:
            pieces = Pieces([spec.payload])
            await uploads.put_pieces(pieces)
            url = await bucket.url("GET", blob_key(pieces.sha256))
            function = stored_part(pieces.sha256, pieces.nbytes, url)
        stop = await bucket.url("GET", self.stop_key)
        packages: Mapping[str, Any] | None = None
        if self.packages is not None and self.target.environment is not None:
            key = environment_key(self.target.environment)
            size = await bucket.size(key)
            packages = stored_part(self.packages, size, await bucket.url("GET", key))
        self._text = call_encoding.job_json(
            spec, self.key, function, blobs, stop, self.variables, packages
        )
        self._made, self._signer = time.monotonic(), signer
        return self._text

    def use_function(self, function: ActualFunction, imports: frozenset[str]) -> None:
        """Use another function for calls from now on, one with more packages."""
        self.target, self.packages = function.target, function.fetches
        self.storage = function.storage
        self.imports = imports
        self._made = float("-inf")

    async def encode(self, call: BatchCall, bucket: Bucket, uploads: Uploads) -> SentParts:
        """Return a call as the body of a request; items too large for it are uploaded."""
        pieces, length = layout(call.parts)
        limit = call_encoding.INLINE_EVENT if self.detached else call_encoding.INLINE_CALL
        puts = 0
        if length <= limit:
            items = inline_part(b"".join(pieces))
        else:
            body = Pieces(pieces)
            key = f"{job_prefix(self.spec.id)}items/{call.batch:010d}"
            await bucket.put(key, body)
            items = stored_part(body.sha256, body.nbytes, await bucket.url("GET", key))
            puts = 1
        head = await self.shared_part(bucket, uploads)
        answer = await bucket.url("PUT", self.answer_key(call.batch))
        return SentParts(
            call_encoding.call_json(head, call, items, answer, detached=self.detached), puts
        )


def rate_of(target: DeploymentTarget, storage: int = FREE_STORAGE) -> Rate:
    """Return the most that a call of a function with this much /tmp costs, S3 requests included."""
    return max_rate(target.region, target.arch, target.memory, storage)


def max_rate(region: str, arch: Arch, memory: int, storage: int = FREE_STORAGE) -> Rate:
    """Return what a call costs at most, with all it asks of S3."""
    rate = lambda_rate(
        region,
        arch,
        memory,
        storage=storage,
        puts=_PUTS,
        gets=_GETS,
        start_seconds=_START_SECONDS,
    )
    asking = storage_prices(region).get / ASK_EVERY
    return replace(rate, per_second=rate.per_second + asking)


def bare_rate(target: DeploymentTarget, storage: int = FREE_STORAGE) -> Rate:
    """Return what a call of a function with this much /tmp costs, without S3 requests."""
    return lambda_rate(target.region, target.arch, target.memory, storage=storage)


_LOG: Final = logging.getLogger(__name__)


class CallCanceller:
    """Tells functions which batches of a job must stop, by one object in the bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._writing: dict[RemoteJob, asyncio.Task[None]] = {}

    def stop(self, job: RemoteJob, batch: int) -> None:
        """Stop a call soon."""
        job.stopped.add(batch)
        if job not in self._writing:
            self._writing[job] = asyncio.create_task(self._write(job))

    async def _write(self, job: RemoteJob) -> None:
        written: set[int] = set()
        try:
            while written != job.stopped:  # those of one turn of the loop go together
                written = set(job.stopped)
                await self._bucket.put(job.stop_key, Pieces([stop_text(job.key, written)]))
        except CloudError as error:
            _LOG.warning("calls of job %s cannot be told to stop: %s", job.spec.id, error)
        finally:
            del self._writing[job]

    async def close(self, seconds: float) -> None:
        """Wait for objects that are being written, for at most `seconds`."""
        tasks = list(self._writing.values())
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
