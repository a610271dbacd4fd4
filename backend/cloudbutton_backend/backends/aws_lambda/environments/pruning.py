"""Which files of a package code never needs at run time. Pure.

In doubt a file stays. Stubs (`.pyi`) do: packages that load lazily read them. Folders of tests are left out
only where nothing beside them mentions them: some packages import theirs, or keep data there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

_USELESS_ENDINGS: Final = (".pyc", ".pyo", ".a")
"""Bytecode, which is of another Python or made anew, and what only a linker reads. Sources of compiled
code stay: some packages read them."""
#: In `.dist-info`: about the installation here, with paths on this machine among it.
_ABOUT_INSTALLING: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
#: `from .tests import`, `import astropy.tests.runner`; strings such as "tests", "pkg.tests.", "tests/data".
_MENTION: Final = re.compile(
    rb"""^\s*(?:from|import)\s+(?P<imported>[\w.]*?)tests\b | ["'](?P<quoted>(?:[\w.]+[./])?)tests\b""",
    re.M | re.X,
)
_IMPORTED_BY_NAME: Final = re.compile(rb"^\s*from\s+(?P<parent>[\w.]+)\s+import\s.*\btests\b", re.M)


def needed(files: Mapping[str, bytes]) -> frozenset[str]:
    """Return those paths of one distribution that are to be kept; `files` are contents by path."""
    kept = {path for path in files if not _is_useless(PurePosixPath(path))}
    folders = {path: folder for path in kept if (folder := _tests_above(PurePosixPath(path)))}
    mentioned = {
        folder
        for path in kept - folders.keys()
        if _is_code(PurePosixPath(path))
        for folder in mentioned_tests(path, files[path])
    }
    return frozenset(path for path in kept if path not in folders or folders[path] in mentioned)


def mentioned_tests(path: str, text: bytes) -> Iterator[str]:
    """Yield the folders of tests that the code in a file may mean."""
    beside = PurePosixPath(path).parent
    for match in _MENTION.finditer(text):
        name = (match["imported"] or match["quoted"] or b"").decode()
        yield str(_resolved(name, beside) / "tests")
    for match in _IMPORTED_BY_NAME.finditer(text):
        yield str(_resolved(match["parent"].decode(), beside) / "tests")


def _resolved(name: str, beside: PurePosixPath) -> PurePosixPath:
    """Return the folder of a dotted name, which is relative to `beside` when it begins with a dot."""
    bare = name.lstrip(".")
    parts = [part for part in re.split(r"[./]", bare) if part]
    if bare and bare == name:
        return PurePosixPath(*parts)
    for _ in range(len(name) - len(bare) - 1):
        beside = beside.parent
    return beside.joinpath(*parts)


def _is_useless(path: PurePosixPath) -> bool:
    if "__pycache__" in path.parts or path.name.endswith(_USELESS_ENDINGS):
        return True
    return path.parent.suffix == ".dist-info" and path.name in _ABOUT_INSTALLING


def _tests_above(path: PurePosixPath) -> str | None:
    """Return the outermost folder of tests that a file is in, if it is inside a package."""
    for depth, part in enumerate(path.parts[:-1]):
        if part == "tests" and depth:
            return str(PurePosixPath(*path.parts[: depth + 1]))
    return None


def _is_code(path: PurePosixPath) -> bool:
    return path.suffix in (".py", ".pyi") and path.name not in ("conftest.py", "setup.py")
