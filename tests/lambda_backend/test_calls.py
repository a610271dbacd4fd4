"""What one call does, and what is reported of it."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda import calls
from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.aws_lambda.call_encoding import INLINE_CALL
from cloudbutton_backend.backends.aws_lambda.connection import LambdaConnection, connect
from cloudbutton_backend.backends.aws_lambda.deployment import (
    DesiredDeployment,
    PackageSource,
    deploy,
)
from cloudbutton_backend.backends.aws_lambda.function_archive import deterministic_zip
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.backends.protocol import (
    BatchEnded,
    Charged,
    JobSpec,
    Overdue,
    Results,
    Warned,
    WorkerDown,
)
from cloudbutton_backend.cost import lambda_rate, storage_prices
from cloudbutton_backend.worker.aws_lambda.call_wire import INLINE_ANSWER
from tests.lambda_backend.conftest import clients_of, new_backend, shared_emulator
from tests.lambda_backend.harness import BackendHarness, charge_of, kinds, spec_of, the, values_of


@pytest.fixture(scope="module")
def harness() -> Iterator[BackendHarness]:
    with BackendHarness(
        new_backend(shared_emulator(), variables="CLOUDBUTTON_TEST_SHARED")
    ) as harness:
        yield harness


def test_a_call_reports_its_price_before_its_last_results_and_then_its_end(
    harness: BackendHarness,
) -> None:
    events = harness.run(harness.open(lambda x: -x), [1, 2, 3])
    assert kinds(events)[-3:] == [Charged, Results, BatchEnded]
    assert values_of(events) == [-1, -2, -3]


def test_the_price_is_that_of_the_seconds_which_the_platform_bills(harness: BackendHarness) -> None:
    before = len(shared_emulator().reports)
    charge = charge_of(harness.run(harness.open(lambda x: x), [1]))
    (report,) = shared_emulator().reports[before:]
    assert charge.seconds == pytest.approx(report.billed_ms / 1000)
    assert charge.cost == pytest.approx(report.gb_seconds * 16.6667e-6 + 0.2e-6, rel=1e-3)


@pytest.mark.parametrize("nbytes", [INLINE_CALL - 1000, INLINE_CALL + 1])
def test_items_of_any_size_arrive(harness: BackendHarness, nbytes: int) -> None:
    item = os.urandom(1000) * (nbytes // 1000)
    assert values_of(harness.run(harness.open(lambda x: (len(x), x[:10])), [item])) == [
        (len(item), item[:10])
    ]


@pytest.mark.parametrize("nbytes", [INLINE_ANSWER - 1000, INLINE_ANSWER + 1, 20 << 20])
def test_results_of_any_size_come_back(harness: BackendHarness, nbytes: int) -> None:
    assert values_of(harness.run(harness.open(lambda n: bytes(n)), [nbytes])) == [bytes(nbytes)]


def test_a_large_function_and_its_blobs_are_fetched_once_by_an_environment(
    harness: BackendHarness,
) -> None:
    table, code = os.urandom(1_000_000), os.urandom(60_000)
    spec = harness.open(lambda at: (table[at], code[at]))
    assert len(spec.payload) > 60_000 and spec.blobs
    first = values_of(harness.run(spec, [0, 7]))
    before = len(shared_emulator().calls)
    assert values_of(harness.run(spec, [0, 7])) == first == [(table[i], code[i]) for i in (0, 7)]
    assert [call.action for call in shared_emulator().calls[before:]] == ["InvokeFunction"]


def test_a_value_that_is_in_storage_already_is_not_sent_again(harness: BackendHarness) -> None:
    table = os.urandom(200_000)
    harness.open(lambda at: table[at])
    before = len(shared_emulator().calls)
    with BackendHarness(new_backend(shared_emulator())) as other:
        other.open(lambda at: table[at])
    assert "PutObject" not in [call.action for call in shared_emulator().calls[before:]]


def test_nothing_of_this_process_travels_but_what_was_named(
    harness: BackendHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBUTTON_TEST_SHARED", "yes")
    monkeypatch.setenv("CLOUDBUTTON_TEST_SECRET", "no")
    monkeypatch.setenv("TZ", "Asia/Tokyo")

    def look(_: int) -> tuple[str | None, str | None, str | None, str]:
        get = os.environ.get
        found = get("CLOUDBUTTON_TEST_SHARED"), get("CLOUDBUTTON_TEST_SECRET"), get("TZ")
        return (*found, os.getcwd())

    (seen,) = values_of(harness.run(harness.open(look), [0]))
    assert seen[:3] == ("yes", None, "Asia/Tokyo")
    assert seen[3] != os.getcwd()
    spec = spec_of(look)
    assert spec.environment["CLOUDBUTTON_TEST_SECRET"] == "no"


def test_an_item_that_kills_its_process_is_named_and_the_function_lives_on(
    harness: BackendHarness,
) -> None:
    def crash(x: int) -> int:
        if x == 2:
            time.sleep(1.0)  # so that the results before it are out
            os.kill(os.getpid(), 11)
        return os.getppid()

    spec = harness.open(crash)
    events = harness.run(spec, [0, 1, 2, 3])
    down = the(WorkerDown, events)
    assert (down.item, down.reason) == (2, "died") and "SIGSEGV" in down.cause
    before = values_of(events)
    assert len(before) == 2
    assert values_of(harness.run(spec, [0])) == before[:1], "the function itself died"


def test_an_item_that_takes_too_long_is_ended_and_named(harness: BackendHarness) -> None:
    def hang(x: int) -> int:
        if x == 1:
            threading.Event().wait()
        return x

    events = harness.run(harness.open(hang, timeout=1.5), [0, 1, 2])
    assert kinds(events) == [Charged, Results, Overdue, WorkerDown]
    assert the(Overdue, events).item == 1 and the(WorkerDown, events).reason == "timeout"


def test_an_exception_stops_a_call_where_the_rest_is_not_wanted(harness: BackendHarness) -> None:
    spec = harness.open(lambda x: 1 // x, stop_on_error=True)
    events = harness.run(spec, [1, 0, 2])
    assert the(BatchEnded, events).ran == 2
    assert the(Results, events).meta.errors.keys() == {1}


def test_tasks_can_draw_random_numbers_through_the_public_package(harness: BackendHarness) -> None:
    def has_rng(_: int) -> bool:
        import cloudbutton_ext

        return callable(cloudbutton_ext.rng)

    assert values_of(harness.run(harness.open(has_rng), [0])) == [True]


def test_what_a_task_logs_and_prints_comes_back_as_in_a_notebook(harness: BackendHarness) -> None:
    def speak(_: int) -> None:
        import logging

        logging.getLogger("mine").warning("careful")
        print("done")
        os.system("echo from a shell")
        sys.stdout.flush()

    events = harness.run(harness.open(speak), [0])
    outputs = the(Results, events).meta.outputs[0]
    # Records are handled by the notebook's own loggers.
    assert [value["msg"] for kind, value in outputs if kind == "log"] == ["careful"]
    assert "done\n" in "".join(text for kind, text in outputs if kind == "stdout")
    assert "from a shell\n" in "".join(text for kind, text in outputs if kind == "stdout")


def test_requests_to_storage_are_on_the_bill(harness: BackendHarness) -> None:
    prices = storage_prices("us-east-1")
    rate = lambda_rate("us-east-1", "x86_64", 1769)

    def storage_of(spec: JobSpec, items: Sequence[Any]) -> float:
        charge = charge_of(harness.run(spec, items))
        return charge.cost - rate.cost(charge.seconds)

    small, slow = harness.open(len), harness.open(lambda seconds: time.sleep(seconds))
    echo = harness.open(lambda item: item)
    harness.run(small, ["warm"])
    large = os.urandom(INLINE_CALL + 1)
    assert storage_of(small, ["x"]) == pytest.approx(0.0, abs=1e-9)
    assert storage_of(small, [large]) == pytest.approx(prices.cost(puts=1, gets=1))
    assert storage_of(echo, [large]) == pytest.approx(prices.cost(puts=2, gets=2))
    before = len(shared_emulator().calls)
    asked = storage_of(slow, [2.3])  # whether it is to stop, once a second
    gets = [call.action for call in shared_emulator().calls[before:]].count("GetObject")
    assert gets >= 2 and asked == pytest.approx(prices.cost(gets=gets))


# -- leases


def test_a_call_ends_within_its_lease_and_keeps_what_is_done(harness: BackendHarness) -> None:
    def nap(x: int) -> int:
        time.sleep(0.1)
        return x

    events = harness.run(harness.open(nap), range(50), lease=3.0)
    end = the(BatchEnded, events)
    assert end.expired and 1 <= end.ran < 30 and values_of(events) == list(range(end.ran))
    rate = harness.backend.limits.rate
    assert rate is not None
    assert charge_of(events).seconds <= 3.0 and charge_of(events).cost <= rate.at_most(3.0)


def test_a_call_leaves_of_its_lease_what_sending_its_results_takes(harness: BackendHarness) -> None:
    def large(x: int) -> bytes:
        time.sleep(0.05)
        return bytes(10_000_000)

    events = harness.run(harness.open(large), range(100), lease=3.0)
    end = the(BatchEnded, events)
    assert end.expired and len(values_of(events)) == end.ran >= 1
    assert charge_of(events).seconds <= 3.0


def test_an_item_that_fills_a_lease_alone_is_named(harness: BackendHarness) -> None:
    events = harness.run(harness.open(lambda _: threading.Event().wait()), [0], lease=0.6)
    down = the(WorkerDown, events)
    assert (down.item, down.reason) == (0, "lease") and "0.6 s" in down.cause


def test_an_item_that_was_cut_off_by_those_before_it_is_not_blamed(harness: BackendHarness) -> None:
    def wait(x: int) -> int:
        time.sleep(0.3 * x)
        return x

    events = harness.run(harness.open(wait), [0, 1, 100], lease=2.5)
    assert the(BatchEnded, events).expired and values_of(events) == [0, 1]


def test_a_lease_buys_less_time_of_a_larger_function(harness: BackendHarness) -> None:
    spec = harness.open(lambda x: x, memory=3538)
    events = harness.run(spec, [1], lease=4.0)
    rate = harness.backend.limits.rate
    assert rate is not None and values_of(events) == [1]
    assert charge_of(events).cost <= rate.at_most(4.0)


# -- stopping


def test_a_running_call_is_told_to_stop_through_storage(
    harness: BackendHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ABANDON_AFTER", 3600.0)  # else it could be given up instead
    begun = str(tmp_path / "begun")

    def hang(_: int) -> None:
        open(begun, "w").close()
        threading.Event().wait()

    spec = harness.open(hang)
    batch = harness.submit(spec, [1, 2])
    deadline = time.monotonic() + 20
    while not os.path.exists(begun):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    harness.backend.interrupt("lambda-0", spec.id)
    events = harness.until_end(batch)
    assert the(BatchEnded, events).ran == 0
    assert charge_of(events).seconds > 0


def test_a_call_that_has_not_begun_costs_nothing_when_interrupted(harness: BackendHarness) -> None:
    spec, interrupted = harness.open(lambda x: x), threading.Event()
    harness.backend._call_soon(interrupted.wait, 20)  # the loop sends nothing until then
    batch = harness.submit(spec, [0])
    harness.backend.interrupt("lambda-0", spec.id)
    interrupted.set()
    charge = charge_of(harness.until_end(batch))
    assert (charge.cost, charge.seconds) == (0.0, 0.0)


def test_a_call_that_does_not_stop_is_given_up_and_what_it_may_still_cost_is_said(
    harness: BackendHarness, tmp_path: Path
) -> None:
    begun, gate = str(tmp_path / "begun"), str(tmp_path / "gate")

    def wait(_: int) -> None:
        open(begun, "w").close()
        while not os.path.exists(gate):
            time.sleep(0.01)

    spec = harness.open(wait)
    batch = harness.submit(spec, [1], lease=20.0)
    deadline = time.monotonic() + 20
    while not os.path.exists(begun):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    harness.backend.kill("lambda-0", "killed")
    events = harness.until_end(batch)
    rate = harness.backend.limits.rate
    assert rate is not None and charge_of(events).cost == rate.at_most(20.0)
    assert "billed until then" in the(Warned, harness.events).line
    open(gate, "w").close()


# -- more processes


def test_a_function_with_two_vcpus_runs_two_items_at_a_time(tmp_path: Path) -> None:
    folder = str(tmp_path)

    def where(x: int) -> int:
        open(os.path.join(folder, str(x)), "w").close()
        while len(os.listdir(folder)) < 2:  # until another has begun
            time.sleep(0.01)
        return os.getpid()

    with BackendHarness(new_backend(shared_emulator(), memory=3538)) as harness:
        seen = values_of(harness.run(harness.open(where), range(4)))
    assert len(seen) == 4 and len(set(seen)) == 2


def test_results_of_several_processes_come_in_the_order_of_the_items() -> None:
    def slow_first(x: int) -> int:
        time.sleep(0.2 if x == 0 else 0)
        return x

    with BackendHarness(new_backend(shared_emulator(), memory=3538)) as harness:
        assert values_of(harness.run(harness.open(slow_first), range(40))) == list(range(40))


def test_a_job_sent_again_under_its_name_runs_its_new_function(harness: BackendHarness) -> None:
    spec = harness.open(lambda x: x + 1)
    assert values_of(harness.run(spec, [1])) == [2]
    changed = replace(spec_of(lambda x: x + 2), id=spec.id)
    with BackendHarness(new_backend(shared_emulator())) as other:
        other.backend.prepare(changed, set)
        other._batches = 10
        assert values_of(other.run(changed, [1])) == [3]


def test_packages_too_large_for_a_layer_are_fetched_when_an_environment_starts(
    tmp_path: Path,
) -> None:
    archive = tmp_path / "packages.zip"
    archive.write_bytes(deterministic_zip({"python/too_large.py": b"ANSWER = 42\n"}))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    size = archive.stat().st_size
    packages = PackageSource(
        hash="ab" * 32,
        archive=archive,
        nbytes=size,
        unpacked=size,
        sha256=digest,
        as_layer=False,
    )
    clients = clients_of(shared_emulator())

    def connector(settings: LambdaSettings) -> LambdaConnection:
        connection = connect(settings, clients)
        home = connection.home.with_(environment=packages.hash)
        deploy(clients, DesiredDeployment(targets=(home,), version="test", packages=packages))
        return replace(connection, home=home)

    def answer(_: int) -> int:
        import too_large  # type: ignore[import-not-found]

        return int(too_large.ANSWER)

    with BackendHarness(
        LambdaBackend(LambdaSettings(workers=2), clients=clients, connector=connector)
    ) as harness:
        spec = harness.open(answer)
        assert values_of(harness.run(spec, [0])) == [42]
        assert values_of(harness.run(spec, [0], slot=1)) == [42]
