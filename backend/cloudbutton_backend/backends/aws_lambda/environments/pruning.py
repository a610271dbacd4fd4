"""Which files of a package code never needs at run time. Pure.

In doubt a file stays: `.pyi` files are read at run time by packages that load lazily, and `tests` folders are
imported by some packages, which is why theirs stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

_USELESS_ENDINGS: Final = (".pyc", ".pyo", ".a")
"""Bytecode, which is of another Python or made anew, and what only a linker reads. Sources of compiled
code stay: some packages read them."""
#: In `.dist-info`: about the installation here, with paths on this machine among it.
_ABOUT_INSTALLING: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
#: `from .tests import`, `import astropy.tests.runner`, and names in strings: "pkg.tests", "tests/data".
_MENTIONS: Final = re.compile(
    rb"""(?:from|import)\s+[\w.]*\btests\b|["'](?:[\w.]+[./])?tests(?:[./][\w./]*)?["']"""
)


def needed(files: Mapping[str, bytes]) -> frozenset[str]:
    """Return those paths of one distribution that are to be kept; `files` are contents by path."""
    kept = {path for path in files if not _is_useless(PurePosixPath(path))}
    tests = {path for path in kept if "tests" in PurePosixPath(path).parts[1:-1]}
    if not tests or _mentions_tests(kept - tests, files):
        return frozenset(kept)
    return frozenset(kept - tests)


def _is_useless(path: PurePosixPath) -> bool:
    if "__pycache__" in path.parts or path.name.endswith(_USELESS_ENDINGS):
        return True
    return path.parent.suffix == ".dist-info" and path.name in _ABOUT_INSTALLING


def _mentions_tests(paths: Iterable[str], files: Mapping[str, bytes]) -> bool:
    """Return whether the code among `paths` may need the folders of tests."""
    return any(
        _MENTIONS.search(files[path])
        for path in paths
        if path.endswith((".py", ".pyi"))
        and PurePosixPath(path).name not in ("conftest.py", "setup.py")
    )
