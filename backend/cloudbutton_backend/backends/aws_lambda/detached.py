"""Collects the results of detached jobs: their calls run asynchronously and leave results in storage.

An object is put whole or not at all, and once: AWS may run an event twice, and the first copy's results
stay. So any kernel with the user's key can collect them, now or days later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.bucket import Bucket
from cloudbutton_backend.backends.aws_lambda.call_encoding import job_key, read_records
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget, job_prefix
from cloudbutton_backend.backends.protocol import Results
from cloudbutton_backend.storage import sealed_files

_LOOK_FIRST, _LOOK_LAST = 0.2, 3.0
"""Seconds between looks: often at first, as short calls end soon."""
_REPEATS: Final = 3
"""How often Lambda runs an event whose function fails …"""
_BETWEEN: Final = 300.0
"""… and what it waits in between, all in all, with some to spare."""


class DetachedResults:
    """Waits for objects. One listing serves all that are waited for under a prefix."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._wanted: dict[str, dict[str, asyncio.Future[int]]] = {}
        self._lookers: dict[str, asyncio.Task[None]] = {}

    async def wait(self, key: str, seconds: float) -> bytes | None:
        """Return an object once it is there; None if it does not come in the time that events have."""
        prefix = key.rpartition("/")[0] + "/"
        future = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(prefix, {})[key] = future
        if prefix not in self._lookers:
            self._lookers[prefix] = asyncio.create_task(self._poll(prefix))
        try:
            nbytes = await asyncio.wait_for(future, _REPEATS * seconds + _BETWEEN)
        except asyncio.TimeoutError:
            return None
        finally:
            self._wanted[prefix].pop(key, None)
        return await self._bucket.get(key, nbytes)

    async def close(self) -> None:
        """Wait for nothing any more."""
        lookers = list(self._lookers.values())
        for looker in lookers:
            looker.cancel()
        if lookers:
            await asyncio.wait(lookers, timeout=_BETWEEN)

    async def _poll(self, prefix: str) -> None:
        """List the objects repeatedly, until nothing more is waited for."""
        pause = _LOOK_FIRST
        wanted = self._wanted[prefix]
        try:
            while wanted:
                await asyncio.sleep(pause)
                pause = min(1.5 * pause, _LOOK_LAST)
                if not wanted:
                    return
                before = min(wanted)[:-1]  # names have one length: those before are not listed
                for key, nbytes in await self._bucket.list(prefix, before):
                    future = wanted.get(key)
                    if future is not None and not future.done():
                        future.set_result(nbytes)
                        pause = _LOOK_FIRST
        except Exception as error:
            for future in wanted.values():
                if not future.done():
                    future.set_exception(error)
        finally:
            del self._lookers[prefix]


def collect(
    clients: BotoClients, home: DeploymentTarget, job_id: str
) -> Iterator[tuple[Results, float]]:
    """Yield what a detached job has left in storage, with the Unix time of each object.

    Parameters
    ----------
    home
        Any function of the deployment that ran the job: the bucket is the same for all.

    Raises
    ------
    BrokenSeal, TornRecord
        An object was not written by the job's calls, or changed since.
    """
    key = job_key(sealed_files.key(), job_id)
    prefix = f"{job_prefix(job_id)}results/"
    owned: dict[str, Any] = {"Bucket": home.bucket, "ExpectedBucketOwner": home.account}
    for page in clients.pages("s3", "ListObjectsV2", Prefix=prefix, about=home.bucket, **owned):
        for entry in page.get("Contents") or ():
            name = f"s3://{home.bucket}/{entry['Key']}"
            found = clients.call("s3", "GetObject", Key=entry["Key"], about=name, **owned)
            with clients.translated("s3", "GetObject", about=name):
                data = found["Body"].read()
            results, _report = read_records(data, key, name, "lambda-collected")
            put_at = entry["LastModified"].timestamp()
            yield from ((each, put_at) for each in results)
