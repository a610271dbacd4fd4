"""Watches the dispatcher's actions, and objects to any that breaks a promise."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from cloudbutton_backend.backends.protocol import (
    BatchEnded,
    Charged,
    Event,
    Limits,
    Results,
    Revoked,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.dispatch.actions import (
    Accept,
    Action,
    BatchLost,
    FailItem,
    Finish,
    Interrupt,
    Kill,
    OverBudget,
    Revoke,
    Submit,
)
from tests.support.workload import Work

_DUST = 1e-9
"""Dollars below which sums may differ: they were added in another order."""


class BrokenPromise(AssertionError):
    """The dispatcher did something that it must never do."""


@dataclass(slots=True)
class Account:
    """What became of one job's items."""

    work: Work
    accepted: bytearray
    """Results accepted of each item."""
    failed: dict[int, str] = field(default_factory=dict)
    """Kind of failure of each failed item."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Attempts that a failed item was said to have had."""
    ends: list[str] = field(default_factory=list)
    """Steps by which it ended, again after each retry."""
    holders: Counter[str] = field(default_factory=Counter)
    ready: int = 0
    """Items that were supplied."""
    cancelled: bool = False
    is_open: bool = True
    spent: float = 0.0
    """Charges so far."""
    aside: dict[int, float] = field(default_factory=dict)
    """The most that each call can cost that has not been charged."""
    committed: float = 0.0
    """Their sum."""
    budget: float | None = None
    over_budget: bool = False
    has_results: bool = False
    lacks_items: bool = False
    """Whether its stream was closed before it had given all."""

    def __post_init__(self) -> None:
        if self.work.chunk is None:
            self.ready = len(self.accepted)
        for first, stop in self.work.done:
            self.accepted[first:stop] = b"\x01" * (stop - first)
        self.budget, self.spent = self.work.budget, self.work.spent

    @property
    def at_most(self) -> float:
        """What it can have cost so far."""
        return self.spent + self.committed

    def reopen(self) -> None:
        """It is retried: what failed may succeed."""
        self.failed.clear()
        self.attempts.clear()
        self.lacks_items = self.ready < len(self.accepted)
        self.is_open, self.cancelled, self.over_budget = True, False, False
        if self.work.more is not None:
            self.budget = self.work.more


class InvariantChecker:
    """Keeps accounts from outside, and compares.

    Raises
    ------
    BrokenPromise
        From `see` and `hear`, with what was promised and what happened.
    """

    def __init__(self, works: tuple[Work, ...], limits: Limits, per_day: float = math.inf) -> None:
        self._limits = limits
        self._per_day = per_day
        self.accounts = {work.id: Account(work, bytearray(len(work.seconds))) for work in works}
        self._held: dict[str, dict[int, tuple[str, int]]] = {}
        """By worker and batch, the job and its first item."""
        self._seen: set[str] = set()

    def hear(self, event: Event) -> None:
        """Take note of an event before the dispatcher gets it."""
        if isinstance(event, WorkerUp):
            self._held[event.worker] = {}
            self._seen.add(event.worker)
        elif isinstance(event, WorkerDown):
            for job_id, _first in self._held.pop(event.worker).values():
                self._let_go(job_id, event.worker)
        elif isinstance(event, BatchEnded):
            self._drop(event.worker, event.batch)
        elif isinstance(event, Revoked):
            held = self._held[event.worker]
            is_next = event.batch in held and next(iter(held)) != event.batch
            if is_next and event.first <= held[event.batch][1]:  # nothing is left of it
                self._drop(event.worker, event.batch)
        elif isinstance(event, Charged):
            account = self.accounts[event.job_id]
            if event.batch in account.aside:
                account.committed -= account.aside.pop(event.batch)
                account.spent += event.cost
        elif isinstance(event, Results):
            of = self._held.get(event.worker, {}).get(event.batch)
            if of is not None:
                self.accounts[of[0]].has_results = True

    def _drop(self, worker: str, batch: int) -> None:
        of = self._held[worker].pop(batch, None)
        if of is not None:
            self._let_go(of[0], worker)

    def _let_go(self, job_id: str, worker: str) -> None:
        holders = self.accounts[job_id].holders
        holders[worker] -= 1
        if not holders[worker]:
            del holders[worker]

    def see(self, action: Action) -> None:
        """Judge an action."""
        if isinstance(action, Submit):
            self._see_submit(action)
        elif isinstance(action, Accept):
            self._see_accept(action)
        elif isinstance(action, FailItem):
            self._see_failure(action)
        elif isinstance(action, Finish):
            self._see_finish(action)
        elif isinstance(action, (Revoke, Interrupt, Kill)):
            self._require(action.worker in self._seen, "only workers are told", action)
        elif isinstance(action, OverBudget):
            account = self.accounts[action.job_id]
            has_limit = account.budget is not None or action.of_day
            self._require(has_limit, "there was a budget", action)
            account.over_budget = True
        elif isinstance(action, BatchLost):
            self._require(action.count > 0, "a batch without items is not lost", action)

    def _require(self, holds: bool, promise: str, action: Action) -> None:
        if not holds:
            raise BrokenPromise(f"{promise}: {action}")

    def _see_submit(self, action: Submit) -> None:
        account = self.accounts[action.job_id]
        held = self._held.get(action.worker)
        self._require(held is not None, "work goes to workers that are up", action)
        assert held is not None
        depth = self._limits.queue_depth
        self._require(len(held) < depth, f"a worker holds at most {depth} batches", action)
        self._require(account.is_open, "nothing is sent of a job that has ended", action)
        self._require(not account.cancelled, "nothing is sent of a cancelled job", action)
        stop = action.first + action.count
        self._require(0 <= action.first < stop <= account.ready, "items are at hand", action)
        done = account.accepted.find(1, action.first, stop) >= 0
        self._require(not done, "what is done is not sent again", action)
        held[action.batch] = (action.job_id, action.first)
        account.holders[action.worker] += 1
        cap = account.work.workers
        self._require(cap is None or len(account.holders) <= cap, "the cap of workers", action)
        wave = self._limits.first_wave
        small = wave is None or account.has_results or len(account.holders) <= wave
        self._require(small, "few workers until there are results", action)
        if self._limits.rate is not None:
            self._see_price(action, account, self._limits.rate)

    def _see_price(self, action: Submit, account: Account, rate: Rate) -> None:
        """A call that has a price was made."""
        longest, lease = self._limits.longest_call, action.lease
        if longest is not None:
            self._require(lease is not None and lease <= longest, "no call is too long", action)
        if lease is not None:
            account.aside[action.batch] = rate.at_most(lease)
            account.committed += account.aside[action.batch]
        if account.budget is not None:
            self._require(lease is not None, "with a budget, calls have leases", action)
            kept = account.at_most <= account.budget + _DUST
            self._require(kept, f"at most ${account.budget} are spent", action)
        if account.work.by_day:
            jobs = (each for each in self.accounts.values() if each.work.by_day)
            kept = sum(each.at_most for each in jobs) <= self._per_day + _DUST
            self._require(kept, f"all jobs of a day spend at most ${self._per_day}", action)

    def _see_accept(self, action: Accept) -> None:
        account = self.accounts[action.job_id]
        self._require(account.is_open, "nothing is accepted for a job that has ended", action)
        errors = action.results.meta.errors
        for offset in range(action.results.count):
            index = action.results.first + offset
            if index in action.skip:
                continue
            fresh = not account.accepted[index] and index not in account.failed
            self._require(fresh, f"item {index} ends once", action)
            if offset in errors:
                account.failed[index] = errors[offset]["kind"]
            else:
                account.accepted[index] = 1

    def _see_failure(self, action: FailItem) -> None:
        account = self.accounts[action.job_id]
        fresh = not account.accepted[action.index] and action.index not in account.failed
        self._require(fresh, f"item {action.index} ends once", action)
        account.failed[action.index] = action.kind
        account.attempts[action.index] = action.attempts
        most = self._limits.lost_attempts
        if action.kind == "timeout":
            most = account.work.retries + 1
        self._require(action.attempts <= most, f"at most {most} attempts", action)

    def _see_finish(self, action: Finish) -> None:
        account = self.accounts[action.job_id]
        self._require(account.is_open, "a job ends once", action)
        self._require(not account.holders, "no worker holds items of an ended job", action)
        account.ends.append(action.step)
        account.is_open = False
        self._require((action.step == "stopped") == account.cancelled, "cancel stops", action)
        # What a stream had not given when its job ended first is not to be had by a retry.
        total = len(account.accepted) if len(account.ends) == 1 else account.ready
        if action.step == "finish":
            whole = account.accepted.count(1) == len(account.accepted) and not account.failed
            self._require(whole, "a finished job has all results", action)
        elif action.step == "fail":
            if account.over_budget:
                return
            reason = bool(account.failed) or account.lacks_items
            self._require(reason, "a failed job has failed items, or lacks some", action)
            first = total
            if account.failed and account.work.stop_on_error:
                first = min(account.failed)
            gaps = [i for i in range(first) if not account.accepted[i] and i not in account.failed]
            self._require(not gaps, f"the items before the error have ended, not {gaps}", action)
