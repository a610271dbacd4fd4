"""All errors of this project, in one tree.

::

    CloudError
    ├── UsageError                An option, a name or a header that makes no sense
    │   ├── UnknownName           A name that is not known, with the nearest one that is
    │   ├── WrongArgument         An argument of a kind that makes no sense (a `TypeError`, too)
    │   ├── SettingsError         A settings file or variable that cannot be used
    │   ├── OwnedElsewhere        Another process runs the job
    │   ├── OwnershipLost         A job of this process was continued by another one meanwhile
    │   ├── HeaderError           A header that cannot be parsed
    │   └── NotConfirmed          A pressed cell would have spent money without the user's consent
    ├── CaptureError              The code or a value that it uses cannot be sent (a `PicklingError`, too)
    │   ├── CannotTravel          A captured value is of a kind that has no meaning in another process
    │   ├── NotPicklable          A captured value could not be pickled, for a reason of its own
    │   └── TooDeep               A captured value is nested deeper than Python can pickle
    ├── TaskError                 An item failed for a reason other than an exception of the user's code
    │   ├── WorkerLost            The process that ran an item died, each time it was tried
    │   ├── TaskTimeout           An item ran longer than the job's `timeout`
    │   ├── ResultNotSendable     The item's result or exception cannot be sent back (a `PicklingError`, too)
    │   └── RemoteError           The user's exception, shown as text because it could not be rebuilt here
    ├── JobCancelled              The job was cancelled
    ├── JobFailed                 The job could not go on
    │   ├── CannotContinue        A job's missing items cannot be run
    │   ├── DayBudgetReached      The job's next call could cost more than is left of the day's budget
    │   └── BudgetReached         The job's next call could cost more than is left of its budget
    ├── BackendError              The backend could not start, or died as a whole
    │   ├── DeploymentRefused     A resource that is not ours has a name that we need
    │   ├── NotDeployed           The deployment in the cloud is missing, or of another version
    │   ├── PackagesDoNotFit      An installed package cannot run where the code is to run
    │   ├── MissingExtra          Packages of an optional part are not installed here (an `ImportError`, too)
    │   ├── CloudServiceError     The cloud provider refused a request or could not be reached
    │   │   ├── NoCredentials     Credentials are missing, invalid or expired
    │   │   ├── NotPermitted      A permission is missing: that for `action` on `resource`
    │   │   ├── NotThere          The requested resource does not exist
    │   │   ├── AlreadyThere      The resource to create exists already, or is being changed
    │   │   ├── Throttled         Too many requests at a time
    │   │   └── Unreachable       There was no answer: the network, the region's name, or the clock
    │   └── NoInvocationSucceeds  Every invocation has been refused for too long
    ├── Tampered                  A file to be unpickled is not what this installation wrote
    ├── JournalError              The journal on disk cannot be used
    ├── CheckpointTooLarge        The items of a job are too large to be saved
    ├── HiddenChange              A loop changed an object that its iterations share
    └── RequestRefused            The server cannot do what the panel asked for, as things are

The user's own exceptions are never wrapped: they surface with their original type.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pickle import PicklingError
from typing import Any


class CloudError(Exception):
    """Base of every error raised by Cloud Button itself.

    IPython shows it by its message alone: the way through our code is of no use to anybody.
    """

    def _render_traceback_(self) -> list[str]:
        lines = [f"{type(self).__name__}: {self}"]
        if self.__cause__ is not None and not isinstance(self.__cause__, CloudError):
            lines.append(f"caused by {type(self.__cause__).__name__}: {self.__cause__}")
        return lines


class UsageError(CloudError):
    """An option, a name or a header that makes no sense; nothing was started."""


class UnknownName(UsageError):
    """A name that is not known, with the nearest one that is."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = tuple(known)
        super().__init__(kind, name, known)
        self.kind, self.name, self.known = kind, name, known

    def __str__(self) -> str:
        close = difflib.get_close_matches(self.name, self.known, n=1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        shown = ", ".join(self.known) if self.known else "none"
        return f"Unknown {self.kind} `{self.name}`.{hint} Known: {shown}."


class WrongArgument(UsageError, TypeError):
    """An argument of a kind that makes no sense; a number for the items, say."""


class SettingsError(UsageError):
    """A settings file or variable that cannot be used."""


class CaptureError(CloudError, PicklingError):
    """The code or a value that it uses cannot be sent."""


class TaskError(CloudError):
    """An item failed for a reason other than an exception of the user's code."""


class WorkerLost(TaskError):
    """The process that ran an item died, each time it was tried."""

    def __init__(self, item: str, cause: str, attempts: int) -> None:
        super().__init__(item, cause, attempts)
        self.item, self.cause, self.attempts = item, cause, attempts

    def __str__(self) -> str:
        times = "" if self.attempts == 1 else f" in each of {self.attempts} attempts"
        return f"The worker running {self.item} died{times}: {self.cause}"


class TaskTimeout(TaskError):
    """An item ran longer than the job's `timeout`; its worker was stopped."""

    def __init__(self, item: str, timeout: float) -> None:
        super().__init__(item, timeout)
        self.item, self.timeout = item, timeout

    def __str__(self) -> str:
        return (
            f"{self.item} was still running after {self.timeout:g} s and was stopped. "
            f"Raise `timeout=` (in a cell `--timeout`), or make the item smaller."
        )


class ResultNotSendable(TaskError, PicklingError):
    """The item's result or exception cannot be sent back."""

    def __init__(self, item: str, type_name: str, reason: str) -> None:
        super().__init__(item, type_name, reason)
        self.item, self.type_name, self.reason = item, type_name, reason

    def __str__(self) -> str:
        return (
            f"{self.item} returned a value of type {self.type_name} that cannot travel back: "
            f"{self.reason}. Return plain data instead (numbers, strings, arrays, frames)."
        )


class RemoteError(TaskError):
    """The user's exception, shown as text because it could not be rebuilt here."""

    def __init__(self, type_name: str, message: str, traceback_text: str) -> None:
        super().__init__(type_name, message, traceback_text)
        self.type_name, self.message, self.traceback_text = type_name, message, traceback_text

    def __str__(self) -> str:
        return (
            f"{self.type_name}: {self.message}\n"
            f"(the exception itself could not be pickled; its traceback in the worker was)\n"
            f"{self.traceback_text}"
        )


class JobCancelled(CloudError):
    """The job was cancelled; what had finished is kept."""

    def __init__(self, job_id: str, done: int, total: int | None) -> None:
        super().__init__(job_id, done, total)
        self.job_id, self.done, self.total = job_id, done, total

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        return (
            f"Job {self.job_id} was cancelled after {self.done}{of} items. "
            f"They are kept: `job.partial()`; go on with `job.retry_failed()`."
        )


class JobFailed(CloudError):
    """The job could not go on; what had finished is kept."""


class CannotContinue(JobFailed):
    """A job's missing items cannot be run; what had finished can be read."""


class DayBudgetReached(JobFailed):
    """The job's next call could cost more than is left of the day's budget; what had finished is kept.

    Parameters
    ----------
    spent
        Dollars that the job has cost.
    per_day
        Dollars that all jobs of the day may cost.
    at_least
        Dollars that the next call would need.
    """

    def __init__(
        self,
        job_id: str,
        spent: float,
        per_day: float,
        at_least: float,
        done: int,
        total: int | None,
    ) -> None:
        super().__init__(job_id, spent, per_day, at_least, done, total)
        self.job_id, self.spent, self.per_day = job_id, spent, per_day
        self.at_least, self.done, self.total = at_least, done, total

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        return (
            f"Today's budget of {_dollars(self.per_day)} for all jobs (setting `budget_per_day`) does not pay"
            f" for the next call of job {self.job_id}, which could cost {_dollars(self.at_least)}."
            f" It has spent {_dollars(self.spent)}; {self.done}{of} items are done: `job.partial()` has"
            " the results.\n"
            f"Go on tomorrow, when other jobs have ended, or with a higher `budget_per_day`:"
            f" `job.retry_failed()` or `%cloud retry {self.job_id}`. `%cloud cost` shows what was spent."
        )


class BudgetReached(JobFailed):
    """The job's next call could cost more than is left of its budget; what had finished is kept.

    Parameters
    ----------
    at_least
        Dollars that the next call would need.
    enough
        A budget that would probably do.
    """

    def __init__(
        self,
        job_id: str,
        spent: float,
        budget: float,
        at_least: float,
        enough: float,
        done: int,
        total: int | None,
    ) -> None:
        super().__init__(job_id, spent, budget, at_least, enough, done, total)
        self.job_id, self.spent, self.budget = job_id, spent, budget
        self.at_least, self.enough = at_least, enough
        self.done, self.total = done, total

    @property
    def summary(self) -> str:
        """What happened, without the advice."""
        return (
            f"budget reached: {_dollars(self.spent)} of {_dollars(self.budget)} spent, and the next"
            f" call could cost {_dollars(self.at_least)}"
        )

    def __str__(self) -> str:
        if self.total is None:
            done = f"{self.done} items are done"
        else:
            left = self.total - self.done
            done = f"{self.done} of {self.total} items are done, {left} {'is' if left == 1 else 'are'} left"
        return (
            f"Job {self.job_id} has spent {_dollars(self.spent)} of its budget of"
            f" {_dollars(self.budget)}, and its next call could cost {_dollars(self.at_least)}."
            f" {done}: `job.partial()` has the results.\n"
            f"Go on with `job.retry_failed(budget={self.enough:g})` or `%cloud retry {self.job_id}"
            f" --budget {self.enough:g}`: the budget is for all that the job spends, before and after."
        )


def _dollars(value: float) -> str:
    """Return `$0.50`, `$0.4998`, `$0.000031`."""
    if 0 < value < 0.01:
        return f"${value:.2g}" if value >= 0.0001 else f"${value:.6f}"
    text = f"{value:,.4f}"
    return "$" + (text[:-2] if text.endswith("00") or value >= 1 else text)


class BackendError(CloudError):
    """The backend could not start, or died as a whole."""


class DeploymentRefused(BackendError):
    """A resource that is not ours has a name that we need; nothing was changed."""


class NotDeployed(BackendError):
    """The deployment in the cloud is missing, or of another version."""


class PackagesDoNotFit(BackendError):
    """An installed package cannot run where the code is to run."""


class MissingExtra(BackendError, ImportError):
    """Packages of an optional part are not installed here."""

    def __init__(self, part: str, extra: str, packages: Iterable[str]) -> None:
        packages = tuple(packages)
        super().__init__(part, extra, packages)
        self.part, self.extra, self.packages = part, extra, packages

    def __str__(self) -> str:
        return (
            f"{self.part} needs packages that this Python does not have ({', '.join(self.packages)}): "
            f'`pip install "cloudbutton[{self.extra}]"`.'
        )


class CloudServiceError(BackendError):
    """The cloud provider refused a request or could not be reached."""

    def __init__(
        self, message: str, *, action: str = "", code: str = "", resource: str = ""
    ) -> None:
        super().__init__(message)
        self.action = action
        """As policies name it: `lambda:CreateFunction`."""
        self.code = code
        """The provider's own word for what is wrong."""
        self.resource = resource

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), *self.args, self.action, self.code, self.resource)


def _rebuilt(
    kind: type[CloudServiceError], message: str, action: str, code: str, resource: str
) -> CloudServiceError:
    return kind(message, action=action, code=code, resource=resource)


class NoCredentials(CloudServiceError):
    """Credentials are missing, invalid or expired."""


class NotPermitted(CloudServiceError):
    """A permission is missing: that for `action` on `resource`."""


class NotThere(CloudServiceError):
    """The requested resource does not exist."""


class AlreadyThere(CloudServiceError):
    """The resource to create exists already, or is being changed."""


class Throttled(CloudServiceError):
    """Too many requests at a time; repeating it did not help."""


class Unreachable(CloudServiceError):
    """There was no answer: the network, the region's name, or the clock."""


class Tampered(CloudError):
    """A file to be unpickled is not what this installation wrote."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return (
            f"{self.path} is not what this installation of Cloud Button wrote there: {self.reason}."
            " Nothing of it was loaded. It was changed or damaged, or the key that it was sealed with"
            " has been replaced; remove the file if you cannot explain it."
        )


class JournalError(CloudError):
    """The journal on disk cannot be used."""
