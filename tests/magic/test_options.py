"""The options that all forms of `%%cloud` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_magic.cells.options import OPTIONS, parse_options


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for option in OPTIONS:
        monkeypatch.delenv(f"CLOUDBUTTON_{option.dest.upper()}", raising=False)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("", "backend", "local"),
        ("--workers 3", "workers", 3),
        ("--workers=3", "workers", 3),
        ("--memory 2048", "memory", 2048),
        ("--memory 2GiB", "memory", 2048),
        ("--timeout 90", "timeout", 90.0),
        ("--timeout 5min", "timeout", 300.0),
        ("--retries 2", "retries", 2),
        ("--budget $0.50", "budget", 0.5),
        ("--errors keep", "errors", "keep"),
        ("--name 'two words'", "name", "two words"),
        ("--quiet", "quiet", True),
        ("--no-backup", "backup", False),
        ("", "backup", True),
    ],
)
def test_an_option_reaches_the_job(text: str, field: str, value: Any) -> None:
    assert getattr(parse_options(text).resolve(), field) == value


def test_an_option_beats_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDBUTTON_WORKERS", "7")
    assert parse_options("").resolve().workers == 7
    assert parse_options("--workers 2").resolve().workers == 2


def test_the_magics_own_options_are_no_settings() -> None:
    options = parse_options("--detach --dry-run --force")
    assert (options.detach, options.dry_run, options.force) == (True, True, True)
    assert not options.given


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--workers 0", "one or more"),
        ("--workers -2", "one or more"),
        ("--workers two", "--workers"),
        ("--retries -1", "zero or more"),
        ("--timeout 0", "more than zero"),
        ("--errors drop", "`raise`, `keep`"),
        ("--retries", "expected one argument"),
        ("2", "2"),
        ("--name 'open", "quotation"),
    ],
)
def test_a_bad_value_is_refused_with_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_options(text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--worker", "--workers"), ("--dryrun", "--dry-run"), ("--erors", "--errors")],
)
def test_an_unknown_option_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean `{meant}`"):
        parse_options(f"{typed} 3")
