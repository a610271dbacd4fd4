"""Paths in answers: notebooks as the contents API names them, no absolute path."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ABSOLUTE: Final = re.compile(
    r"""(?<![\w/:.~\\-])(?:[A-Za-z]:[\\/]|/(?!/))[^\s'"`,;()<>]*[^\s'"`,;()<>.:]"""
)
"""An absolute path in one of our messages, on POSIX or Windows; not the `/s` of a rate or a URL."""


_QUOTED: Final = re.compile(r"""(['"`])(?:[A-Za-z]:[\\/]|/(?!/))[^'"`\n]*\1""")
"""The same between quotation marks, where it may hold spaces."""


@dataclass(frozen=True)
class PublicPaths:
    """Keeps the paths of the server's files out of answers."""

    root: Path
    """The server's root directory, absolute."""

    def notebook(self, recorded: str | None) -> tuple[str | None, str | None]:
        """Return the path below the root as the contents API wants it, and the base name.

        Parameters
        ----------
        recorded
            What the journal has: a path as the kernel was told it.
        """
        return _notebook(self.root, recorded) if recorded else (None, None)

    def recorded_paths(self, notebook: str) -> tuple[str, ...]:
        """Return under what the journal may have a notebook that the contents API calls so."""
        parts = [part for part in notebook.split("/") if part]
        roots = dict.fromkeys((str(self.root), os.path.realpath(self.root)))
        return tuple(os.path.join(root, *parts) for root in roots)

    def directory(self, notebook: str) -> Path:
        """Return the directory of a notebook that the contents API calls so; the root without one."""
        parts = [part for part in notebook.split("/") if part not in ("", ".", "..")]
        return self.root.joinpath(*parts[:-1])

    def hide_paths(self, text: str) -> str:
        """Return a message with each absolute path cut to its last part."""
        for place in (str(self.root), os.path.realpath(self.root), os.path.expanduser("~")):
            text = text.replace(place + os.sep, os.sep)  # the user's own may contain spaces
        text = _QUOTED.sub(lambda found: found[1] + _last_part(found[0][1:-1]) + found[1], text)
        return _ABSOLUTE.sub(lambda found: _last_part(found[0]), text)


@functools.lru_cache(maxsize=1_000)  # asked for each row of each message
def _notebook(root: Path, recorded: str) -> tuple[str | None, str]:
    name = _last_part(recorded)
    path = Path(recorded)
    for spelling in (root, Path(os.path.realpath(root))):
        if path.is_absolute() and path.is_relative_to(spelling) and ".." not in path.parts:
            return path.relative_to(spelling).as_posix(), name
    return None, name


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
