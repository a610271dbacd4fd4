"""Changes single settings in a TOML file and leaves everything else in it as its owner wrote it."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudbutton_backend.errors import SettingsError
from cloudbutton_backend.settings.known import FIELDS, show_value
from cloudbutton_backend.settings.sources import is_of_backend, line_of


def write(path: Path, changes: Mapping[str, Any]) -> None:
    """Change settings in a file, which is made if need be; a reader sees the old or the new one.

    Parameters
    ----------
    changes
        Values as `read_value` returns them, by name; None gives a setting back to its default.

    Raises
    ------
    SettingsError
        The file cannot be read or written, or its notation is beyond our editing.
    """
    target = Path(os.path.realpath(path))  # a link into a collection of dotfiles stays one
    try:
        before = target.read_bytes().decode("utf-8") if target.exists() else ""
        after = edited(before, changes)
        if after != before:
            _replace(target, after)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be changed: {error}") from error
    except ValueError as error:
        raise SettingsError(
            f"{path} is written in a way that cannot be changed from here ({error}). Edit it by hand."
        ) from error


def edited(text: str, changes: Mapping[str, Any]) -> str:
    """Return the text of a settings file with `changes` made.

    Raises
    ------
    ValueError
        It is not TOML, or not so plain that a line can be changed safely.
    """
    before = _settings(text)
    lines = _lines(text)
    for name, value in changes.items():
        keys = next((keys for keys in before if _name(keys) == name), None)
        if keys is None:
            if value is not None:
                lines = _with_line_added(lines, name, value)
            continue
        number = line_of("".join(lines), keys)
        if number is None:
            raise ValueError(f"where it sets `{'.'.join(keys)}` is not plain to see")
        assignment = lines[number - 1].partition("=")[0]
        lines[number - 1] = "" if value is None else f"{assignment}= {_toml(name, value)}\n"
        lines = _lines("".join(lines))
    after = "".join(lines)
    _check_only_changes(before, _settings(after), changes)
    return after


def _lines(text: str) -> list[str]:
    """Return lines with their ends, as TOML knows them: text may hold what Python breaks lines at."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _name(keys: tuple[str, ...]) -> str:
    """Return what the setting is called elsewhere: `results_max_age`, or of a backend `lambda.region`."""
    return ".".join(keys) if is_of_backend(keys) else "_".join(keys)


def _check_only_changes(
    before: Mapping[tuple[str, ...], Any],
    after: Mapping[tuple[str, ...], Any],
    changes: Mapping[str, Any],
) -> None:
    """Make sure that editing lines has done what was meant, and nothing else."""
    others = {keys: value for keys, value in before.items() if _name(keys) not in changes}
    found = {keys: value for keys, value in after.items() if _name(keys) not in changes}
    if others != found:
        raise ValueError("changing it would change other settings")
    set_now = {_name(keys) for keys in after}
    wrong = [name for name, value in changes.items() if (name in set_now) == (value is None)]
    if wrong:
        raise ValueError(f"`{wrong[0]}` is set there in more than one place")


def _with_line_added(lines: list[str], name: str, value: Any) -> list[str]:
    """Return `lines` with one more: in its backend's table, or before the first table."""
    table, dot, key = name.rpartition(".")
    if lines and not lines[-1].endswith("\n"):
        lines = [*lines[:-1], lines[-1] + "\n"]
    line = f"{key} = {_toml(name, value)}\n"
    headers = [i for i, each in enumerate(lines) if re.match(r"\s*\[", each)]
    if not dot:
        place = headers[0] if headers else len(lines)
        return [*lines[:place], line, *lines[place:]]
    own = [i for i in headers if re.match(rf"\s*\[\s*{re.escape(table)}\s*\]", lines[i])]
    if own:
        return [*lines[: own[0] + 1], line, *lines[own[0] + 1 :]]
    return [*lines, *["\n"][: len(lines)], f"[{table}]\n", line]


def _toml(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = show_value(name, value) if name in FIELDS else str(value)
    if isinstance(value, (int, float)) and shown == str(value):
        return shown
    return json.dumps(shown, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # TOML wants that one, too


def _settings(text: str) -> dict[tuple[str, ...], Any]:
    # In the standard library from Python 3.11 on; the same code under its older name before.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return dict(_leaves(toml.loads(text), ()))


def _leaves(table: Mapping[str, Any], above: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _leaves(value, (*above, key))
        else:
            found.append(((*above, key), value))
    return found


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        if path.exists():
            os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
