"""The command line's report of a job: one HTML file, to keep or to share."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from cloudbutton_ext.cli import aws_lambda

DONE: Final = 0


def add_commands(commands: aws_lambda.Commands) -> None:
    """Add `report` to the command's parsers."""
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
