"""Detached jobs: their calls go on when the client has gone, and their answers stay until they are collected.

Dask forgets tasks without clients. So each call of a detached job is published, which is Dask's word for
wanted by name: any client can have it by that name, and it stays until the name is taken back.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from cloudbutton_backend.backends.dask.call_results import read_answer
from cloudbutton_backend.backends.dask.cluster import ANSWER_WITHIN, DaskCluster
from cloudbutton_backend.backends.protocol import BatchCall, Results
from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.worker.result_file import TornRecord
from cloudbutton_backend.worker.sealed_records import BrokenSeal

PART_SECONDS: Final = 2.0
"""Work in one task of a call that has all that is left for its slot: what is lost with a Dask worker, and
what a kernel that attaches may have to wait for."""
MOST_PARTS: Final = 128
"""Tasks for one call."""
MOST_READ: Final = 256 << 20
"""Bytes that the tasks of a call read together: each of them gets all of its items."""
FINISH_WITHIN: Final = 10.0
"""Seconds for which collecting waits for calls that run."""
_GONE: Final = (
    Exception,  # whatever it was, the items are run again
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
)


def parts_of(call: BatchCall, nbytes: int, pace: float | None) -> list[BatchCall]:
    """Return a call in parts, each of which becomes a task: the cluster shares them out as it likes.

    Parameters
    ----------
    nbytes
        Length of its items.
    pace
        Seconds that an item takes; None if that is not known.
    """
    # What a lease bounds is the price of the call as a whole.
    if pace is None or call.lease is not None:
        return [call]
    most = min(MOST_PARTS, max(1, MOST_READ // max(1, nbytes)))
    wanted = math.ceil(call.count * pace / PART_SECONDS)
    size = math.ceil(call.count / max(1, min(wanted, most, call.count)))
    return [
        replace(call, first=call.first + skip, count=min(size, call.count - skip))
        for skip in range(0, call.count, size)
    ]


@dataclass(frozen=True, slots=True)
class PublishedCalls:
    """A published call on the cluster."""

    batch: int
    parts: tuple[tuple[int, int], ...]
    """First item and number of items of each task."""
    futures: list[Any]

    def calls(self, job_id: str) -> list[BatchCall]:
        """Return its parts."""
        return [
            BatchCall(self.batch, job_id, "dask", first, count, ()) for first, count in self.parts
        ]


def prefix_of(job_id: str) -> str:
    """Return what the names of a job's calls begin with."""
    return f"cloudbutton-{job_id}-"


async def publish(
    client: Any, name: str, parts: Iterable[BatchCall], futures: Iterable[Any]
) -> None:
    """Publish a call's tasks, so that they go on without their client; on Dask's thread."""
    parts = list(parts)
    plain = {
        "batch": parts[0].batch,
        "parts": [(part.first, part.count) for part in parts],
        "futures": list(futures),
    }
    await asyncio.wait_for(client.publish_dataset(plain, name=name), ANSWER_WITHIN)


async def unpublish(client: Any, names: Iterable[str]) -> None:
    """Unpublish calls; on Dask's thread. Those without a waiting client are stopped."""
    for name in names:
        # The cluster is gone, and what lay there with it.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.unpublish_dataset(name), ANSWER_WITHIN)


def recovered(cluster: DaskCluster, job_id: str, key: bytes) -> Iterator[Results]:
    """Yield what a detached job's calls have brought, and have the cluster forget them.

    Calls that run are waited for, for some seconds; those that nothing was done for are stopped, as is
    what does not end in time.

    Parameters
    ----------
    key
        With which the answers are sealed.

    Raises
    ------
    BackendError
        The cluster does not say.
    """
    client = cluster.client
    try:
        names = sorted(
            str(name)
            for name in client.list_datasets(callback_timeout=ANSWER_WITHIN)
            if str(name).startswith(prefix_of(job_id))
        )
        found = [_published(client, name) for name in names]
        begun = _keep_what_began(client, [future for each in found for future in each.futures])
    except (OSError, TimeoutError, asyncio.TimeoutError) as error:
        raise BackendError(
            f"The Dask scheduler at {cluster.address} does not say what it has of job {job_id}:"
            f" {error!r}."
        ) from error
    until = time.monotonic() + FINISH_WITHIN
    damage: Exception | None = None
    for each in found:
        for call, future in zip(each.calls(job_id), each.futures):
            if future.key not in begun:
                continue
            left = until - time.monotonic() if begun[future.key] else ANSWER_WITHIN
            try:
                answer = future.result(timeout=max(0.0, left))
            except _GONE:
                continue
            try:
                results = read_answer(call, answer, key)[0]
            except (BrokenSeal, TornRecord) as error:
                damage = error
            else:
                yield from results
    client.sync(unpublish, client, names, callback_timeout=ANSWER_WITHIN * max(1, len(names)))
    for each in found:
        for future in each.futures:
            future.release()
    if damage is not None:
        raise BackendError(f"results are damaged, and those are not used: {damage}") from damage


def _published(client: Any, name: str) -> PublishedCalls:
    none: Mapping[str, Any] = {"batch": 0, "parts": (), "futures": []}
    found = client.get_dataset(name, default=none, callback_timeout=ANSWER_WITHIN)
    return PublishedCalls(found["batch"], tuple(found["parts"]), found["futures"])


def _keep_what_began(client: Any, futures: list[Any]) -> dict[str, bool]:
    """Cancel the tasks that wait; return the keys of the others, and whether they still run."""
    if not futures:
        return {}
    ask = partial(client.sync, callback_timeout=ANSWER_WITHIN)
    where = ask(client.scheduler.who_has, keys=[each.key for each in futures])
    held = ask(client.scheduler.processing, workers=None)
    running = {key for keys in held.values() for key in keys}
    begun = {each.key: not where.get(each.key) for each in futures}
    begun = {key: runs for key, runs in begun.items() if not runs or key in running}
    waiting = [each for each in futures if each.key not in begun]

    async def cancel() -> None:
        await client.cancel(waiting, force=True)

    if waiting:
        ask(cancel)
    return begun
