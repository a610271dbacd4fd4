"""The options that every form of `%%cloud` shares, declared once.

The same table makes the parser, the help of `%%cloud?` and tab completion.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from cloudbutton_backend.errors import UnknownName, UsageError
from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments

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
        """What argparse's `add_argument` takes."""
        keywords: dict[str, Any] = {"help": self.help, "dest": self.dest}
        if self.parse is None:
            return {**keywords, "action": "store_true"}
        keywords["type"] = self.parse
        if self.choices:
            return {**keywords, "choices": self.choices}
        return {**keywords, "metavar": self.metavar or self.dest.upper()}


def _positive_integer(text: str) -> int:
    return _number(text, int, "a whole number", minimum=1)


def _count(text: str) -> int:
    return _number(text, int, "a whole number", minimum=0)


def _seconds(text: str) -> float:
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    value = _number(text[:-1] if unit else text, float, "seconds (90, 90s, 1.5m, 2h)", minimum=0)
    if value == 0:
        raise argparse.ArgumentTypeError("an item needs some time: give more than 0 seconds")
    return value * (unit or 1.0)


def _mebibytes(text: str) -> int:
    digits = text.rstrip("BbIi")
    unit = {"M": 1, "G": 1024}.get(digits[-1:].upper())
    value = _number(
        digits[:-1] if unit else text, float, "MiB (2048, 512MB, 2GB)", minimum=1 / (unit or 1)
    )
    return int(value * (unit or 1))


def _dollars(text: str) -> float:
    return _number(text.lstrip("$"), float, "US dollars (0.50)", minimum=0)


def _number(text: str, kind: type[Any], expected: str, *, minimum: float) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {expected}, not {text!r}") from None
    if not minimum <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is too small; expected at least {minimum:g}")
    return value


OPTIONS: Final[tuple[Option, ...]] = (
    Option(flag="--backend", parse=str, help="Where to run: a name that `%%cloud use` lists."),
    Option(
        flag="--workers",
        parse=_positive_integer,
        metavar="N",
        help="Use at most N workers (default: as many as the backend deems right).",
    ),
    Option(
        flag="--memory",
        parse=_mebibytes,
        metavar="MIB",
        help="MiB per worker (also 512MB, 2GB), where the backend lets one choose or limit it.",
    ),
    Option(
        flag="--timeout",
        parse=_seconds,
        metavar="SECONDS",
        help="Stop an item that runs longer than this (also 5m, 2h).",
    ),
    Option(
        flag="--retries",
        parse=_count,
        metavar="N",
        help="Try an item whose code raised N more times.",
    ),
    Option(
        flag="--budget",
        parse=_dollars,
        metavar="DOLLARS",
        help="Never spend more than this; the local workers cost nothing.",
    ),
    Option(
        flag="--errors",
        parse=str,
        choices=("raise", "keep"),
        help="On a failed item: stop and raise it, or run the others and keep the exception "
        "in its place.",
    ),
    Option(
        flag="--detach",
        help="Give the prompt back at once; the job goes on in this kernel and the name after "
        "`->` is bound to the Job.",
    ),
    Option(flag="--cache", help="Reuse results of earlier runs (not available yet)."),
    Option(flag="--dry-run", help="Run nothing; show what would run and what would travel."),
    Option(flag="--name", parse=str, help="A name for the job, shown by `%%cloud jobs`."),
    Option(flag="--quiet", help="Show no view, only what the tasks print."),
    Option(flag="--no-backup", help="Never run a slow item a second time on an idle worker."),
    Option(flag="--force", help="The button only: parallelise even where it would not pay."),
)

#: Options of `%%cloud` that decide what the magic does; the others configure the job.
_MAGIC_ONLY: Final = frozenset({"detach", "cache", "dry_run", "force"})


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """What the options of one cell say."""

    job: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `JobOptions` that the line gave; the rest come from the settings."""
    detach: bool = False
    dry_run: bool = False
    force: bool = False

    @property
    def quiet(self) -> bool:
        return bool(self.job.get("quiet", False))


def shared_options(function: Function) -> Function:
    """Declare the shared options on a magic, so that they are in its help."""
    for option in reversed(OPTIONS):
        function = argument(option.flag, **option.keywords)(function)
    decorated: Function = magic_arguments()(function)
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
    if given["cache"]:
        raise UsageError(
            "`--cache` is not available yet: results of earlier runs are not reused. Run without it."
        )
    job = {
        name: value
        for name, value in given.items()
        if name not in _MAGIC_ONLY and value is not None and value is not False
    }
    if job.pop("no_backup", False):
        job["backup"] = False
    return CellOptions(
        job=job, detach=given["detach"], dry_run=given["dry_run"], force=given["force"]
    )
