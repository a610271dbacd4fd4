"""Rules for what may be done with a job, with the reason if it may not."""

from __future__ import annotations

from typing import Literal

from cloudbutton_backend.job_model.records import JobRecord, JobState

Verb = Literal["cancel", "retry", "attach"]


def refusal(verb: Verb, job: JobRecord, state: JobState, *, is_gone: bool = False) -> str | None:
    """Return why a job cannot be cancelled, retried or attached to; None when it can.

    To cancel one again that is being cancelled does no harm. To attach is meant as bringing its results into
    another kernel, and going on there with what is missing.

    Parameters
    ----------
    is_gone
        Whether the process that ran it is known not to be there.
    """
    process, is_active = f"its process (pid {job.pid} on {job.host})", not state.is_final
    # The first condition that holds counts.
    against = {
        "cancel": (
            (state is JobState.LOST, f"does not run any more: {process} is gone."),
            (not is_active, f"has already ended ({state.value})."),
        ),
        "retry": (
            (is_active, f"is still {state.value}: wait for it, or cancel it first."),
            (state is JobState.DONE, "is done: it has no failed items."),
            (job.kind == "executor", _EXECUTOR),
            (
                is_gone or state is JobState.LOST,
                f"cannot be retried where it ran: {process} is gone, or does not answer."
                f" `%cloud attach {job.id}` in a notebook goes on with it there,"
                f" `cloudbutton attach {job.id}` in a terminal.",
            ),
        ),
        "attach": (
            (job.kind == "executor", _EXECUTOR),
            # What a pressed cell has done is its kernel's, also when it has ended.
            (
                not is_gone if job.kind == "button" else is_active and not is_detached(job),
                f"belongs to the kernel that ran it: {process} is there.",
            ),
        ),
    }
    reason = next((words for applies, words in against[verb] if applies), None)
    return None if reason is None else f"Job {job.id} ({job.name}) {reason}"


_EXECUTOR = "is an executor's: its calls came from a program, one by one. Submit them again."


def is_detached(job: JobRecord) -> bool:
    """Return whether a job was to go on without the process that started it."""
    return bool(job.options.get("detach"))
