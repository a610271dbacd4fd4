"""The command line's part for packages: environments for Lambda, built, deployed, listed, removed."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloudbutton_backend.errors import UsageError
from cloudbutton_ext.cli import DONE, aws_lambda, text

if TYPE_CHECKING:
    from cloudbutton_backend.backends.aws_lambda.environments import EnvironmentLock

_KEEP_DAYS: Final = 90.0
_HASH_DIGITS: Final = frozenset("0123456789abcdef")


def add_commands(commands: aws_lambda.Commands) -> None:
    """Add `env` to the command's parsers."""
    env = commands.add_parser("env", help="the packages that code on Lambda imports")
    verbs = env.add_subparsers(metavar="VERB", required=True)

    build = verbs.add_parser("build", help="build an environment, and deploy it where asked to")
    build.add_argument(
        "what",
        nargs="+",
        metavar="PACKAGE|HASH|FILE",
        help="packages that are installed here, the hash that an error named, or a lock file",
    )
    aws_lambda.add_arch(build)
    build.add_argument(
        "--here", action="store_true", help="for the emulator: to run on this machine"
    )
    build.add_argument("--lock", action="store_true", help="only print the lock, to pass on")
    build.add_argument("--deploy", action="store_true", help="make functions that have it, too")
    aws_lambda.add_memory(build)
    aws_lambda.add_location(build)
    aws_lambda.add_consent(build)
    build.set_defaults(run=aws_lambda.with_settings(_build))

    shown = verbs.add_parser("list", help="the environments that are known on this machine")
    shown.set_defaults(run=_list)

    prune = verbs.add_parser(
        "prune", help="remove what was built here long ago; AWS keeps what it has"
    )
    prune.add_argument(
        "--days", type=float, default=_KEEP_DAYS, help=f"older than this (default {_KEEP_DAYS:g})"
    )
    prune.set_defaults(run=_prune)


def _build(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.aws_lambda.environments import build, packages_table

    lock = _lock(arguments)
    if arguments.lock:
        print(json.dumps(lock.to_dict(), indent=1))
        return DONE
    print(f"Environment {lock.hash[:12]}, for {lock.platform}:\n{packages_table(lock)}", flush=True)
    began = time.monotonic()
    built = build(lock)
    how = "as a layer" if built.as_layer else "fetched by functions when they start"
    print(
        f"Built in {time.monotonic() - began:.1f} s: {built.nbytes / 1e6:.1f} MB, "
        f"{built.unpacked / 1e6:.1f} MB unpacked, {how}."
    )
    if arguments.deploy:
        return aws_lambda.deploy_packages(arguments, lock.platform, built.packages)
    return DONE


def _lock(arguments: argparse.Namespace) -> EnvironmentLock:
    """Return the lock that the arguments mean: a file, a hash, or names of packages."""
    from cloudbutton_backend.backends.aws_lambda.environments import (
        by_hash,
        lock_distributions,
        read_lock,
    )
    from cloudbutton_backend.backends.aws_lambda.runtimes import Platform, notebook_python

    what = arguments.what
    if len(what) == 1 and what[0].endswith(".json") and Path(what[0]).is_file():
        return read_lock(Path(what[0]))
    if len(what) == 1 and len(what[0]) >= 8 and set(what[0]) <= _HASH_DIGITS:
        return by_hash(what[0])
    here = (
        Platform.here() if arguments.here else Platform.on_lambda(notebook_python(), arguments.arch)
    )
    lock = lock_distributions(what, here)
    if lock is None:
        raise UsageError(f"{', '.join(what)} is in every function already; nothing is to be built.")
    return lock


def _list(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.aws_lambda.environments import known

    rows = [("HASH", "FOR", "SIZE", "UNPACKED", "PACKAGES")]
    for lock, built in known():
        sizes = (
            (f"{built.nbytes / 1e6:.1f} MB", f"{built.unpacked / 1e6:.1f} MB")
            if built
            else ("not built", "")
        )
        packages = ", ".join(pin.name for pin in lock.pins)
        rows.append((lock.hash[:12], str(lock.platform), *sizes, packages))
    print(text.table(rows) if len(rows) > 1 else "No environments here.")
    return DONE


def _prune(arguments: argparse.Namespace) -> int:
    from cloudbutton_backend.backends.aws_lambda.environments import prune

    removed, freed = prune(keep_days=arguments.days)
    print(f"Removed {removed} environment{'s' * (removed != 1)} ({freed / 1e6:.1f} MB).")
    return DONE
