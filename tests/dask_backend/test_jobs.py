"""What users see of Dask beyond what all backends promise, on a cluster that others have started."""

from __future__ import annotations

import datetime
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import psutil
import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.backends.dask.backend import DaskBackend
from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.errors import BackendError, PackagesDoNotFit, UsageError, WorkerLost
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.settings import ResolvedSettings
from cloudbutton_backend.testing.conformance import TaskPlace
from cloudbutton_ext.server.backends import describe_backend
from tests.dask_backend.clusters import Commands, until
from tests.dask_backend.conftest import shared_cluster


@pytest.fixture
def client() -> Iterator[Any]:
    with distributed.Client(shared_cluster().address, set_as_default=False) as client:
        yield client


def test_another_version_that_the_workers_have_is_in_nobodys_way(
    place: TaskPlace, client: Any
) -> None:
    def version() -> str:
        import cloudbutton_backend

        return str(getattr(cloudbutton_backend, "VERSION", "ours"))

    client.wait_for_workers(2, timeout=60)
    assert set(client.run(version).values()) == {"another"}
    assert place.map(lambda x: x + 1, [1]) == [2]
    assert set(client.run(version).values()) == {"another"}


def test_a_large_value_is_sent_once_for_all_jobs_that_use_it(place: TaskPlace, client: Any) -> None:
    table = np.arange(500_000)

    def values() -> set[str]:
        keys = client.who_has()
        return {str(key) for key in keys if str(key).startswith("cloudbutton-value")}

    before = values()
    assert place.map(lambda at: int(table[at]), [1, 2]) == [1, 2]
    sent = values() - before
    assert place.map(lambda at: int(table[at]) + 1, [1, 2]) == [2, 3]
    assert len(sent) == 1 and values() - before == sent


def test_tasks_find_random_numbers_though_the_package_is_not_there(place: TaskPlace) -> None:
    def draw(_: int) -> float:
        return float(cloud.rng().random())

    assert len(set(place.map(draw, range(10), seed=3))) == 10


def test_a_clients_work_goes_on_and_it_stays_open(client: Any) -> None:
    place = TaskPlace(DaskBackend(DaskSettings(client=client)))
    assert place.map(lambda x: x + 1, range(10)) == list(range(1, 11))
    place.session.close()
    assert client.submit(sum, [1, 2]).result() == 3


def test_a_client_that_is_closed_is_told_before_the_job_begins() -> None:
    client = distributed.Client(shared_cluster().address, set_as_default=False)
    client.close()
    place = TaskPlace(DaskBackend(DaskSettings(client=client)))
    with pytest.raises(BackendError, match="not connected"):
        place.start(lambda x: x, [1])
    place.session.close()


def test_a_look_at_its_health_starts_nothing_on_this_machine() -> None:
    own = psutil.Process()
    before = own.children(recursive=True)
    dask = DaskBackend(DaskSettings(workers=3))
    lines = {name: (ok, words) for name, ok, words in dask.health()}
    dask.close()
    assert own.children(recursive=True) == before
    assert lines["scheduler"] == (True, "made here, on this machine, when a job needs it")
    assert lines["workers"][1].startswith("3 then")


def test_a_look_at_a_clusters_health_asks_it() -> None:
    dask = DaskBackend(DaskSettings(address=shared_cluster().address))
    lines = {name: (ok, words) for name, ok, words in dask.health()}
    dask.close()
    assert lines["scheduler"] == (True, shared_cluster().address)
    assert lines["workers"][1].startswith("2 with 2 threads") and lines["versions"][0]


@pytest.mark.parametrize(
    ("chosen", "expected"), [({}, False), ({"worker_hour": 0}, False), ({"worker_hour": 0.5}, True)]
)
def test_it_costs_where_worker_hours_have_a_price(chosen: dict[str, Any], expected: bool) -> None:
    assert (
        describe_backend("dask", ResolvedSettings(backends={"dask": chosen}))["costs"] is expected
    )
    dask = DaskBackend(DaskSettings(**chosen))
    assert dask.costs is expected
    dask.close()


@pytest.mark.parametrize("keep", [True, False])
def test_results_are_futures_to_go_on_with(client: Any, keep: bool) -> None:
    def task(x: int) -> Any:
        if x == 2:
            raise LookupError("two")
        return np.full(1000, x)

    place = TaskPlace(DaskBackend(DaskSettings(client=client, keep_results=keep)))
    futures = place.start(task, range(4), errors="keep").futures()
    sums = [client.submit(lambda a: int(a.sum()), each).result() for each in futures[:2]]
    assert sums == [0, 1000]
    with pytest.raises(LookupError, match="two"):
        futures[2].result()
    place.session.close()


def test_other_backends_have_no_futures_of_dasks() -> None:
    with pytest.raises(UsageError, match=r"--backend dask.*job\.results\(\)"):
        cloud.map(abs, [1], backend="local").futures()


def test_a_package_that_the_workers_lack_is_told_before_the_run(
    place: TaskPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    (folder / "oddity-3.1.dist-info").mkdir(parents=True)
    (folder / "oddity-3.1.dist-info" / "METADATA").write_text("Name: oddity\nVersion: 3.1\n")
    (folder / "oddity-3.1.dist-info" / "top_level.txt").write_text("oddity\n")
    (folder / "oddity.py").write_text("ODD = 7\n")
    monkeypatch.syspath_prepend(str(folder))
    from cloudbutton_backend.capture import distributions

    distributions._provided_by.cache_clear()
    import oddity  # type: ignore[import-not-found]

    try:
        with pytest.raises(PackagesDoNotFit, match=r"oddity: 3\.1 here, not installed on tcp://"):
            place.start(lambda x: oddity.ODD + x, [1])
    finally:
        distributions._provided_by.cache_clear()
        del sys.modules["oddity"]


def test_a_job_that_is_cancelled_leaves_the_workers_free(place: TaskPlace, tmp_path: Path) -> None:
    begun = str(tmp_path / "begun")

    def hang(_: int) -> None:
        Path(begun).touch()
        while True:
            threading.Event().wait(0.1)

    job = place.start(hang, range(8))
    until(lambda: os.path.exists(begun), "a task's start")
    job.cancel()
    assert job.wait(10) and job.state is JobState.CANCELLED
    assert place.map(lambda x: x, range(20)) == list(range(20))


def test_an_item_that_takes_more_memory_than_it_may_is_named(place: TaskPlace) -> None:
    def fill(x: int) -> int:
        return len(np.ones(x * 50_000_000)) and x

    values = place.map(fill, [0, 1], memory=200, errors="keep")
    assert values[0] == 0 and type(values[1]) is WorkerLost
    assert "200 MiB" in str(values[1])


def test_no_worker_has_as_much_memory_as_is_asked_for(place: TaskPlace) -> None:
    with pytest.raises(UsageError, match="No Dask worker has 99,000,000 MiB"):
        place.start(lambda x: x, [1], memory=99_000_000)


def test_a_cluster_that_adapts_grows_for_a_job_shrinks_after_it_and_shares_out_its_memory(
    tmp_path: Path,
) -> None:
    folder = str(tmp_path)

    def task(x: int) -> int:
        begun = os.path.join(folder, f"begun-{x}")
        open(begun, "w").close()
        threading.Event().wait(0.05)
        at_once = len(os.listdir(folder))
        os.remove(begun)
        return at_once

    made = distributed.LocalCluster(
        n_workers=0,
        threads_per_worker=4,
        processes=True,
        dashboard_address=None,
        resources={"MEMORY": 1000 * 2**20},
    )
    with made, distributed.Client(made, set_as_default=False) as client:
        made.adapt(minimum=0, maximum=1, interval="50ms", wait_count=2)
        place = TaskPlace(DaskBackend(DaskSettings(client=client)))
        assert max(place.map(task, range(16), memory=400)) <= 2
        until(lambda: not client.scheduler_info()["workers"], "the shrinking of the cluster")
        place.session.close()


def test_work_has_the_price_of_worker_hours() -> None:
    place = TaskPlace(
        DaskBackend(DaskSettings(address=shared_cluster().address, worker_hour=3600.0))
    )
    job = place.start(lambda x: threading.Event().wait(0.02) or x, range(50))
    assert job.results() == list(range(50))
    assert 50 * 0.02 <= job.cost < 20
    place.session.close()


def test_workers_come_and_threads_of_one_worker_keep_apart_what_they_print() -> None:
    commands = Commands(workers=0)
    place = TaskPlace(DaskBackend(DaskSettings(address=commands.address)))
    try:
        table = os.urandom(200_000)
        started: list[Any] = []
        starter = threading.Timer(0.5, lambda: commands.start_worker("--nthreads", "3"))
        starter.start()
        job = place.start(lambda x: print(x, table[x]), range(60))
        started.append(job)
        assert job.wait(60)
        shown = ["".join(str(out.data) for out in each.outputs) for each in job.outcomes()]
        assert shown == [f"{x} {table[x]}\n" for x in range(60)]
        starter.join()
    finally:
        place.session.close()
        commands.close()


def test_a_cluster_with_tls_needs_its_keys(tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    options = ["--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key]
    commands = Commands(1, *options, protocol="tls")
    try:
        place = TaskPlace(
            DaskBackend(
                DaskSettings(
                    address=commands.address, tls_ca=certificate, tls_cert=certificate, tls_key=key
                )
            )
        )
        assert commands.address.startswith("tls://")
        assert place.map(lambda x: -x, [1, 2]) == [-1, -2]
        place.session.close()
        security = distributed.Security(
            tls_ca_file=certificate, tls_client_cert=certificate, tls_client_key=key
        )
        place = TaskPlace(DaskBackend(DaskSettings(address=commands.address, security=security)))
        assert place.map(lambda x: -x, [3]) == [-3]
        place.session.close()
    finally:
        commands.close()


def self_signed(folder: Path) -> tuple[str, str]:
    """Return the paths of a key and of a certificate that vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "key.pem", folder / "certificate.pem"
    paths[0].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    paths[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return str(paths[0]), str(paths[1])
