"""Functions and captured values of jobs on the cluster, each there once.

A large captured value is scattered under the name of its content, so that the next job that uses it finds
it there.
"""

from __future__ import annotations

import hashlib
import pickle
import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.backends.dask.cluster import DaskCluster
from cloudbutton_backend.backends.protocol import JobSpec
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.worker.blob_cache import BlobCache
from cloudbutton_backend.worker.wire import layout

if TYPE_CHECKING:
    from cloudbutton_backend.worker.dask.process_host import JobFields

KEEP_BYTES: Final = 4 << 30
"""Captured values that stay on the cluster for later jobs."""
BROADCAST_BYTES: Final = 64 << 20
"""Values up to this size go to every worker at once; of larger ones each worker fetches what it needs."""


@dataclass(frozen=True)
class JobData:
    """A job's function and captured values, as Dask's futures."""

    key: bytes
    """With which its results are sealed."""
    job: Any
    digests: list[str]
    blobs: list[Any]


class ScatteredData:
    """The data on one cluster. Safe from any thread."""

    def __init__(self, cluster: DaskCluster) -> None:
        self._cluster = cluster
        # What Dask calls a future frees the workers' memory once it is dropped.
        self._blobs = BlobCache[Any](KEEP_BYTES, lambda _: None)

    def put(self, blob: Blob) -> Any:
        """Return the future of a captured value, sending the value unless it is there."""
        pieces, length = layout(blob.parts)

        def scatter() -> Any:
            self._cluster.await_worker()
            # Another name each time: Dask may be about to forget what had this one.
            name = f"cloudbutton-value-{blob.digest}-{uuid.uuid4().hex[:8]}"
            # ends: Dask drops a worker that it has not heard of for some minutes
            scattered = self._cluster.client.scatter(
                {name: b"".join(pieces)},
                # Two workers have it at least: one of them may be lost.
                broadcast=True if length <= BROADCAST_BYTES else 2,
            )
            return scattered[name]

        return self._blobs.get(
            blob.digest, length, scatter, lambda future: bool(future.status == "finished")
        )

    def make_room(self, used: Set[str]) -> None:
        """Drop the least recently used values beyond the room there is, but none in `used`."""
        self._blobs.evict(used)

    def close(self) -> None:
        """Drop everything."""
        self._blobs.close()

    def put_job(self, spec: JobSpec, key: bytes, variables: Mapping[str, str]) -> JobData:
        """Return what a job's calls need, sending what is not there."""
        same_machine = self._cluster.is_local
        digest = hashlib.sha256(spec.payload).hexdigest()[:16]
        plain: JobFields = {
            # The kernel that resumes a job may have defined its function again.
            "id": f"{spec.id}-{digest}",
            "key": key,
            "payload": spec.payload,
            "seed": spec.seed,
            "guard": spec.guard,
            "timeout": spec.timeout,
            "memory": spec.memory,
            "stop_on_error": spec.stop_on_error,
            "displays": spec.displays,
            "cwd": spec.cwd,
            "environment": dict(spec.environment) if same_machine else None,
            "variables": dict(variables),
            "path": spec.path if same_machine else None,
        }
        # A task rather than scattered data: Dask makes it again where the worker that had it is lost.
        job = self._cluster.client.submit(bytes, pickle.dumps(plain, 5), pure=False)
        return JobData(
            key,
            job,
            [blob.digest for blob in spec.blobs],
            [self.put(blob) for blob in spec.blobs],
        )
