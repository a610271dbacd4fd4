"""Detached jobs on a cluster that others have started: calls go on when the kernel has gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from cloudbutton_backend.backends.dask import detached
from cloudbutton_backend.backends.dask.backend import DaskBackend
from cloudbutton_backend.backends.dask.detached import MOST_PARTS, PART_SECONDS, parts_of, prefix_of
from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.backends.protocol import BatchCall
from cloudbutton_backend.errors import WorkerLost
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.storage.home import home
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.dask_backend.clusters import until
from tests.dask_backend.conftest import shared_cluster

ROOT = Path(__file__).resolve().parents[2]
N = 40
FREE = 8
"""Items that do not wait for the gate, so that the others are all sent."""
KERNEL = """
import os, sys, time
import cloudbutton_ext as cloud
from cloudbutton_backend.backends.dask import detached
address, folder, n, free = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
detached.PART_SECONDS = 0.01
cloud.use("dask", address=address)
table = bytes(2_000_000)  # lies on the cluster beside the calls that use it, as large items do
def work(item):
    x, load = item
    assert not any((table[x], *load[:9]))
    with open(os.path.join(folder, "runs"), "a") as file:
        file.write(f"{x}\\n")
    while x >= free and not os.path.exists(os.path.join(folder, "gate")):
        time.sleep(0.005)
    time.sleep(0.01)
    return x * x
job = cloud.map(work, [(x, bytes(40_000)) for x in range(n)], detach=True)
print(job.id, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with distributed.Client(shared_cluster().address, set_as_default=False) as client:
        yield client


class Kernel:
    """A process with a detached job, which is killed once all of the job's items were sent."""

    def __init__(self, client: Any, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                KERNEL,
                shared_cluster().address,
                str(folder),
                str(N),
                str(FREE),
            ],
            env=os.environ | {"PYTHONPATH": path},
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            self.job_id = process.stdout.readline().strip()
            sent = set(range(FREE, N))
            until(lambda: sent <= set(published(client, self.job_id)), "the sending of all items")
        finally:
            process.kill()
            process.communicate(timeout=30)

    def open(self) -> None:
        (self.folder / "gate").touch()

    def runs(self) -> Counter[int]:
        return Counter(int(line) for line in (self.folder / "runs").read_text().split())


def published(client: Any, job_id: str) -> Counter[int]:
    """Return the items of a job that lie on the cluster, or wait there."""
    names = [name for name in client.list_datasets() if str(name).startswith(prefix_of(job_id))]
    calls = [client.get_dataset(name, default={"parts": ()}) for name in names]
    return Counter(
        item
        for call in calls
        for first, count in call["parts"]
        for item in range(first, first + count)
    )


def attach(job_id: str) -> tuple[TaskPlace, Any]:
    place = TaskPlace(DaskBackend(DaskSettings(address=shared_cluster().address)))
    return place, place.session.attach(job_id)


def test_what_runs_after_the_kernel_was_killed_is_collected_and_not_run_again(
    client: Any, tmp_path: Path
) -> None:
    kernel = Kernel(client, tmp_path)
    kernel.open()
    until(lambda: len(kernel.runs()) == N, "the running of all items without a kernel")
    place, job = attach(kernel.job_id)
    assert job.results() == [x * x for x in range(N)]
    assert kernel.runs() == Counter(range(N))
    assert not published(client, job.id)
    place.session.close()


def test_who_attaches_early_stops_what_waits_and_cancelling_frees_the_cluster(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "FINISH_WITHIN", 0.3)
    kernel = Kernel(client, tmp_path)
    place, job = attach(kernel.job_id)
    assert set(range(FREE)) <= set(job.partial())
    job.cancel()
    assert job.wait(20) and job.state is JobState.CANCELLED
    until(lambda: not published(client, job.id), "that the cluster forgets the job")
    until(lambda: not any(client.processing().values()), "the end of what ran")
    assert place.map(lambda x: -x, [1, 2]) == [-1, -2]
    place.session.close()


def test_nothing_of_a_detached_job_stays_on_the_cluster_once_it_is_collected(client: Any) -> None:
    place = TaskPlace(DaskBackend(DaskSettings(address=shared_cluster().address, worker_hour=1.0)))
    job = place.start(lambda x: threading.Event().wait(0.001) or -x, range(500), detach=True)
    assert job.results() == [-x for x in range(500)]
    assert job.cost > 0
    place.session.close()
    assert not published(client, job.id)
    row = JournalReader(home()).job(job.id)
    assert row.pid == os.getpid()  # no keeper was needed


def test_what_goes_wrong_in_one_task_of_a_call_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detached, "PART_SECONDS", 0.02)

    def task(x: int) -> int:
        threading.Event().wait(0.001)
        if x == 100:
            raise LookupError("a hundred")
        if x == 200:
            os._exit(3)
        return -x

    place = TaskPlace(DaskBackend(DaskSettings(address=shared_cluster().address)))
    values = place.map(task, range(400), detach=True, errors="keep")
    assert (type(values[100]), type(values[200])) == (LookupError, WorkerLost)
    assert [x for x in range(400) if values[x] != -x] == [100, 200]
    job = place.start(task, range(400), detach=True)
    with pytest.raises(LookupError, match="a hundred"):
        job.results()
    assert set(range(100)) <= set(job.partial())
    place.session.close()


def test_a_cluster_that_ends_with_this_process_leaves_detached_jobs_to_a_keeper() -> None:
    def can_outlive(dask: DaskBackend) -> bool:
        found = dask.limits.can_outlive
        dask.close()
        return found

    assert can_outlive(DaskBackend(DaskSettings(address="tcp://127.0.0.1:9")))
    assert not can_outlive(DaskBackend(DaskSettings(workers=1)))
    made = distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None)
    with made, distributed.Client(made, set_as_default=False) as client:
        assert not can_outlive(DaskBackend(DaskSettings(client=client)))


def test_who_attaches_with_a_cluster_of_ones_own_is_told_where_the_calls_went() -> None:
    there = DaskBackend(DaskSettings(address="tcp://10.0.0.1:8786"))
    local = DaskBackend(DaskSettings(workers=1))
    kept = there.lasting_settings({"workers": 3})
    assert kept == {"workers": 3, "address": "tcp://10.0.0.1:8786"}
    assert not there.differs_from(kept) and not local.differs_from(local.lasting_settings({}))
    assert "`%cloud use dask --address tcp://10.0.0.1:8786`" in local.differs_from(kept)
    there.close()
    local.close()


def call(count: int, lease: float | None = None) -> BatchCall:
    return BatchCall(3, "job", "dask-1", 100, count, [], lease)


@pytest.mark.parametrize(
    ("asked", "nbytes", "pace", "n_parts"),
    [
        (call(10), 1000, None, 1),
        (call(10), 1000, PART_SECONDS, 10),
        (call(10), 1000, 3 * PART_SECONDS, 10),
        (call(10), 1000, PART_SECONDS / 5, 2),
        (call(10), 1000, 0.0, 1),
        (call(10, lease=60.0), 1000, PART_SECONDS, 1),
        (call(MOST_PARTS * 4), 1000, PART_SECONDS, MOST_PARTS),
        (call(100), 1 << 30, PART_SECONDS, 1),
    ],
    ids=["no pace", "one each", "long ones", "five each", "no time", "lease", "many", "large"],
)
def test_a_call_is_parted_so_that_little_is_lost_or_waited_for(
    asked: BatchCall, nbytes: int, pace: float | None, n_parts: int
) -> None:
    parts = parts_of(asked, nbytes, pace)
    assert len(parts) == n_parts
    items = [item for part in parts for item in range(part.first, part.first + part.count)]
    assert items == list(range(asked.first, asked.first + asked.count))
