"""A thousand items through an account where things go wrong: every result right, each delivered once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.aws_lambda.emulator import EmulatedFaults, Emulator, LambdaLimits
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.backends.protocol import BatchEnded, Revoked, WorkerDown
from cloudbutton_backend.errors import BackendError, WorkerLost
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.lambda_backend.conftest import connector_of, new_backend
from tests.lambda_backend.harness import BackendHarness, charge_of, the

WRONG = EmulatedFaults(throttle=0.05, crash=0.02, timeout=0.01, lost_answer=0.01, seed=7)


class OneItemPerCall(LambdaBackend):
    """As if each item were worth a call of its own: a thousand items make a thousand calls."""

    @property
    def limits(self):  # type: ignore[no-untyped-def]
        return replace(super().limits, batch_seconds=1e-9)


@pytest.fixture(scope="module")
def account() -> Iterator[Emulator]:
    with Emulator(limits=LambdaLimits(concurrency=8)) as account:
        yield account


def place_on(account: Emulator, workers: int = 6) -> TaskPlace:
    return TaskPlace(
        OneItemPerCall(
            LambdaSettings(workers=workers, emulate=True),
            connector=connector_of(account),
            patience=3.0,
        )
    )


def test_a_thousand_items_survive_throttling_crashes_time_outs_and_lost_answers(
    account: Emulator,
) -> None:
    place = place_on(account)
    try:
        place.map(lambda x: x, [0])  # deployed, before things go wrong
        account.set_faults(WRONG)
        job = place.start(lambda x: x * x, range(1000))
        arrived = Counter(index for index, _ in job.as_completed())
        assert job.results() == [x * x for x in range(1000)]
        assert arrived == Counter(range(1000))
        assert job.progress.lost_workers > 10, "nothing went wrong"
    finally:
        account.set_faults(EmulatedFaults())
        place.session.close()


def test_more_workers_than_the_account_may_run_only_makes_them_wait(account: Emulator) -> None:
    place = place_on(account, workers=40)
    try:
        job = place.start(lambda x: time.sleep(0.02) or x, range(200))
        assert job.results() == list(range(200))
        assert (job.progress.lost_workers, job.progress.retried) == (0, 0)
        assert place.backend._lambda_calls._invoker.refusals > 0  # type: ignore[attr-defined]
    finally:
        place.session.close()


def test_a_lost_answer_counts_at_its_full_price_and_costs_no_attempt(account: Emulator) -> None:
    with BackendHarness(new_backend(account)) as harness:
        spec = harness.open(lambda x: x)
        harness.run(spec, [0])
        account.set_faults(EmulatedFaults(lost_answer=1.0))
        events = harness.run(spec, [1, 2], lease=2.0)
        account.set_faults(EmulatedFaults())
        rate = harness.backend.limits.rate
        assert rate is not None and charge_of(events).cost == rate.at_most(2.0)
        assert (the(Revoked, events).first, the(Revoked, events).stop) == (0, 2)
        assert the(BatchEnded, events).ran == 0


def test_an_item_whose_answers_are_always_lost_fails_in_the_end(account: Emulator) -> None:
    place = place_on(account)
    try:
        place.map(lambda x: x, [0])
        account.set_faults(EmulatedFaults(lost_answer=1.0))
        with pytest.raises((WorkerLost, BackendError), match=r"lost again|connections break"):
            place.map(lambda x: x, [1])
    finally:
        account.set_faults(EmulatedFaults())
        place.session.close()


@pytest.mark.parametrize(
    ("fault", "words"),
    [("timeout", "time limit"), ("crash_before", "environment died")],
)
def test_what_the_platform_says_of_a_call_reaches_the_user(
    account: Emulator, fault: str, words: str
) -> None:
    with BackendHarness(new_backend(account)) as harness:
        spec = harness.open(lambda x: x)
        harness.run(spec, [0])
        rates = {"timeout": EmulatedFaults(timeout=1.0), "crash_before": EmulatedFaults(crash=1.0)}
        account.set_faults(rates.get(fault, EmulatedFaults(crash=1.0, seed=3)))
        events = harness.run(spec, [1])
        account.set_faults(EmulatedFaults())
        down = the(WorkerDown, events)
        assert (down.item, down.reason) == (0, "died") and words in down.cause
        assert charge_of(events).seconds > 0


def test_a_job_ends_with_the_cause_where_everything_is_refused(account: Emulator) -> None:
    place = place_on(account)
    try:
        place.map(lambda x: x, [0])
        account.set_faults(EmulatedFaults(throttle=1.0))
        began = time.monotonic()
        job = place.start(lambda x: x, range(5))
        assert job.wait(40.0)
        assert time.monotonic() - began < 30
        account.set_faults(EmulatedFaults())
        with pytest.raises(BackendError, match="got through for 3 s"):
            job.results()
        assert job.state in (JobState.FAILED, JobState.CANCELLED)
        assert place.map(lambda x: x, [3]) == [3], "the next job suffers from the last"
    finally:
        account.set_faults(EmulatedFaults())
        place.session.close()
