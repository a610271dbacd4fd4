"""One run of the user's own `ssh`: from its command line to a connection with an agent."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.backends.ssh.settings import SshSettings
from cloudbutton_backend.backends.worker_code import cloudpickle_code, worker_code
from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.worker.shared_memory import anonymous_file
from cloudbutton_backend.worker.ssh import relay

CONNECT_WITHIN: Final = 15
"""Seconds for which ssh tries to reach a machine."""
ANSWER_WITHIN: Final = 60.0
"""Seconds within which a machine that was reached says something."""
HEARTBEAT: float = 5.0
"""Seconds between two signs of life; after three without one a connection is given up."""
_PYTHON: Final = "{}.{}".format(*sys.version_info)
_OPTIONS: Final = (
    "BatchMode=yes",  # never asks: without a terminal it would wait for ever
    f"ConnectTimeout={CONNECT_WITHIN}",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
)
#: Where else a Python may be; "" stands for the home there.
_PLACES: Final = (
    f'"$HOME"/*conda*/bin/python "$HOME"/miniforge*/bin/python "$HOME"/.local/bin/python{_PYTHON} '
    f'/opt/*conda*/bin/python /usr/local/bin/python{_PYTHON} "$HOME"/.pyenv/versions/*/bin/python '
    f'"$HOME"/.local/share/uv/python/cpython-{_PYTHON}*/bin/python'
)
#: Finds a Python of our version and has it run `$0`. One line without ' or !: any login shell takes it.
_FIND: Final = (
    "for p in {candidates}; do "
    'case $p in "~/"*) p=$HOME/${{p#"~/"}};; esac; '
    'q=$(command -v "$p" 2>/dev/null) || continue; '
    'v=$("$q" -c "import sys; print(*sys.version_info[:2], sep=chr(46))" 2>/dev/null) || continue; '
    'if [ "$v" = {version} ]; then exec "$q" -c "$0"; fi; '
    'found="$found, $p is Python $v"; '
    'done; echo; echo "{mark}no Python$found"'
)
#: Reads the relay's source, whose length in bytes is given, from its standard input, and runs it.
_RUN: Final = (
    "import os,sys;sys.path[:]=[p for p in sys.path if p];"
    'exec(b"".join(os.read(0,1)for _ in range({size})))'
)
_ADVICE: Final = {
    "Host key verification failed": "The machine's key is not known here, or has changed. {try_it}: "
    "there, ssh shows the key, and keeps it once you have compared it.",
    "Permission denied": "It took none of the keys that ssh offered. {try_it}: "
    "`ssh-copy-id {host}` puts your key there, and `ssh-add` unlocks one that has a passphrase.",
    "Could not resolve hostname": "No machine is called like that here: a typing error, or a `Host` "
    "entry that is missing in your ssh configuration? {try_it}.",
}
_ELSE: Final = "Is it up, and can it be reached from here (network, VPN, port)? {try_it}."


class SshConnection:
    """A running `ssh` with an agent at its other end, or with what tells of the machine.

    Parameters
    ----------
    name
        What the names of the agent's workers begin with; "" to be told of the machine only.
    folder
        Of the agent that is there already; "" to start one.

    Raises
    ------
    BackendError
        What prevents it, and what to do.
    """

    def __init__(
        self,
        host: str,
        settings: SshSettings,
        name: str = "",
        folder: str = "",
    ) -> None:
        self._host, self._settings = host, settings
        self._mark = f"cloudbutton-{secrets.token_hex(4)}: "
        source = self._source(name, folder)
        self.rest = b""
        """What has arrived behind what the relay told."""
        self._messages = anonymous_file()
        self.socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                self._command(len(source)),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._messages,
                start_new_session=True,  # Ctrl-C is for the notebook
            )
        except OSError as error:
            self.socket.close()
            os.close(self._messages)
            raise BackendError(f"`ssh` cannot be run on this machine: {error}.") from error
        finally:
            theirs.close()
        try:
            self.told = self._greet(source)
        except BaseException:
            self.close()
            raise
        self.socket.setblocking(False)

    def close(self, within: float = 0.0) -> None:
        """End it: by force, if it has not ended by itself after `within` seconds. Safe to repeat."""
        self.socket.close()
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()  # ends: it was killed
        if self._messages >= 0:
            os.close(self._messages)
            self._messages = -1

    def why_it_ended(self) -> str:
        """Return what ssh said last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # it may be about to say more
        said = os.pread(self._messages, 1 << 16, 0).decode("utf-8", "replace")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return "; ".join(line.rstrip(".") for line in lines[-3:]) or "ssh ended without a word"

    def _command(self, size: int) -> list[str]:
        settings = self._settings
        if settings.python:
            candidates = f'"{settings.python}"'
        else:  # with a home that machines share, ours is there as well
            candidates = f'"{sys.executable}" python{_PYTHON} python3 python {_PLACES}'
        find = _FIND.format(candidates=candidates, version=_PYTHON, mark=self._mark)
        return [
            shutil.which("ssh") or "ssh",
            *(["-F", os.path.expanduser(settings.config)] if settings.config else []),
            "-T",
            *(f"-o{option}" for option in _OPTIONS),
            "--",
            self._host,
            f"exec sh -c {shlex.quote(find)} {shlex.quote(_RUN.format(size=size))}",
        ]

    def _source(self, name: str, folder: str) -> bytes:
        """Return the text that runs there: the relay, and what it is to do."""
        settings = self._settings
        config = {
            "mark": self._mark,
            "folder": folder,
            "digest": hashlib.sha256(_archive()).hexdigest()[:32],
            "size": len(_archive()),
            "agent": {
                "name": name,
                "workers": settings.workers,
                "grace": settings.grace,
                "heartbeat": HEARTBEAT,
            },
        }
        text = Path(relay.__file__).read_text(encoding="utf-8")
        return f"{text}\nmain({config!r})\n".encode()

    def _greet(self, source: bytes) -> dict[str, Any]:
        """Get to the agent; return what the relay tells."""
        self._send(source)
        while True:
            told = self._next_line()
            if "wants" in told:
                self._send(_archive())
            elif "problem" in told:
                raise BackendError(f"Nothing can be run on {self._host}: {told['problem']}.")
            else:
                return told

    def _send(self, data: bytes) -> None:
        self.socket.settimeout(ANSWER_WITHIN)
        with contextlib.suppress(OSError):  # why, is seen where the answer is read
            self.socket.sendall(data)

    def _next_line(self) -> dict[str, Any]:
        """Return what the relay says next; what a login shell prints before it is skipped."""
        deadline = time.monotonic() + ANSWER_WITHIN
        while True:
            before, mark, after = self.rest.partition(self._mark.encode())
            line, end, rest = after.partition(b"\n")
            if mark and end:
                self.rest = rest
                return self._parsed(line.decode("utf-8", "replace"))
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                raise BackendError(
                    f"{self._host} was reached, but said nothing within {ANSWER_WITHIN:g} s. Is it "
                    "overloaded, or does its login shell wait for something?"
                ) from None
            except OSError:
                data = b""
            if not data:
                self._process.wait(ANSWER_WITHIN)
                raise BackendError(self._explain(before.decode("utf-8", "replace").strip()))
            self.rest += data

    def _parsed(self, line: str) -> dict[str, Any]:
        if line.startswith("{"):
            told: dict[str, Any] = json.loads(line)
            return told
        found, named = line.removeprefix("no Python").strip(", "), self._settings.python
        raise BackendError(
            f"{self._host} needs a Python {_PYTHON}, the version of this notebook, and "
            + (f"`{named}` is none" if named else "none was found")
            + (f" ({found})" if found else "")
            + ". Install one there, in your own folder perhaps, or name the one that is there: `%cloud use "
            f"ssh {self._host} python=~/miniconda3/envs/NAME/bin/python`."
        )

    def _explain(self, printed: str) -> str:
        """Return why ssh ended, and what to do."""
        said = self.why_it_ended()
        if self._process.returncode != 255 and printed:  # 255: an error of its own
            said = printed[-500:]
        config = self._settings.config
        host = f"-F {config} {self._host}" if config else self._host
        try_it = f"`ssh {host}` must work in a terminal without a question"
        advice = next((text for words, text in _ADVICE.items() if words in said), _ELSE)
        advice = advice.format(try_it=try_it, host=host)
        return f"{self._host} cannot be used: {said.removeprefix('ssh: ')}\n{advice}"


@functools.cache
def _archive() -> bytes:
    """Return the code that travels, as a zip archive that is the same each time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted((worker_code("pool", "ssh") | cloudpickle_code()).items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
