"""`%cloud …`: what each line command does, and its help."""

from __future__ import annotations

import ast
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final

from cloudbutton_backend.backends import registry
from cloudbutton_backend.backends.capabilities import DescribesPackages, TakesBareWords
from cloudbutton_backend.capture import explain
from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model.rules import refusal
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.session import session
from cloudbutton_backend.settings import resolve
from cloudbutton_backend.settings import use as use_settings
from cloudbutton_backend.settings.known import FIELDS, read_value
from cloudbutton_magic.cells.header import result_names
from cloudbutton_magic.cells.map_cell import assign_results
from cloudbutton_magic.commands.attach import USAGE as ATTACH_USAGE
from cloudbutton_magic.commands.attach import attach, rerun_cell
from cloudbutton_magic.commands.job_lists import JobListing, jobs_table
from cloudbutton_magic.display.live_view import follow
from cloudbutton_magic.display.rendering import Table
from cloudbutton_magic.display.screens import Screen

LATEST: Final = 20
"""Jobs that `%cloud jobs` lists."""

_MOST_DAYS: Final = 366
_JOB_ID: Final = re.compile(r"[a-z0-9]{1,8}")
"""What may be a job's id, or the beginning of one."""


@dataclass(frozen=True, kw_only=True)
class CommandContext:
    """The context of a command."""

    namespace: dict[str, Any]
    screen: Screen


@dataclass(frozen=True)
class LineCommand:
    """One line command."""

    name: str
    usage: str
    help: str
    run: Callable[[str, CommandContext], Any]


def run_command(line: str, context: CommandContext) -> Any:
    """Run what stands after `%cloud`; return what the cell shows.

    Raises
    ------
    UsageError
        A command, job, backend or argument that does not exist, naming the nearest that does.
    """
    name, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if name in ("", "help", "-h", "--help", "?"):
        return _overview()
    command = next((each for each in COMMANDS if each.name == name), None)
    if command is None:
        if name in ("map", "run"):
            raise UsageError(f"`{name}` takes a cell: write `%%cloud {name}` with two `%`.")
        raise UnknownName("command", name, [each.name for each in COMMANDS])
    if rest in ("-h", "--help", "?"):
        return Table(f"`{command.usage}`", notes=[command.help])
    return command.run(rest, context)


def find_job(id_or_prefix: str) -> Job | JobRow:
    """Return the job of this kernel with that id, or what the journal knows of another's.

    Raises
    ------
    UnknownName
        No kernel has one; the error names the nearest.
    """
    if not id_or_prefix:
        raise UsageError("Which job? Give its id, or the first letters; `%cloud jobs` lists them.")
    try:
        return session.current().job(id_or_prefix)
    except UnknownName:
        return JournalReader().job(id_or_prefix)


def _use(text: str, context: CommandContext) -> Any:
    current = session.current()
    if not text:
        names = current.backends()
        return Table(
            f"Backends: {', '.join(f'`{name}`' for name in names)}",
            notes=["`%cloud use NAME [SETTING=VALUE …]` chooses one for this kernel."],
        )
    name, *words = shlex.split(text)
    if "=" in name or name.startswith("-"):
        raise UsageError(f"Name the backend first: `{_usage('use')}`.")
    known = current.backends()
    if name not in known:
        raise UnknownName("backend", name, known)
    own = registry.settings_of(name)
    flags = {key for key, default in own.items() if isinstance(default, bool)}
    maker = registry.maker(name)
    listed = maker.bare_words if isinstance(maker, TakesBareWords) else None
    found = _settings(words, flags, listed)
    settings = {key: _value(key, value, own) for key, value in found.items()}
    of_jobs = {key: settings[key] for key in settings if key in FIELDS and key not in own}
    of_backend = {key: settings[key] for key in settings if key not in of_jobs}
    try:
        current.use(name, **of_backend)
    except TypeError as error:
        raise UsageError(f"The {name} backend does not take that: {error}.") from None
    use_settings(**of_jobs)
    with_ = f" with {', '.join(f'{k}={v}' for k, v in settings.items())}" if settings else ""
    return Table(f"Jobs of this kernel now run on `{name}`{with_}.")


def _value(key: str, text: str, own: Mapping[str, Any]) -> Any:
    """Read a setting's value: as the settings do where they know it, else as Python writes it.

    What a backend has as text stays text, though it may look like a number.
    """
    if isinstance(own.get(key), str):
        return text
    if isinstance(own.get(key), bool) and text.lower() in (
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
    ):
        return text.lower() in ("true", "yes", "on")
    if key in FIELDS:
        try:
            return read_value(key, text)
        except ValueError as error:
            raise UsageError(f"`{key}`: expected {error}; got {text!r}.") from None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _settings(words: Sequence[str], flags: Set[str], listed: str | None) -> dict[str, str]:
    """Read `workers=2`, `--workers=2`, `--workers 2`, and for what is on or off `--emulate`.

    Parameters
    ----------
    listed
        The setting that words by themselves are the values of, if there is one.
    """
    settings: dict[str, str] = {}
    pending = ""
    for word in words:
        key, equals, value = word.partition("=")
        if pending:
            settings[pending], pending = word, ""
        elif equals:
            settings[key.lstrip("-").replace("-", "_")] = value
        elif word.startswith("--"):
            key = word[2:].replace("-", "_")
            if key in flags:
                settings[key] = "true"
            else:
                pending = key
        elif listed is not None:
            settings[listed] = f"{settings[listed]},{word}" if listed in settings else word
        else:
            raise UsageError(f"Expected SETTING=VALUE, not `{word}`: `{_usage('use')}`.")
    if pending:
        raise UsageError(f"`{pending}` needs a value: `{pending}=…`.")
    return settings


def _jobs(text: str, context: CommandContext) -> Any:
    if text:
        raise UsageError(f"`%cloud jobs` takes nothing; `{_usage('show')}` shows one job.")
    session.current().journal.flush(1.0)  # or a job that ended just now may be missing
    return jobs_table(_with_live_progress(JournalReader().jobs(LATEST)))


def _with_live_progress(rows: list[JobRow]) -> list[JobRow]:
    """Correct the rows of this kernel's jobs: the journal is written in batches, so it lags."""
    own = {job.id: job.progress for job in session.current().jobs()}
    return [
        replace(
            row,
            state=own[row.id].state,
            done=own[row.id].done,
            failed=own[row.id].failed,
            n_items=own[row.id].total,
        )
        if row.id in own
        else row
        for row in rows
    ]


def _show(text: str, context: CommandContext) -> Any:
    job = find_job(text)
    if isinstance(job, Job):
        return job
    return JobListing(job, time.time())


def _cancel(text: str, context: CommandContext) -> Any:
    job = find_job(text)
    if reason := refusal("cancel", job.record if isinstance(job, Job) else job, job.state):
        return Table(reason)
    if isinstance(job, Job):
        job.cancel()
    else:
        JournalReader().send(job.id, "cancel")
    return Table(f"Job `{job.id}` is being cancelled; what is done is kept.")


def _retry(text: str, context: CommandContext) -> Any:
    what, arrow, names = text.partition("->")
    id_, option, amount = what.partition("--budget")
    if not option:
        names, option, amount = names.partition("--budget")
    targets = result_names(names, f"%cloud retry {text}") if arrow else ()
    budget = _value("budget", amount.lstrip(" =").rstrip(), {}) if option else None
    if option and budget is None:
        raise UsageError(f"`--budget` needs an amount in US dollars: `{_usage('retry')}`.")
    job = find_job(id_.strip() or _latest_unfinished())
    if not isinstance(job, Job):
        raise UsageError(
            f"Job {job.id} belongs to another kernel: `%cloud attach {job.id}` goes on with it here."
        )
    if job.record.kind == "button":  # its results are the button's own records
        session.current().journal.flush(1.0)
        changes = {} if budget is None else {"budget": str(budget)}
        return rerun_cell(JournalReader().job(job.id), changes, targets)
    again = job.retry_failed(budget=budget)
    follow(again, context.screen)
    return assign_results(again.results(), targets, context.namespace)


def _attach(text: str, context: CommandContext) -> Any:
    return attach(text, context.namespace, context.screen)


def _latest_unfinished() -> str:
    """Return the id of this kernel's latest job that something is missing of, or nothing."""
    jobs = session.current().jobs()
    return next((job.id for job in jobs if not refusal("retry", job.record, job.state)), "")


def _explain(text: str, context: CommandContext) -> Any:
    if not text:
        raise UsageError(
            "Explain what? `%cloud explain FUNCTION`, `%cloud explain ID` of a job, or "
            "`%%cloud map … --dry-run` for a cell."
        )
    if text in context.namespace or not _JOB_ID.fullmatch(text):
        value = _evaluate(text, context)
        if not callable(value):
            raise UsageError(
                f"`{text}` is a {type(value).__name__}, not a function; a job needs its id."
            )
        return _with_packages(explain(value))
    job = find_job(text)
    if not isinstance(job, Job):
        raise UsageError(f"Job {job.id} belongs to another kernel; explain works in that one.")
    return _with_packages(job.explain())


def _with_packages(report: Any) -> _ExplainReport:
    """Show what travels, and which packages the backend in use must bring along, if it does."""
    backend = session.current().driver(resolve().backend).backend
    if not isinstance(backend, DescribesPackages):
        return _ExplainReport(report)
    return _ExplainReport(report, backend.describe_packages(report.packages))


@dataclass(frozen=True, repr=False)
class _ExplainReport:
    report: Any
    packages: str = ""

    def __repr__(self) -> str:
        return f"{self.report}\n\n{self.packages}".rstrip()


def _evaluate(text: str, context: CommandContext) -> Any:
    try:
        return eval(text, context.namespace)
    except SyntaxError:
        raise UsageError(f"`{text}` is neither a function nor the id of a job.") from None
    except NameError as error:
        raise UsageError(f"`{text}`: {error}.") from None


def _report(text: str, context: CommandContext) -> Any:
    from cloudbutton_backend.report import report_of_id, report_of_job

    words = shlex.split(text)
    job_id, path = words[0] if words else "", None
    if len(words) == 3 and words[1] in ("-o", "--output"):
        path = words[2]
    elif len(words) > 1:
        raise UsageError(f"Not understood: `{text}`. `{_usage('report')}`")
    job = find_job(job_id)
    written = report_of_job(job, path) if isinstance(job, Job) else report_of_id(job.id, path)
    shown = os.path.relpath(written) if written.is_relative_to(os.getcwd()) else written
    return Table(f"The report of job {job.id} is in `{shown}`.")


def _cost(text: str, context: CommandContext) -> Any:
    from cloudbutton_magic.commands.cost_report import DAYS, costs

    if text and not (text.isdecimal() and 0 < int(text) <= _MOST_DAYS):
        raise UsageError(f"`%cloud cost` takes a number of days up to {_MOST_DAYS}, not `{text}`.")
    session.current().journal.flush(1.0)
    return costs(int(text) if text else DAYS)


def _config(text: str, context: CommandContext) -> Any:
    rows = [
        (row.name, row.value, row.source, row.description)
        for row in session.current().all_settings()
    ]
    return Table(
        "Settings, and where each comes from",
        ("setting", "value", "from", "what it does"),
        rows,
        ["`%cloud use NAME SETTING=VALUE` changes one for this kernel."],
    )


def _doctor(text: str, context: CommandContext) -> Any:
    from cloudbutton_backend.session.doctor import examine

    marks = {"ok": "✓", "warning": "!", "problem": "✗"}
    rows, advice = [], []
    for finding in examine():
        rows.append((marks[finding.status], finding.name, finding.detail))
        if finding.advice:
            advice.append(f"{marks[finding.status]} {finding.name}: {finding.advice}")
    fine = all(row[0] == "✓" for row in rows)
    title = "Everything is as it should be" if fine else "Something wants attention"
    return Table(title, ("", "what", "found"), rows, advice)


def _overview() -> Table:
    return Table(
        "`%%cloud` above a cell runs the cell's loops on workers; `%%cloud?` tells more. "
        "Commands for one line:",
        ("command", "what it does"),
        [(command.usage, command.help) for command in COMMANDS],
    )


def _usage(name: str) -> str:
    return next(command.usage for command in COMMANDS if command.name == name)


COMMANDS: Final[tuple[LineCommand, ...]] = (
    LineCommand(
        "use",
        "%cloud use [NAME [SETTING=VALUE …]]",
        "List the backends, or choose the one that jobs of this kernel run on.",
        _use,
    ),
    LineCommand("jobs", "%cloud jobs", f"List the latest {LATEST} jobs of all kernels.", _jobs),
    LineCommand(
        "show",
        "%cloud show ID",
        "Show a job; `job = %cloud show ID` takes hold of it.",
        _show,
    ),
    LineCommand(
        "cancel", "%cloud cancel ID", "Stop a job, of any kernel; what is done is kept.", _cancel
    ),
    LineCommand(
        "retry",
        "%cloud retry [ID] [--budget DOLLARS] [-> NAME]",
        "Run again what failed or is missing, of the latest such job here if no ID is given; "
        "NAME gets all the results, and DOLLARS are for all that the job spends, before and after.",
        _retry,
    ),
    LineCommand(
        "attach",
        ATTACH_USAGE,
        "Take hold of a job, of whatever kernel and however that ended: what is done is there at once, the "
        "rest runs here, or is followed where it runs; NAME gets all the results.",
        _attach,
    ),
    LineCommand(
        "explain",
        "%cloud explain FUNCTION|ID",
        "Say what a function, or a job's, takes along: names, sizes, packages.",
        _explain,
    ),
    LineCommand(
        "report",
        "%cloud report ID [-o FILE]",
        "Write an HTML file about a job, to share: timeline, durations, memory, errors, cost.",
        _report,
    ),
    LineCommand(
        "cost",
        "%cloud cost [DAYS]",
        "Show what was spent by day, backend and notebook, and how good the estimates were.",
        _cost,
    ),
    LineCommand(
        "config", "%cloud config", "Show the settings, and where each comes from.", _config
    ),
    LineCommand(
        "doctor", "%cloud doctor", "Check that everything is there that jobs need.", _doctor
    ),
)
