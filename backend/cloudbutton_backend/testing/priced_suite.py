"""The suite for backends whose calls have a price; it contains that of `testing.protocol_suite`."""

from __future__ import annotations

import pytest

from cloudbutton_backend.backends.protocol import (
    BatchEnded,
    Charged,
    Event,
    Results,
    WorkerDown,
)
from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.testing.protocol_suite import ManualDriver, ProtocolConformance

LEASE = 3.0
"""Long enough for a worker to start, and for an item that does nothing."""


class PricedConformance(ProtocolConformance):
    """Promises on which budgets rely."""

    @pytest.fixture
    def rate(self, hand: ManualDriver) -> Rate:
        """Return what a call costs."""
        rate = hand.backend.limits.rate
        assert rate is not None
        return rate

    def test_a_call_is_charged_once_before_its_results_and_its_end(
        self, hand: ManualDriver, rate: Rate
    ) -> None:
        hand.open()
        hand.open_gate()
        batch = hand.submit(0, 5)
        hand.until(BatchEnded)
        (charged,) = hand.all(Charged)
        assert (charged.job_id, charged.batch) == ("job", batch)
        assert 0 < charged.cost <= rate.at_most(hand.backend.limits.longest_call or 900.0)
        order = [event for event in hand.events if isinstance(event, (Charged, Results))]
        assert order[-1] is not charged

    def test_a_call_ends_with_its_lease_and_what_has_run_is_kept(
        self, hand: ManualDriver, rate: Rate
    ) -> None:
        hand.open()
        batch = hand.submit(0, 3, lease=LEASE)

        def has_ended(event: Event) -> bool:
            if isinstance(event, WorkerDown):
                return event.batch == batch and event.reason == "lease"
            return isinstance(event, BatchEnded) and event.batch == batch and event.expired

        hand.until(object, has_ended)  # type: ignore[arg-type]
        assert [(event.first, event.count) for event in hand.all(Results)] == [(0, 1)]
        (charged,) = hand.all(Charged)
        assert charged.cost <= rate.at_most(LEASE)
        assert set(hand.begun()) <= {0, 1}

    def test_a_call_that_its_worker_took_down_is_charged_too(self, hand: ManualDriver) -> None:
        hand.open()
        batch = hand.submit(1, 3)
        hand.await_begun(1)
        hand.backend.kill(hand.worker, "timeout")
        down = hand.until(WorkerDown)
        charged = hand.until(Charged)
        assert charged.batch == batch
        assert hand.events.index(charged) < hand.events.index(down)
