"""Tells calls under way that they are not wanted any more: by an object in the bucket, which they look at."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from cloudbutton_backend.backends.aws_lambda.bucket import Bucket, Pieces
from cloudbutton_backend.backends.aws_lambda.call_encoding import stop_text
from cloudbutton_backend.backends.aws_lambda.remote_job import RemoteJob
from cloudbutton_backend.errors import CloudError

_LOG: Final = logging.getLogger(__name__)


class CallCanceller:
    """Writes for each job which of its batches must stop: one object, however many they are."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._writing: dict[RemoteJob, asyncio.Task[None]] = {}

    def stop(self, job: RemoteJob, batch: int) -> None:
        """Have a call stop, soon."""
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
        """Wait for what is being written, at most for so long."""
        tasks = list(self._writing.values())
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
