"""`cloudbutton attach`: what is missing of a job run from a terminal, or watched where it runs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cloudbutton_backend.job.job import Job

_LOOK: Final = 0.2
"""Seconds between two lines about how far it is."""
DONE, FAILED, INTERRUPTED = 0, 1, 130


def add_command(commands: Any) -> None:
    """Add the command to the parser."""
    attach = commands.add_parser(
        "attach", help="run what is missing of a job here, or watch it where it runs"
    )
    attach.add_argument("id", metavar="ID", help="a job's id, or the beginning of it")
    attach.add_argument("--backend", metavar="B", help="run the rest there")
    attach.add_argument(
        "--budget", metavar="DOLLARS", help="for all that it spends; +1.00 for so many more"
    )
    attach.add_argument("--workers", metavar="N", type=int, help="at most so many")
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
    return _conclude(job)


def _watch(job: Job) -> None:
    """Show how far it is until it has ended: in place in a terminal, else not at all."""
    shows = sys.stdout.isatty()
    while not job.wait(_LOOK):
        if shows:
            print(f"\r{_line(job)}", end="", flush=True)
    if shows:
        print("\r", end="")


def _line(job: Job) -> str:
    progress = job.progress
    of = "" if progress.total is None else f" of {progress.total}"
    eta = "" if progress.eta is None else f", {progress.eta:.0f} s left"
    return f"Job {job.id} ({job.name}): {progress.done}{of} done{eta}   "


def _conclude(job: Job) -> int:
    """Say how it ended, and where its results are."""
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
