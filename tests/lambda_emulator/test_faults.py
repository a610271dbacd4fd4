"""Faults: which invocation meets which is decided by seed and number, and each does what it says."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.backends.aws_lambda.emulator import EmulatedFaults
from cloudbutton_backend.backends.aws_lambda.emulator.emulated_faults import fault_of

from .account import Account

RATES = {"throttle": 0.05, "crash": 0.02, "timeout": 0.01}


def test_faults_come_as_often_as_their_rates_say() -> None:
    faults = EmulatedFaults(**RATES, lost_answer=0.03, seed=7)  # type: ignore[arg-type]
    found = Counter(fault_of(faults, number) for number in range(20_000))
    for fault, rate in (
        ("throttle", 0.05),
        ("crash_before", 0.01),
        ("crash_after", 0.01),
        ("timeout", 0.01),
        ("lost_answer", 0.03),
        (None, 0.89),
    ):
        assert found[fault] / 20_000 == pytest.approx(rate, rel=0.2)  # type: ignore[index]


@given(st.integers(), st.integers(min_value=1), st.integers(min_value=0, max_value=9))
def test_the_same_seed_and_number_meet_the_same_fault(seed: int, number: int, n: int) -> None:
    rates: dict[str, Any] = {**RATES, "throttle": 0.5}
    assert fault_of(EmulatedFaults(**rates, seed=seed), number, n) == fault_of(
        EmulatedFaults(**rates, seed=seed), number, n
    )


@given(st.integers(min_value=1), st.integers(min_value=0))
def test_without_rates_nothing_goes_wrong(number: int, seed: int) -> None:
    assert fault_of(EmulatedFaults(seed=seed), number) is None


def test_other_seeds_are_other_faults() -> None:
    def faulty(seed: int) -> list[int]:
        faults = EmulatedFaults(throttle=0.1, seed=seed)
        return [number for number in range(500) if fault_of(faults, number)]

    assert faulty(1) != faulty(2) and faulty(1) == faulty(1)


def test_a_fault_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"no such fault: .'explosion'"):
        EmulatedFaults(script={1: "explosion"})  # type: ignore[dict-item]


def test_every_scripted_fault_does_what_it_says(
    new_account: Callable[..., Account], tmp_path: Any
) -> None:
    account = new_account(
        faults=EmulatedFaults(
            script={
                2: "throttle",
                3: "server_error",
                4: "crash_before",
                5: "crash_after",
                6: "timeout",
                7: "lost_answer",
            },
        )
    )
    log = tmp_path / "log"
    name = account.function(
        f"def handler(event, context):\n  open({str(log)!r}, 'a').write(f'{{event}} ')\n",
        Timeout=30,
    )
    assert account.invoke(name, 1).error is None
    with pytest.raises(ClientError) as throttled:
        account.invoke(name, 2)
    assert throttled.value.response["Error"]["Code"] == "TooManyRequestsException"
    with pytest.raises(ClientError) as broken:
        account.invoke(name, 3)
    assert broken.value.response["Error"]["Code"] == "ServiceException"
    for number in (4, 5):
        crashed = account.invoke(name, number)
        assert crashed.body["errorMessage"].endswith("exited with error: signal: killed")
    began = time.monotonic()
    timed_out = account.invoke(name, 6)
    assert timed_out.body["errorMessage"].endswith("Task timed out after 30.00 seconds")
    assert "Duration: 30000.00 ms" in timed_out.report
    assert time.monotonic() - began < 10, "it is reported at once, not after half a minute"
    with pytest.raises(ConnectionClosedError):
        account.invoke(name, 7)
    assert account.invoke(name, 8).error is None
    assert log.read_text().split() == ["1", "5", "7", "8"], "what ran, and what did not"
    assert len(account.emulator.reports) == 6, "all but the refused are billed"


def test_a_slow_start_is_billed(new_account: Callable[..., Account]) -> None:
    account = new_account(faults=EmulatedFaults(script={1: "slow_start"}, slow_start_seconds=0.4))
    account.invoke(account.function("def handler(event, context): pass"))
    (report,) = account.emulator.reports
    assert report.init_ms is not None and report.init_ms >= 400
    assert report.billed_ms >= 400


def test_faults_can_be_changed_while_it_runs(new_account: Callable[..., Account]) -> None:
    account = new_account()
    name = account.function("def handler(event, context): pass")
    account.emulator.set_faults(EmulatedFaults(throttle=1.0))
    with pytest.raises(ClientError, match="TooManyRequests"):
        account.invoke(name)
    account.emulator.set_faults(EmulatedFaults())
    assert account.invoke(name).error is None
