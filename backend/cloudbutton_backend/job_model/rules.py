"""What may be done with a job, and the sentence if it may not: one table for cells, terminals and the panel.

Each rule is a condition and what is said where it holds; the first one that holds counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloudbutton_backend.job_model.records import JobRecord, JobState

Verb = Literal["cancel", "retry", "attach"]


@dataclass(frozen=True)
class _Situation:
    """A job as it is now."""

    job: JobRecord
    state: JobState
    is_gone: bool
    """Whether the process that ran it is known not to be there."""

    @property
    def is_active(self) -> bool:
        return not self.state.is_final

    @property
    def is_lost(self) -> bool:
        return self.state is JobState.LOST

    @property
    def is_of_live_kernel(self) -> bool:
        """Whether it is the business of the kernel that ran it, which is there."""
        if self.job.kind == "button":
            return not self.is_gone
        return self.is_active and not is_detached(self.job)


_Rule = tuple[Callable[[_Situation], bool], str]

_EXECUTOR: Final[_Rule] = (
    lambda now: now.job.kind == "executor",
    "is an executor's: its calls came from a program, one by one. Submit them again.",
)

_RULES: Final[Mapping[Verb, tuple[_Rule, ...]]] = {
    "cancel": (
        (lambda now: now.is_lost, "does not run any more: its process (pid {pid} on {host}) is gone."),
        (lambda now: not now.is_active, "has already ended ({state})."),
    ),
    "retry": (
        (lambda now: now.is_active, "is still {state}: wait for it, or cancel it first."),
        (lambda now: now.state is JobState.DONE, "is done: it has no failed items."),
        _EXECUTOR,
        (
            lambda now: now.is_gone or now.is_lost,
            "cannot be retried where it ran: its process (pid {pid} on {host}) is gone, or does not answer."
            " `%cloud attach {id}` in a notebook goes on with it there, `cloudbutton attach {id}` in a"
            " terminal.",
        ),
    ),
    "attach": (
        _EXECUTOR,
        (
            lambda now: now.is_of_live_kernel,
            "belongs to the kernel that ran it, which is there (pid {pid} on {host}).",
        ),
    ),
}  # fmt: skip


def refusal(verb: Verb, job: JobRecord, state: JobState, *, is_gone: bool = False) -> str | None:
    """Return why a job cannot be cancelled, retried or attached to; None when it can.

    To cancel one again that is being cancelled does no harm. To attach is meant as bringing its results into
    another kernel, and going on there with what is missing.
    """
    now = _Situation(job, state, is_gone)
    for applies, words in _RULES[verb]:
        if applies(now):
            said = words.format(id=job.id, pid=job.pid, host=job.host, state=state.value)
            return f"Job {job.id} ({job.name}) {said}"
    return None


def is_detached(job: JobRecord) -> bool:
    """Return whether a job was to go on without the process that started it."""
    return bool(job.options.get("detach"))
