"""The command `cloudbutton`: jobs of all kernels, settings and health, from a terminal."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.errors import CloudError, UnknownName, UsageError
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.job_model.rules import refusal
from cloudbutton_ext.cli import DONE, FAILED, INTERRUPTED, MISUSED, aws_lambda, environments
from cloudbutton_ext.cli import text as cli_text

if TYPE_CHECKING:
    from cloudbutton_backend.job.job import Job
    from cloudbutton_backend.journal import JobRow, JournalReader

WRITTEN_WITHIN: Final = 0.3
"""Seconds until a job that began just now is in the journal."""
PATIENCE: Final = 2.0
"""Seconds to wait for a job's process to answer; a running one looks every 0.2 s."""
REDRAW_EVERY: Final = 0.2
"""Seconds between two lines about how far an attached job is."""
SHOWN: Final = 20
"""Jobs that `cloudbutton jobs` shows without `--all`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.run is _report:  # what it writes is for a browser
        return _run(arguments)
    # Names and printed lines are the tasks': they must not command the terminal.
    out, err = cli_text.PrintableStream(sys.stdout), cli_text.PrintableStream(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except UsageError as error:
        print(f"cloudbutton: {error}", file=sys.stderr)
        return MISUSED
    except CloudError as error:
        print(f"cloudbutton: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # `cloudbutton jobs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloudbutton", description=__doc__)
    parser.add_argument("--version", action="version", version=f"cloudbutton {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    jobs = commands.add_parser("jobs", help="list the jobs of all kernels, the latest first")
    jobs.add_argument("--all", action="store_true", help=f"all, not just the last {SHOWN}")
    jobs.add_argument("--state", metavar="STATE", help="only running, done, failed, lost, …")
    jobs.add_argument("--json", action="store_true", help="as JSON, for programs")
    jobs.set_defaults(run=_jobs)

    show = commands.add_parser("show", help="one job: progress, cost, errors, printed lines")
    _add_job(show)
    show.add_argument("--json", action="store_true", help="as JSON, for programs")
    show.set_defaults(run=_show)

    cancel = commands.add_parser("cancel", help="stop a job; what has finished is kept")
    _add_job(cancel)
    cancel.set_defaults(run=_cancel)

    retry = commands.add_parser("retry", help="run a job's failed items again, in its kernel")
    _add_job(retry)
    retry.add_argument(
        "--budget", metavar="DOLLARS", help="for all that the job spends, before and after"
    )
    retry.set_defaults(run=_retry)

    _add_attach(commands)

    gc = commands.add_parser("gc", help="remove old finished jobs and their results")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    gc.set_defaults(run=_gc)

    cost = commands.add_parser("cost", help="what was spent, and how good the estimates were")
    cost.add_argument("--days", type=int, default=31, metavar="N", help="of the last N days")
    cost.add_argument("--json", action="store_true", help="as JSON, for programs")
    cost.set_defaults(run=_cost)

    config = commands.add_parser("config", help="every setting, its value and where it comes from")
    config.set_defaults(run=_config)

    doctor = commands.add_parser("doctor", help="is everything there that jobs need?")
    doctor.set_defaults(run=_doctor)

    _add_report(commands)
    aws_lambda.add_commands(commands)
    environments.add_commands(commands)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="a job's id, or the beginning of it")


def _jobs(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.journal import JournalReader

    limit = -1 if arguments.all else SHOWN
    # One more than shown, to know whether there are more.
    found = JournalReader().jobs(limit if limit < 0 else limit + 1, state=arguments.state)
    jobs = found if limit < 0 else found[:limit]
    if arguments.json:
        print(json.dumps([cli_text.as_json(job) for job in jobs], indent=2))
    elif not jobs:
        state = f"{arguments.state} " if arguments.state else ""
        print(f"No {state}jobs.")
    else:
        print(cli_text.jobs_table(jobs, time.time()))
        if len(found) > len(jobs):
            print("Older ones: `cloudbutton jobs --all`.")
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.journal import JournalReader

    reader = JournalReader()
    job = reader.job(arguments.id)
    if arguments.json:
        print(json.dumps(cli_text.as_json(job), indent=2))
        return DONE
    page = cli_text.job_page(
        job,
        batches=reader.batches(job.id),
        errors=reader.errors(job.id),
        log=reader.log(job.id),
        now=time.time(),
    )
    print(page)
    return DONE


def _find(reader: JournalReader, name: str) -> JobRow:
    """Return a job, also one that began just now and is about to be written."""
    try:
        return reader.job(name)
    except UnknownName:
        time.sleep(WRITTEN_WITHIN)
        return reader.job(name)


def _cancel(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.journal import JournalReader

    reader = JournalReader()
    job = _find(reader, arguments.id)
    if reason := refusal("cancel", job, job.state):
        return _refuse(reason)
    deadline = time.monotonic() + PATIENCE
    if not _send_and_wait(reader, job.id, "cancel", deadline):
        return _refuse(
            f"The process of job {job.id} (pid {job.pid} on {job.host}) did not answer within "
            f"{PATIENCE:g} s, and the request was taken back. It may be suspended; "
            f"interrupt its kernel instead."
        )
    _wait_until(lambda: reader.job(job.id).state.is_final, deadline)
    job = reader.job(job.id)
    if job.state is JobState.CANCELLED:
        print(f"Cancelled job {job.id} ({job.name}); {cli_text.items(job)} items are kept.")
    elif job.state.is_final:
        print(f"Job {job.id} ended ({job.state.value}) before it could be cancelled.")
    else:
        print(f"Job {job.id} ({job.name}) is being cancelled; its last items are stopping.")
    return DONE


def _retry(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.journal import JournalReader

    asked = {} if arguments.budget is None else {"budget": _dollars(arguments.budget)}
    reader = JournalReader()
    job = _find(reader, arguments.id)
    reason = refusal("retry", job, job.state)
    if not reason and not _send_and_wait(
        reader, job.id, "retry", time.monotonic() + PATIENCE, **asked
    ):
        reason = refusal("retry", job, job.state, is_gone=True)  # or it does not listen
    if reason:
        return _refuse(reason)
    print(f"Job {job.id} ({job.name}) runs its unfinished items again.")
    return DONE


def _gc(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.session.cleanup import clean_up
    from cloudbutton_backend.settings import resolve
    from cloudbutton_backend.storage.home import home

    settings = resolve()
    gone = clean_up(
        home(), settings.results_max_bytes, settings.results_max_age, dry_run=arguments.dry_run
    )
    print(cli_text.cleanup_text(gone, dry_run=arguments.dry_run))
    return DONE


def _cost(arguments: argparse.Namespace) -> int:
    from cloudbutton_magic.commands.cost_report import costs

    if arguments.days < 1:
        raise UsageError(f"`--days` must be 1 or more, not {arguments.days}.")
    found = costs(arguments.days)
    print(json.dumps(found.to_dict(), indent=2) if arguments.json else repr(found))
    return DONE


def _config(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.settings_in_files import describe

    print(cli_text.config_table(describe()))
    return DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.session.doctor import examine

    worst = DONE
    for finding in examine():
        print(cli_text.finding_text(finding), flush=True)
        if finding.status == "problem":
            worst = FAILED
    return worst


def _dollars(text: str) -> float:
    from cloudbutton_backend.settings.parse import dollars

    try:
        return dollars(text)
    except ValueError as error:
        raise UsageError(f"`--budget` is {text!r}; it must be {error}.") from None


def _send_and_wait(
    reader: JournalReader, job_id: str, verb: str, deadline: float, **asked: Any
) -> bool:
    """Send a command and return whether the job's process took it; else nothing is left of it."""
    command = reader.send(job_id, verb, **asked)

    def is_taken() -> bool:
        found = reader.command(command)
        return found is not None and found.taken is not None

    # When it cannot be taken back any more, it was taken at the last moment.
    return _wait_until(is_taken, deadline) or not reader.withdraw(command)


def _wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Poll until `condition` holds or it is `deadline` on the monotonic clock."""
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return FAILED


def _version() -> str:
    try:
        return metadata.version("cloudbutton")
    except metadata.PackageNotFoundError:
        return "(not installed: run from a checkout)"


def _add_report(commands: aws_lambda.Commands) -> None:
    report = commands.add_parser("report", help="write an HTML file about a job, to share")
    report.add_argument("id", metavar="ID", help="a job's id, or the beginning of it")
    report.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to (default: cloudbutton-ID.html here; `-` for the standard output)",
    )
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.report import report_of_id, text_of_id

    if arguments.output == "-":
        sys.stdout.write(text_of_id(arguments.id))
    else:
        print(f"Wrote {report_of_id(arguments.id, arguments.output)}.")
    return DONE


def _add_attach(commands: aws_lambda.Commands) -> None:
    attach = commands.add_parser(
        "attach", help="run what is missing of a job here, or watch it where it runs"
    )
    attach.add_argument("id", metavar="ID", help="a job's id, or the beginning of it")
    attach.add_argument("--backend", metavar="B", help="run the rest there")
    attach.add_argument(
        "--budget", metavar="DOLLARS", help="for all that it spends; +1.00 for that much more"
    )
    attach.add_argument("--workers", metavar="N", type=int, help="at most N")
    attach.set_defaults(run=_attach)


def _attach(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.session import session

    here = session.current()
    job = here.attach(
        arguments.id,
        backend=arguments.backend,
        budget=arguments.budget,
        workers=arguments.workers,
    )
    try:
        _watch(job)
    except KeyboardInterrupt:
        if not job.ends_with_us:
            print(f"\nJob {job.id} goes on; `cloudbutton cancel {job.id}` stops it.")
            return INTERRUPTED
        job.cancel()
        job.wait(5.0)
    here.close()
    return _print_end(job)


def _watch(job: Job) -> None:
    """Show how far it is until it has ended: in place in a terminal, else not at all."""
    shows = sys.stdout.isatty()
    while not job.wait(REDRAW_EVERY):
        if shows:
            print(f"\r{_line(job)}", end="", flush=True)
    if shows:
        print("\r", end="")


def _line(job: Job) -> str:
    progress = job.progress
    of = "" if progress.total is None else f" of {progress.total}"
    eta = "" if progress.eta is None else f", {progress.eta:.0f} s left"
    return f"Job {job.id} ({job.name}): {progress.done}{of} done{eta}   "


def _print_end(job: Job) -> int:
    """Print how it ended, and where its results are."""
    progress = job.progress
    of = "" if progress.total is None else f" of {progress.total}"
    for line in progress.warnings:
        print(f"! {line}", file=sys.stderr)
    if progress.done == progress.total and job.failure is None:
        print(f"Job {job.id} ({job.name}) is done: {progress.done}{of} items.")
        print(f"`%cloud attach {job.id} -> NAME` in a notebook brings the results.")
        return DONE
    reason = job.failure or progress.first_error or "it was cancelled"
    print(
        f"Job {job.id} ({job.name}) has {progress.done}{of} items ({job.state.value}): {reason}",
        file=sys.stderr,
    )
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
