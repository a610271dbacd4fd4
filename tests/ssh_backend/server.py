"""An ssh server of the tests' own, on this machine: its keys, its port, a home for who comes in."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

PATIENCE: Final = 30.0


def until(happened: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something at the edge of a process."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class SshServer:
    """A server, and the configuration for `ssh -F` by which `big1` and `big2` lead to it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ssh-server-"))
        self.home = self.folder / "home"
        self.scratch = self.folder / "tmp"
        for each in (self.home, self.scratch):
            each.mkdir(mode=0o700)
        self.port = free_port()
        for key in ("host_key", "user_key", "strange_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key]
            subprocess.run(command, check=True)
        self._write("authorized_keys", (self.folder / "user_key.pub").read_text())
        self._write("known_hosts", f"big {(self.folder / 'host_key.pub').read_text()}")
        self._write("no_hosts", "")
        self.config = self._write("ssh_config", "\n".join(self._hosts()))
        self._write(
            "sshd_config",
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPidFile none\nLogLevel ERROR\nMaxStartups 100\n"
            f"SetEnv HOME={self.home} XDG_CACHE_HOME={self.home}/cache TMPDIR={self.scratch}\n",
        )
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # as starting Debian's service does
        self.start()

    def _write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def _hosts(self) -> Iterator[str]:
        hosts = {
            "big1 big2": ("user_key", "known_hosts", self.port),
            "refusing": ("strange_key", "known_hosts", self.port),
            "unknown": ("user_key", "no_hosts", self.port),
            "silent": ("user_key", "known_hosts", free_port()),
        }
        for names, (key, known, port) in hosts.items():
            yield (
                f"Host {names}\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
                f" IdentityFile {self.folder}/{key}\n UserKnownHostsFile {self.folder}/{known}\n"
                f" HostKeyAlias big\n IdentitiesOnly yes\n IdentityAgent none\n"
                f" StrictHostKeyChecking yes\n LogLevel ERROR\n"
            )

    def start(self) -> None:
        with open(self.folder / "sshd.log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    shutil.which("sshd") or "/usr/sbin/sshd",
                    "-D",
                    "-e",
                    "-f",
                    f"{self.folder}/sshd_config",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, "the ssh server's start")

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Accept no new connections; present ones stay."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.stop()
        until(lambda: not self.processes(), "the end of all that was started there")
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- who is there

    def processes(self, part: str = "") -> list[psutil.Process]:
        """Return what runs there, agents, relays and workers, if `part` is in its command."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TMPDIR") != str(self.scratch):
                    continue
                if part in " ".join(process.cmdline()) and process.status() != "zombie":
                    found.append(process)
        return found

    def agent(self) -> psutil.Process:
        """Return the agent, when there is one only."""
        until(lambda: len(self.processes("worker.ssh.agent")) == 1, "a single agent")
        return self.processes("worker.ssh.agent")[0]

    def sessions(self) -> list[psutil.Process]:
        """Return the server's own process of each connection."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [each for each in children if each.name().startswith("sshd")]

    def clients(self, of: int | None = None) -> list[psutil.Process]:
        """Return the runs of ssh of a process, this one by default."""
        return [each for each in psutil.Process(of).children() if each.name() == "ssh"]
