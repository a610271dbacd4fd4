"""Sources of settings: a file beside the notebook, the user's file, the environment."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.errors import SettingsError, UnknownName
from cloudbutton_backend.settings.known import FIELDS, read_value

FILE_NAME: Final = "cloudbutton.toml"
PREFIX: Final = "CLOUDBUTTON_"

#: Variables with our prefix that are not settings; those that begin so pass between our processes.
NOT_SETTINGS: Final = frozenset({"CLOUDBUTTON_HOME"})
INTERNAL_PREFIX: Final = "CLOUDBUTTON_INTERNAL_"


@dataclass(frozen=True)
class SettingsFile:
    """A value that was set somewhere."""

    name: str
    value: Any
    source: str
    """Where, in words that help to find it: a file and line, a variable, a call."""


@dataclass(frozen=True, kw_only=True)
class SettingsSources:
    """The files and variables that settings are read from."""

    directory: Path
    """The notebook's, which is its kernel's working directory."""
    config_directory: Path
    environ: Mapping[str, str]

    @classmethod
    def here(cls) -> SettingsSources:
        """Return this process's."""
        import platformdirs

        return cls(
            directory=Path.cwd(),
            config_directory=Path(platformdirs.user_config_dir("cloudbutton", appauthor=False)),
            environ=os.environ,
        )


def written(around: SettingsSources) -> Iterator[SettingsFile]:
    """Yield what files and variables set, the weakest first.

    Raises
    ------
    UnknownName
        A key or variable that is no setting.
    SettingsError
        A value that does not fit, or a file that cannot be read.
    """
    yield from in_files(around)
    yield from from_environment(around.environ)


def in_files(around: SettingsSources) -> Iterator[SettingsFile]:
    """Yield what files set, the weakest first."""
    yield from from_file(around.config_directory / FILE_NAME)
    yield from from_file(around.directory / FILE_NAME)


def from_file(path: Path) -> Sequence[SettingsFile]:
    """Return the settings of a TOML file; none when it does not exist.

    ``results_max_age = …`` and ``max_age = …`` under ``[results]`` mean the same. A table that is called
    like a backend has the backend's own settings; they are found as ``lambda.region``, unchecked.
    """
    try:
        stamp = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    return _read_file(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=8)
def _read_file(path: Path, changed: int, size: int) -> Sequence[SettingsFile]:
    """Read a file once for each of its versions: settings are resolved for every job."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    settings = []
    for keys, value in _leaves(_parse_toml(path, text)):
        line = line_of(text, keys)
        where = f"{path}, line {line}" if line else str(path)
        if is_of_backend(keys):
            settings.append(_of_backend(".".join(keys), value, where))
        else:
            settings.append(checked("_".join(keys), value, source=where, shown=".".join(keys)))
    return tuple(settings)


def _of_backend(name: str, value: Any, where: str) -> SettingsFile:
    if isinstance(value, (str, int, float, bool)):
        return SettingsFile(name, value, where)
    raise SettingsError(f"{where}: `{name}` must be text, a number, or `true` or `false`.")


def is_of_backend(keys: Sequence[str]) -> bool:
    """Whether `keys` say ``region`` under ``[lambda]``: a backend's own setting, which it checks itself."""
    if len(keys) != 2 or "_".join(keys) in FIELDS:
        return False
    return not any(name.startswith(f"{keys[0]}_") for name in FIELDS)


def from_environment(environ: Mapping[str, str]) -> Iterator[SettingsFile]:
    """Yield the settings of the variables that begin with ``CLOUDBUTTON_``."""
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        if variable in NOT_SETTINGS:
            continue
        if variable.startswith(INTERNAL_PREFIX) or not environ[variable]:
            continue  # an empty variable is how a shell says "not set"
        name = variable[len(PREFIX) :].lower()
        if name not in FIELDS:
            known = [PREFIX + field.upper() for field in FIELDS] + sorted(NOT_SETTINGS)
            raise UnknownName("environment variable", variable, known)
        yield checked(name, environ[variable], source=f"variable {variable}", shown=variable)


def checked(name: str, value: Any, *, source: str, shown: str | None = None) -> SettingsFile:
    """Return a setting as found at `source`, once it is known that it fits."""
    shown = shown or name
    if name not in FIELDS:
        raise UnknownName(f"setting ({source})", shown, FIELDS)
    try:
        return SettingsFile(name, read_value(name, value), source)
    except ValueError as error:
        where = "" if shown in source else f"`{shown}` is "
        raise SettingsError(f"{source}: {where}{value!r}; it must be {error}.") from None


def line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """Return the number of the line that sets `keys`, for messages; None if it is not plain to see.

    The parser does not tell, so this looks for the table's header and then for the key.
    """
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):  # not at U+0085, which text may hold
        header = re.fullmatch(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?", line)
        if header:
            table = _dotted(header[1])
            continue
        assignment = re.match(r"""\s*([A-Za-z0-9_."' -]+?)\s*=""", line)
        if assignment:
            set_here = (*table, *_dotted(assignment[1]))
            if set_here == keys[: len(set_here)]:
                return number
    return None


def _dotted(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[Any]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    # In the standard library from Python 3.11 on; the same code under its older name before.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return dict(toml.loads(text))
    except ValueError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from error
