"""Build a lock's packages into one archive, pruned as Lambda's layers need it, and cache it on disk.


In doubt a file stays. Stubs (`.pyi`) do: packages that load lazily read them. Folders of tests are left out
only where nothing beside them mentions them: some packages import theirs, or keep data there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.deployment.desired import PackageSource
from cloudbutton_backend.backends.aws_lambda.environments.package_lock import (
    EnvironmentLock,
    PinnedPackage,
    read_lock,
)
from cloudbutton_backend.backends.aws_lambda.environments.wheels import Pip, download, run_pip
from cloudbutton_backend.backends.aws_lambda.function_archive import entry, function_zip
from cloudbutton_backend.errors import PackagesDoNotFit, UnknownName
from cloudbutton_backend.storage.home import home

_USELESS_ENDINGS: Final = (".pyc", ".pyo", ".a")
"""Bytecode, which is of another Python or compiled again, and what only a linker reads. Sources of compiled
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
    """Return the paths of one distribution to keep; `files` are contents by path."""
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


#: Bytes of a function and its layers together, unpacked; and MiB of /tmp.
LAYER_LIMIT: Final = 262_144_000
_TMP_LIMIT: Final = 10_240 - 512
_LEVEL: Final = 4
"""Of compression: half the time of the usual 6, for 4 % more bytes."""
_IN_LAYER: Final = "python/"
"""The folder of a layer that Python looks into."""


@dataclass(frozen=True, kw_only=True)
class BuiltEnvironment:
    """An environment that has been built here."""

    lock: EnvironmentLock
    archive: Path
    nbytes: int
    unpacked: int
    sha256: str
    """Of the archive."""
    made: float
    """Unix time."""

    @property
    def as_layer(self) -> bool:
        """Whether it fits into a function beside our code; else functions fetch it when they start."""
        return fits_layer(self.unpacked, self.lock.platform.python)

    @property
    def packages(self) -> PackageSource:
        """The packages, as a deployment needs them."""
        return PackageSource(
            hash=self.lock.hash,
            archive=self.archive,
            nbytes=self.nbytes,
            unpacked=self.unpacked,
            sha256=self.sha256,
            as_layer=self.as_layer,
        )


def fits_layer(unpacked: int, python: str) -> bool:
    """Return whether packages of that size can be a layer."""
    return unpacked + len(function_zip(python)) <= LAYER_LIMIT


def folder_of_environments() -> Path:
    """Return where they are kept, made if need be."""
    path = home() / "environments"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def remember(lock: EnvironmentLock) -> Path:
    """Keep a lock, so that `cloudbutton env build HASH` can build it; return the folder for it.

    The lock's file is touched each time, so that `prune` leaves alone what is in use.
    """
    folder = folder_of_environments() / lock.hash
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "lock.json"
    if path.exists():
        os.utime(path)
    else:
        _write(path, json.dumps(lock.to_dict(), indent=1).encode())
    return folder


def find_built(lock: EnvironmentLock) -> BuiltEnvironment | None:
    """Return the environment if it was built here before."""
    folder = folder_of_environments() / lock.hash
    try:
        facts = json.loads((folder / "built.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    archive = folder / "environment.zip"
    if not archive.is_file() or archive.stat().st_size != facts["nbytes"]:
        return None  # it was removed
    return BuiltEnvironment(lock=lock, archive=archive, **facts)


def known() -> Iterator[tuple[EnvironmentLock, BuiltEnvironment | None]]:
    """Yield all environments that are known here, whether built or not."""
    for folder in sorted(folder_of_environments().iterdir()):
        path = folder / "lock.json"
        if path.is_file():
            lock = read_lock(path)
            yield lock, find_built(lock)


def by_hash(beginning: str) -> EnvironmentLock:
    """Return the lock whose hash begins like that.

    Raises
    ------
    UnknownName
        There is none here, or more than one.
    """
    locks = {lock.hash: lock for lock, _ in known()}
    found = [lock for name, lock in locks.items() if name.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    raise UnknownName("environment", beginning, [name[:12] for name in locks])


def prune(*, keep_days: float, now: float | None = None) -> tuple[int, int]:
    """Remove environments last used longer ago; return how many, and the bytes that are free now."""
    removed = freed = 0
    for lock, built in list(known()):
        folder = folder_of_environments() / lock.hash
        age = (time.time() if now is None else now) - (folder / "lock.json").stat().st_mtime
        if age > keep_days * 86_400:
            freed += built.nbytes if built is not None else 0
            removed += 1
            shutil.rmtree(folder)
    return removed, freed


def build(lock: EnvironmentLock, pip: Pip = run_pip) -> BuiltEnvironment:
    """Return the environment of a lock, building it if it was not built here before.

    Raises
    ------
    PackagesDoNotFit
        A package has no wheel for the platform, or all of them together are too large for any function.
    """
    found = find_built(lock)
    if found is not None:
        return found
    folder = remember(lock)
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as place:
        archive = Path(place, "environment.zip")
        unpacked = _make(lock, archive, Path(place), pip)
        _require_room(lock, unpacked)
        facts: dict[str, Any] = {
            "nbytes": archive.stat().st_size,
            "unpacked": unpacked,
            "sha256": _sha256(archive),
            "made": time.time(),
        }
        os.replace(archive, folder / archive.name)
    # Last: what has no facts was not finished.
    _write(folder / "built.json", json.dumps(facts).encode())
    return BuiltEnvironment(lock=lock, archive=folder / archive.name, **facts)


def _make(lock: EnvironmentLock, archive: Path, place: Path, pip: Pip) -> int:
    """Write the archive and return how large it is unpacked."""
    wheels = place / "wheels"
    wheels.mkdir()
    paths = download(
        [pin for pin in lock.pins if pin.origin == "wheel"], lock.platform, wheels, pip
    )
    unpacked = 0
    with ExitStack() as opened:
        sources = [_from_wheel(opened.enter_context(zipfile.ZipFile(path))) for path in paths]
        sources += [_copied(pin) for pin in lock.pins if pin.origin == "copied"]
        out = opened.enter_context(zipfile.ZipFile(archive, "w", compresslevel=_LEVEL))
        for name, data in _merged(sources):
            info = entry(_IN_LAYER + name, executable=".so" in PurePosixPath(name).suffixes)
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, data)
            unpacked += len(data)
    return unpacked


class _Files(Mapping[str, bytes]):
    """Contents by path, each read when it is asked for: all together they may be gigabytes."""

    def __init__(self, readers: Mapping[str, Callable[[], bytes]]) -> None:
        self._readers = readers

    def __getitem__(self, path: str) -> bytes:
        return self._readers[path]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def _merged(sources: Sequence[_Files]) -> Iterator[tuple[str, bytes]]:
    """Yield all files to keep, in an order that depends on names alone."""
    owner = {name: files for files in sources for name in needed(files)}
    for name in sorted(owner):
        yield name, owner[name][name]


def _from_wheel(wheel: zipfile.ZipFile) -> _Files:
    """Return what a wheel installs where Python looks."""
    readers = {}
    for info in wheel.infolist():
        name = _installed_as(info.filename)
        if name is not None and not info.is_dir():
            readers[name] = functools.partial(wheel.read, info)
    return _Files(readers)


def _installed_as(name: str) -> str | None:
    """Return where a file of a wheel is installed, None for scripts, headers and the like. Pure.

    Raises
    ------
    PackagesDoNotFit
        It would be outside the folder of packages.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise PackagesDoNotFit(f"A wheel holds a file with the path {name}, which leads out of it.")
    if path.parts[0].endswith(".data"):
        if len(path.parts) < 3 or path.parts[1] not in ("purelib", "platlib"):
            return None
        return str(PurePosixPath(*path.parts[2:]))
    return str(path)


def _copied(pin: PinnedPackage) -> _Files:
    """Return the files of a distribution that is installed here."""
    readers = {}
    for file in metadata.distribution(pin.name).files or ():
        path = PurePosixPath(file.as_posix())
        place = Path(str(file.locate()))
        # What leads out of the folder of packages are scripts and data of other programs.
        if not path.is_absolute() and ".." not in path.parts and place.is_file():
            readers[str(path)] = place.read_bytes
    return _Files(readers)


def _require_room(lock: EnvironmentLock, unpacked: int) -> None:
    if unpacked / 2**20 > _TMP_LIMIT:
        raise PackagesDoNotFit(
            f"The packages take {unpacked / 1e9:.1f} GB, and a function has room for {_TMP_LIMIT:,} MiB: "
            f"{', '.join(map(str, lock.pins))}. Use lighter ones, such as a build for CPUs only."
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Write a file that is whole or not there."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(name, path)
