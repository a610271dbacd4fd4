"""What a call is charged, and how long it may run for what was set aside for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda.call_results import (
    Attempt,
    CallAccountant,
    at_most,
    lease_for,
)
from cloudbutton_backend.backends.aws_lambda.deployment.actual import ActualFunction
from cloudbutton_backend.backends.aws_lambda.invocation_outcome import (
    BilledUsage,
    InvocationFailure,
)
from cloudbutton_backend.backends.aws_lambda.remote_job import RemoteJob, bare_rate, rate_of
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.protocol import BatchCall, Charged
from cloudbutton_backend.cost import lambda_prices
from tests.lambda_backend.harness import spec_of

HOME = DeploymentTarget(account="123456789012", region="eu-west-1", python="3.12", memory=1769)
CALL = BatchCall(1, "job", "lambda-0", 0, 1, [], lease=10.0)


def job_on(storage: int | None = None, memory: int = 1769, *, has_budget: bool = True) -> RemoteJob:
    """Return a job whose function has this much /tmp and memory."""
    settings = {} if storage is None else {"EphemeralStorage": {"Size": storage}}
    target = HOME.with_(memory=memory)
    job = RemoteJob(spec_of(lambda x: x, has_budget=has_budget), b"key", HOME, target, ())
    job.use_function(ActualFunction(target=target, settings=settings, tags={}), frozenset())
    return job


@pytest.mark.parametrize("storage", [None, 512])
def test_the_usual_disk_costs_nothing(storage: int | None) -> None:
    job = job_on(storage)
    assert lease_for(CALL, job) == 10.0
    assert at_most(CALL, job).cost == rate_of(HOME).at_most(10.0)


def test_a_larger_disk_is_on_the_bill() -> None:
    job = job_on(10_240)
    price = lambda_prices(HOME.region, HOME.arch).storage_gb_second
    more = bare_rate(HOME, job.storage).cost(10.0) - bare_rate(HOME).cost(10.0)
    assert more == pytest.approx(10.0 * 9.5 * price)
    assert at_most(CALL, job).cost > rate_of(HOME).at_most(10.0)


def test_a_call_with_a_larger_disk_stays_within_what_was_set_aside() -> None:
    job = job_on(10_240)
    lease = lease_for(CALL, job)
    assert lease is not None and 9.0 < lease < 10.0
    assert rate_of(HOME, job.storage).at_most(lease) <= rate_of(HOME).at_most(10.0)


@pytest.mark.parametrize(
    ("budget", "least", "most"),
    [
        pytest.param(True, 100.0, 200.0, id="five times the price: a fifth of the time"),
        pytest.param(False, 900.0, 900.0, id="nothing to keep: all that Lambda allows"),
    ],
)
def test_more_memory_shortens_calls_only_where_there_is_a_budget(
    budget: bool, least: float, most: float
) -> None:
    lease = lease_for(replace(CALL, lease=900.0), job_on(memory=8845, has_budget=budget))
    assert lease is not None and least <= lease <= most


async def test_a_call_that_the_platform_ended_is_charged_what_it_may_have_asked_of_storage() -> (
    None
):
    report = BilledUsage(billed=10.0, seconds=10.0, start=0.0, memory=1769, peak=100)
    failure = InvocationFailure("crash", "Runtime.ExitError", "it exited", "", report)
    job = job_on()

    async def none_larger(_: DeploymentTarget) -> None:
        return None

    bucket: Any = None  # what the platform ended has left nothing there
    events = await CallAccountant(bucket, none_larger).events_of(Attempt(CALL, job, HOME), failure)
    (charge,) = (event for event in events if isinstance(event, Charged))
    assert bare_rate(HOME).cost(10.0) < charge.cost <= rate_of(HOME).at_most(10.0)
