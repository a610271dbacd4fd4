"""Connects to an agent: runs as plain text under the ssh server, where this package may not be installed.

It says what is here, takes our code if that is missing, starts the agent or finds the one there is, and
hands it the connection: its own standard input and output. Then it waits for the connection's end.
"""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from typing import Any


def main(config: dict[str, Any]) -> None:
    """Do what `config` wants, see `backends.ssh.connection`."""
    os.umask(0o077)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = {"executable": sys.executable, "cpus": cpus, "python": platform.python_version()}
    relay = socket.socket(socket.AF_UNIX)
    try:
        if not config["agent"]["name"]:
            return _say(config, told)
        folder = config["folder"] or _start(config)
        try:
            relay.connect(os.path.join(folder, "agent"))
        except OSError:
            return _say(config, {"gone": _last_words(folder)})
    except OSError as error:
        return _say(config, {"problem": str(error)})
    _say(config, {**told, "folder": folder})
    socket.send_fds(relay, [b"!"], [0, 1])
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(nowhere, fd)  # so that the connection ends when the agent closes it
    relay.recv(1)  # ends: with the connection, of which the agent wants signs of life


def _say(config: dict[str, Any], what: dict[str, Any]) -> None:
    line = f"\n{config['mark']}{json.dumps(what)}\n".encode()
    while line:
        line = line[os.write(1, line) :]


def _start(config: dict[str, Any]) -> str:
    """Start an agent; return its folder."""
    code = _code(config)
    folder = tempfile.mkdtemp(prefix="cloudbutton-")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(folder, "agent"))
    listener.listen()
    options = {**config["agent"], "listener": listener.fileno(), "folder": folder}
    boot = (
        f"import sys; sys.path[:] = [{code!r}, *filter(None, sys.path)]; "
        "from cloudbutton_backend.worker.ssh.agent import main; main(sys.argv[1])"
    )
    with open(os.path.join(folder, "log"), "wb") as log:
        subprocess.Popen(
            [sys.executable, "-c", boot, json.dumps(options)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    return folder


def _code(config: dict[str, Any]) -> str:
    """Return the folder with our code, which is asked for if it is not here."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    base = os.path.join(cache, "cloudbutton", "worker")
    os.makedirs(base, 0o700, exist_ok=True)
    state = os.stat(base)
    if state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise OSError(f"others can write to {base}, so that code in it cannot be trusted")
    target = os.path.join(base, config["digest"])
    if not os.path.isdir(target):
        _say(config, {"wants": "code"})
        _unpack(_receive(config["size"]), base, target)
    os.utime(target)
    return target


def _receive(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))  # ends: with the connection
        if not piece:
            raise OSError("the connection broke")
        data += piece
    return data


def _unpack(data: bytes, base: str, target: str) -> None:
    """Unpack our code, and remove that of versions which have not been used for a month."""
    for name in os.listdir(base):
        other = os.path.join(base, name)
        if os.stat(other).st_mtime < time.time() - 30 * 86400:
            shutil.rmtree(other, ignore_errors=True)
    fresh = tempfile.mkdtemp(dir=base)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(fresh)
    try:
        os.rename(fresh, target)
    except OSError:
        shutil.rmtree(fresh)
        if not os.path.isdir(target):  # else another kernel was quicker
            raise


def _last_words(folder: str) -> str:
    """Remove what an agent left behind that is gone; return what it said last."""
    try:
        with open(os.path.join(folder, "log"), "rb") as log:
            words = log.read()[-2000:].decode("utf-8", "replace")
    except OSError:
        words = ""
    shutil.rmtree(folder, ignore_errors=True)
    return words
