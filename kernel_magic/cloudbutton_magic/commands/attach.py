"""`%cloud attach`: shows a job of any kernel while its rest runs, and assigns its results."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.errors import BudgetReached, UnknownName, UsageError
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import BatchRecord, ItemOutcome, JobState, Progress
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.session import session
from cloudbutton_backend.settings.known import read_value
from cloudbutton_magic.cells.cell_context import register_source_lines
from cloudbutton_magic.cells.header import result_names
from cloudbutton_magic.cells.map_cell import assign_results
from cloudbutton_magic.display.live_view import Wording, follow
from cloudbutton_magic.display.screens import Screen
from cloudbutton_magic.display.view_model import Tone, View

USAGE: Final = "%cloud attach ID [-> NAME] [--backend B] [--budget +DOLLARS] [--workers N]"
_OPTIONS: Final = ("--backend", "--budget", "--workers")


@dataclass(frozen=True, kw_only=True)
class AttachRequest:
    """The parsed line."""

    job_id: str
    names: tuple[str, ...] = ()
    backend: str | None = None
    budget: str | None = None
    workers: int | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that change from now on."""
        asked = {"backend": self.backend, "budget": self.budget, "workers": self.workers}
        return {name: value for name, value in asked.items() if value is not None}


def parse_request(text: str) -> AttachRequest:
    """Read what stands after `%cloud attach`; options may come before the arrow or after it.

    Raises
    ------
    UsageError
        Something that makes no sense.
    """
    words = shlex.split(text.replace("->", " -> "))
    values: dict[str, Any] = {}
    plain: list[str] = []
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag not in _OPTIONS:
            if flag.startswith("--"):
                raise UnknownName("option", flag, _OPTIONS)
            plain.append(word)
            continue
        if not equals:
            if not words or words[0] == "->":
                raise UsageError(f"`{flag}` needs a value: `{USAGE}`.")
            value = words.pop(0)
        values[flag[2:]] = _value(flag[2:], value)
    head, arrow, tail = _split_at_arrow(plain)
    if len(head) != 1:
        raise UsageError(f"Which job? `{USAGE}`; `%cloud jobs` lists them.")
    names = result_names(" ".join(tail), f"%cloud attach {text}") if arrow else ()
    return AttachRequest(job_id=head[0], names=names, **values)


def _value(name: str, text: str) -> Any:
    if name == "budget":
        return text  # `+1.00` is not the same as `1.00`
    try:
        return read_value(name, text)
    except ValueError as error:
        raise UsageError(f"`--{name}`: expected {error}; got {text!r}.") from None


def _split_at_arrow(words: Sequence[str]) -> tuple[Sequence[str], bool, Sequence[str]]:
    if "->" not in words:
        return words, False, ()
    at = words.index("->")
    return words[:at], True, words[at + 1 :]


def attach(text: str, namespace: dict[str, Any], screen: Screen) -> Any:
    """Attach to a job and wait for its results; return what the cell shows, None if it was assigned."""
    request = parse_request(text)
    row = _find_row(request.job_id)
    if row is not None and row.kind == "button":
        return rerun_cell(row, request.changes, request.names)
    job = session.current().attach(
        request.job_id, backend=request.backend, budget=request.budget, workers=request.workers
    )
    follow(_AttachedJob(job), screen, wording=Wording(hints=_hints(job, request.names)))
    try:
        if job.record.kind == "run":
            return _assign_variables(job, request.names, namespace)
        return assign_results(job.results(), request.names, namespace)
    except Exception as error:
        if row is not None:
            register_source_lines(error, row.source or "")
        raise


def rerun_cell(row: JobRow, changes: Mapping[str, Any], names: Sequence[str]) -> None:
    """Run the cell of a button job again, without what its loops had finished.

    Raises
    ------
    UsageError
        There are names for results, or the cell cannot be run again (see `attach_button_cell`).
    """
    if names:
        raise UsageError(
            f"Job {row.id} is a loop of a cell, which sets names of its own: `%cloud attach {row.id}`"
            f" without `-> {', '.join(names)}`."
        )
    from cloudbutton_magic.commands.attach_button_cell import attach_button_cell

    attach_button_cell(row, changes)


def _find_row(id_or_prefix: str) -> JobRow | None:
    session.current().journal.flush(1.0)  # it may have ended just now, in this kernel
    try:
        return JournalReader().job(id_or_prefix)
    except UnknownName:
        return None  # one that began just now may be known to the session alone


def _assign_variables(job: Job, names: Sequence[str], namespace: dict[str, Any]) -> Any:
    """Set what the cell of `%%cloud run` would have set, only `names` of it if some are given."""
    (outcome,) = job.results()
    if isinstance(outcome, BaseException):  # `--errors keep`
        raise outcome
    value, variables = outcome
    unknown = [name for name in names if name not in variables]
    if unknown:
        raise UnknownName("variable of the cell", unknown[0], tuple(variables))
    namespace.update({name: variables[name] for name in names} if names else variables)
    return None if names else value


@dataclass(frozen=True)
class _AttachedJob:
    """A job in a cell: interrupting the cell stops it only where it would end with this kernel."""

    job: Job

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def progress(self) -> Progress:
        return self.job.progress

    def timeline(self) -> tuple[BatchRecord, ...]:
        return self.job.timeline()

    def wait(self, timeout: float | None = None) -> bool:
        return self.job.wait(timeout)

    def outcomes(self) -> Iterator[ItemOutcome]:
        return self.job.outcomes()

    def shown(self) -> Iterator[ItemOutcome]:
        return self.job.shown()

    def errors(self) -> dict[int, BaseException]:
        return self.job.errors()

    def cancel(self) -> None:
        if self.job.ends_with_us:
            self.job.cancel()


def _hints(job: Job, names: Sequence[str]) -> Callable[[View], Sequence[str]]:
    """Return the hints to show at the end, which depend on how it ends."""

    def hints(view: View) -> Sequence[str]:
        if view.tone is Tone.DONE:
            return ()
        arrow = f" -> {', '.join(names)}" if names else ""
        if job.state in (JobState.RUNNING, JobState.CANCELLING):
            return (
                f"it goes on without this kernel: `%cloud attach {job.id}{arrow}` comes back to it,"
                f" `%cloud cancel {job.id}` stops it",
            )
        failure = job.failure
        budget = f" --budget {failure.enough:g}" if isinstance(failure, BudgetReached) else ""
        return (
            f"`%cloud attach {job.id}{budget}{arrow}` runs what is missing",
            f"`job = %cloud show {job.id}` has what is done: `job.partial()`, `job.errors()`",
        )

    return hints
