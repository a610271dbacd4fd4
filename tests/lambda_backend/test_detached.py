"""Detached jobs: their calls are with AWS, and what they did is in storage, whichever kernel lives on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudbutton_backend.backends.aws_lambda.connection import connect
from cloudbutton_backend.backends.aws_lambda.detached import collect
from cloudbutton_backend.backends.aws_lambda.emulator import EmulatedFaults
from cloudbutton_backend.backends.protocol import BatchEnded, Results
from cloudbutton_backend.results.result_record import ResultRecord
from cloudbutton_backend.testing.conformance import TaskPlace
from cloudbutton_backend.worker.sealed_records import BrokenSeal
from tests.lambda_backend.conftest import clients_of, new_backend, shared_emulator
from tests.lambda_backend.harness import BackendHarness, charge_of, the, values_of


def collected(job_id: str) -> dict[int, object]:
    """Return what is in storage of a job, by item."""
    backend = new_backend(shared_emulator())
    connection = connect(backend.settings, clients_of(shared_emulator()))
    found: dict[int, object] = {}
    for results, put_at in collect(connection.clients, connection.home, job_id):
        assert abs(put_at - time.time()) < 3600
        entry = ResultRecord(
            results.first, results.count, results.meta, results.payload, None, 0, results.length
        )
        found.update(enumerate(entry.values(), results.first))
    backend.close()
    return found


def test_a_detached_job_gives_the_same_results_and_its_price() -> None:
    place = TaskPlace(new_backend(shared_emulator()))
    try:
        job = place.start(lambda x: x * x, range(300), detach=True)
        assert job.results() == [x * x for x in range(300)]
        assert job.progress.spend and job.progress.spend > 0
    finally:
        place.session.close()


def test_what_a_detached_job_left_can_be_collected_by_anybody_with_the_key() -> None:
    with BackendHarness(new_backend(shared_emulator())) as harness:
        spec = harness.open(lambda x: str(x), detached=True)
        events = harness.run(spec, [1, 2, 3])
        assert values_of(events) == ["1", "2", "3"] and charge_of(events).cost > 0
    assert collected(spec.id) == {0: "1", 1: "2", 2: "3"}


def test_the_calls_of_a_detached_job_outlive_the_session(tmp_path: Path) -> None:
    gate, begun = str(tmp_path / "gate"), str(tmp_path / "begun")

    def wait(x: int) -> int:
        open(begun, "w").close()
        while not os.path.exists(gate):
            time.sleep(0.01)
        return -x

    place = TaskPlace(new_backend(shared_emulator()))
    job = place.start(wait, [1], detach=True)
    _until(lambda: os.path.exists(begun))
    place.session.close()
    Path(gate).touch()
    _until(lambda: collected(job.id) == {0: -1})


def test_all_of_a_detached_job_is_with_aws_once_its_first_results_are_there(tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    def wait(x: int) -> int:
        while x >= 50 and not os.path.exists(gate):
            time.sleep(0.01)
        return -x

    place = TaskPlace(new_backend(shared_emulator(), workers=4))
    job = place.start(wait, range(400), detach=True)
    _until(lambda: job.progress.done + job.progress.running == 400)
    place.session.close()
    Path(gate).touch()
    _until(lambda: collected(job.id) == {x: -x for x in range(400)})


def test_an_event_that_aws_delivers_twice_leaves_the_first_results(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def count(_: int) -> int:
        with open(log, "a") as file:
            file.write(".")
        return os.path.getsize(log)

    emulator = shared_emulator()
    try:
        with BackendHarness(new_backend(emulator)) as harness:
            spec = harness.open(count, detached=True)
            emulator.set_faults(EmulatedFaults(duplicate_async=1.0))
            events = harness.run(spec, [0])
            _until(lambda: os.path.getsize(log) == 2)
            assert len([event for event in events if isinstance(event, Results)]) == 1
            assert the(BatchEnded, events).ran == 1
    finally:
        emulator.set_faults(EmulatedFaults())
    (found,) = collected(spec.id).values()
    assert found in (1, 2) and [found] == values_of(events)


def test_a_large_item_of_a_detached_job_goes_through_storage() -> None:
    with BackendHarness(new_backend(shared_emulator())) as harness:
        spec = harness.open(lambda x: x[::-1], detached=True)
        item = os.urandom(1000) * 1200
        assert values_of(harness.run(spec, [item])) == [item[::-1]]


def test_a_detached_call_can_be_stopped(tmp_path: Path) -> None:
    begun = str(tmp_path / "begun")

    def hang(_: int) -> None:
        open(begun, "w").close()
        while True:
            time.sleep(0.05)

    with BackendHarness(new_backend(shared_emulator())) as harness:
        spec = harness.open(hang, detached=True)
        batch = harness.submit(spec, [1])
        _until(lambda: os.path.exists(begun))
        harness.backend.interrupt("lambda-0", spec.id)
        assert the(BatchEnded, harness.until_end(batch)).ran == 0


def test_results_that_another_user_left_are_not_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with BackendHarness(new_backend(shared_emulator())) as harness:
        spec = harness.open(lambda x: x, detached=True)
        harness.run(spec, [1])
    tmp_path.chmod(0o700)
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(tmp_path))
    with pytest.raises(BrokenSeal, match=spec.id):
        collected(spec.id)


def _until(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)
