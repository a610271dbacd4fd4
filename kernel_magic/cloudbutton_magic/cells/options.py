"""The options that every form of `%%cloud` shares, declared once.

The same table makes the parser, the help of `%%cloud?` and tab completion.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments

from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.settings import resolve
from cloudbutton_backend.settings.known import FIELDS, read_value

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Option:
    """One `--option`: how it is parsed, and what the help says about it."""

    flag: str
    help: str
    parse: Callable[[str], Any] | None = None
    """Turns the text into a value; None for a switch without a value."""
    choices: tuple[str, ...] = ()
    metavar: str | None = None

    @property
    def dest(self) -> str:
        return self.flag[2:].replace("-", "_")

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of argparse's `add_argument`."""
        keywords: dict[str, Any] = {"help": self.help, "dest": self.dest}
        if self.parse is None:
            return {**keywords, "action": "store_true"}
        keywords["type"] = self.parse
        if self.choices:  # `parse` refuses the others, in better words than argparse's
            return {**keywords, "metavar": "|".join(self.choices)}
        return {**keywords, "metavar": self.metavar or self.dest.upper()}


def _as_setting(name: str) -> Callable[[str], Any]:
    """Read a value as the settings do, whose names the options share."""

    def read(text: str) -> Any:
        try:
            return read_value(name, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected {error}; got {text!r}") from None

    return read


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        flag="--backend",
        parse=_as_setting("backend"),
        help="Where to run; `%%cloud use` lists the names.",
    ),
    Option(
        flag="--workers",
        parse=_as_setting("workers"),
        metavar="N",
        help="Use at most N workers (default: as many as the backend deems right).",
    ),
    Option(
        flag="--memory",
        parse=_as_setting("memory"),
        metavar="MIB",
        help="MiB per worker (also 512MB, 2GB), where the backend lets one choose or limit it.",
    ),
    Option(
        flag="--timeout",
        parse=_as_setting("timeout"),
        metavar="SECONDS",
        help="Stop an item that runs longer than this (also 5m, 2h).",
    ),
    Option(
        flag="--retries",
        parse=_as_setting("retries"),
        metavar="N",
        help="Try an item whose code raised N more times.",
    ),
    Option(
        flag="--budget",
        parse=_as_setting("budget"),
        metavar="DOLLARS",
        help="Never spend more than this; the local workers cost nothing.",
    ),
    Option(
        flag="--errors",
        parse=_as_setting("errors"),
        choices=("raise", "keep"),
        help="On a failed item: stop and raise it, or run the others and keep the exception "
        "in its place.",
    ),
    Option(
        flag="--detach",
        help="Give the prompt back at once; the job goes on by itself, without this kernel if need be, "
        "and the name after `->` is bound to the Job.",
    ),
    Option(
        flag="--cache",
        help="Take results of earlier runs of the same code on the same items; keep those of this one.",
    ),
    Option(
        flag="--dry-run",
        help="Start nothing; show what would travel, and what it would take and cost wherever it could "
        "run, by earlier runs or by a few items run here.",
    ),
    Option(flag="--name", parse=str, help="A name for the job, shown by `%%cloud jobs`."),
    Option(flag="--quiet", help="Show no view, only what the tasks print."),
    Option(flag="--no-backup", help="Never run a slow item a second time on an idle worker."),
    Option(flag="--force", help="The button only: parallelise even where it would not pay."),
)

_SETTINGS_OF_A_JOB: Final = tuple(
    field.name for field in dataclasses.fields(JobOptions) if field.name in FIELDS
)
"""What a job's options take from the settings."""


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """The options of one cell."""

    given: Mapping[str, Any] = field(default_factory=dict)
    """Settings that the line gave for this job."""
    name: str | None = None
    quiet: bool = False
    detach: bool = False
    cache: bool = False
    dry_run: bool = False
    force: bool = False

    def resolve(self) -> JobOptions:
        """Return the job's options: this cell's, and for the rest what the settings say."""
        resolved = resolve(**self.given)
        chosen = {name: getattr(resolved, name) for name in _SETTINGS_OF_A_JOB}
        return JobOptions(
            **chosen, name=self.name, quiet=self.quiet, detach=self.detach, cache=self.cache
        )


def shared_options(function: Function) -> Function:
    """Declare the shared options on a magic, so that they are in its help."""
    for option in reversed(OPTIONS):
        function = argument(option.flag, **option.keywords)(function)
    decorated: Function = magic_arguments("%cloud")(function)
    return decorated


def _new_parser() -> MagicArgumentParser:
    parser = MagicArgumentParser("cloud")
    for option in OPTIONS:
        parser.add_argument(option.flag, **option.keywords)
    return parser


_PARSER: Final = _new_parser()


def parse_options(text: str) -> CellOptions:
    """Read the options of a cell.

    Raises
    ------
    UsageError
        An unknown option (naming the nearest), a bad value, or something not available yet.
    """
    known = [option.flag for option in OPTIONS]
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"The options do not parse: {error} in `{text}`.") from None
    for word in words:
        flag = word.split("=", 1)[0]
        if flag.startswith("--") and flag not in known:
            raise UnknownName("option", flag, known)
    try:
        given = vars(_PARSER.parse_args(words))
    except IPythonUsageError as error:
        message = str(error).removeprefix("argument ")
        raise UsageError(f"{message[:1].upper()}{message[1:]}. Help: `%%cloud?`.") from None
    settings: dict[str, Any] = {
        name: value for name, value in given.items() if name in FIELDS and value is not None
    }
    if given["no_backup"]:
        settings["backup"] = False
    return CellOptions(
        given=settings,
        name=given["name"],
        quiet=given["quiet"],
        detach=given["detach"],
        cache=given["cache"],
        dry_run=given["dry_run"],
        force=given["force"],
    )


def check_options(options: CellOptions) -> None:
    """Refuse options that have no meaning for the button.

    Raises
    ------
    UsageError
        If there is one.
    """
    if options.detach:
        raise UsageError(
            "`--detach` needs a job: use it with `%%cloud map` or `%%cloud run`. "
            "Pressed on a cell, the button leaves its variables when the cell has ended."
        )
    if options.given.get("errors") == "keep":
        raise UsageError(
            "`--errors keep` needs `%%cloud map`: on a cell, errors are raised as in the plain cell."
        )
