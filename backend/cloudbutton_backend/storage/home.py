"""The private directory of a user that holds the journal, the results and the key."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from cloudbutton_backend.errors import SettingsError

VARIABLE = "CLOUDBUTTON_HOME"

#: What we keep there. A directory that holds other things and none of these is not ours to tighten.
ENTRIES = ("journal.db", "results", "jobs", "blobs", "cache.db", "environments", "key")

_PRIVATE = 0o700


def home() -> Path:
    """Return the directory for everything kept on disk, made if need be, mode 0700.

    It is ``CLOUDBUTTON_HOME`` or the platform's user-data directory. Where that cannot be
    written, a private directory among the temporary files stands in; `home_warning` says so.

    Raises
    ------
    SettingsError
        The directory belongs to another user, others can write to it, or they can read it and that
        cannot be changed.
    """
    wanted = wanted_home()
    return wanted if _usable(wanted) else _stand_in()


def home_warning() -> str | None:
    """Return one line for the user when `home` is only a stand-in, else None."""
    wanted = wanted_home()
    if _usable(wanted):
        return None
    return (
        f"{wanted} cannot be written; jobs are recorded in {_stand_in()} "
        f"and may be gone after a restart. Set {VARIABLE} to a directory of yours."
    )


def results_dir(base: Path | None = None) -> Path:
    """Return the directory of the result files under `base` (default: `home`), made if need be."""
    return private_directory("results", base)


def private_directory(name: str, base: Path | None = None) -> Path:
    """Return a directory under `base` (default: `home`) that only its user can enter, made if need be.

    Raises
    ------
    SettingsError
        It belongs to another user, or others can write to it: a link, say, to a shared disk.
    """
    path = (home() if base is None else base) / name
    try:
        path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        path.mkdir(mode=_PRIVATE, exist_ok=True)
    except FileExistsError:
        raise SettingsError(f"{path} is a file, not a directory. Move it away.") from None
    if hasattr(os, "getuid"):
        _require_own(path, f"Move it away; then one of your own is made under {path.parent}.")
        _tighten(path)
    return path


def wanted_home() -> Path:
    """Return where home should be, whether or not it can be used."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs  # 10 ms; not needed where the variable is set

    return Path(platformdirs.user_data_dir("cloudbutton", appauthor=False))


def _usable(path: Path) -> bool:
    """Make `path` ours and private; False when the file system does not let us write there."""
    try:
        path.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        _require_private(path)
    except FileExistsError:
        raise SettingsError(f"{path} is a file, not a directory. {_advice()}") from None
    except OSError:  # read-only, no permission, disk full: all the same to a job
        return False
    return os.access(path, os.W_OK | os.X_OK)


def _require_private(path: Path) -> None:
    if not hasattr(os, "getuid"):  # Windows: the profile directory's access list does this
        return
    _require_own(path, _advice())
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 and not _looks_ours(path):
        raise SettingsError(
            f"{path} (mode {mode:04o}) can be entered by other users and "
            f"holds other things than Cloud Button's. {_advice()}"
        )
    _tighten(path)


def _require_own(path: Path, advice: str) -> None:
    owner = path.stat().st_uid
    if owner != os.getuid():
        raise SettingsError(
            f"{path} belongs to {_user(owner)}: results read from it could be anybody's. {advice}"
        )


def _tighten(path: Path) -> None:
    """Make a directory of ours private; refuse if others may have left something in it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022 and any(path.iterdir()):
        raise SettingsError(
            f"{path} (mode {mode:04o}) can be written by other users: files in it could be anybody's, and "
            f"reading results runs what they say. If all of them are yours: `chmod 700 {path}`."
        )
    if not mode & 0o077:
        return
    path.chmod(_PRIVATE)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:  # some file systems accept chmod and ignore it
        raise SettingsError(
            f"{path} stays open to other users (mode {mode:04o}); its file system ignores "
            f"permissions. {_advice()}"
        )


def _looks_ours(path: Path) -> bool:
    names = set(os.listdir(path))
    return not names or any(name in names for name in ENTRIES)


def _user(uid: int) -> str:
    try:
        import pwd

        return f"user {pwd.getpwuid(uid).pw_name}"
    except (ImportError, KeyError):
        return f"user id {uid}"


def _advice() -> str:
    return f"Set {VARIABLE} to a directory of its own that only you can enter."


#: The stand-in of this process, chosen once so that all its jobs stay together.
_chosen_stand_in: Path | None = None


def _stand_in() -> Path:
    """Return a private directory among the temporary files.

    Its name can be guessed, so that ``cloudbutton jobs`` finds the jobs of other kernels. That
    is safe because it is used only when it is a real directory of ours that no other user can enter;
    one that another user has put there before us is passed over for an unguessable one.
    """
    global _chosen_stand_in
    if _chosen_stand_in is not None and _chosen_stand_in.is_dir():
        return _chosen_stand_in
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    shared = Path(tempfile.gettempdir()) / f"cloudbutton-{user}"
    _chosen_stand_in = shared if _is_private(shared) else Path(tempfile.mkdtemp("", "cloudbutton-"))
    return _chosen_stand_in


def _is_private(path: Path) -> bool:
    try:
        path.mkdir(mode=_PRIVATE, exist_ok=True)
        found = path.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
