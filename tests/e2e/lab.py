"""A JupyterLab of this checkout in a process of its own: its extension, its kernels, its journal."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "cloudbutton_ext" / "labextension"
TOKEN = "for-tests-only"
STARTS_WITHIN = 60.0

#: The name of a kernel.
WITHOUT_US = "without-cloud-button"

#: Nothing pops up or saves between two steps of a test.
QUIET = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}

#: A backend with a price: local workers with imaginary bills. Packages bring backends this way.
PRICEY = """
from dataclasses import replace
from cloudbutton_backend.backends.local import LocalBackend
from cloudbutton_backend.cost.rates import Rate

class PriceyBackend(LocalBackend):
    costs = True

    @property
    def limits(self):
        return replace(super().limits, rate=Rate(per_second=0.001))
"""


@dataclass(frozen=True)
class Lab:
    """A running server."""

    url: str
    notebooks: Path
    home: Path
    """Where its journal is."""

    def notebook(
        self, name: str, cells: Iterable[str | dict[str, Any]], kernel: str = "python3"
    ) -> str:
        """Write a notebook; a cell is its text, or that with metadata. Return its path."""
        notebook = nbformat.v4.new_notebook()
        notebook.metadata.kernelspec = {
            "name": kernel,
            "display_name": kernel,
            "language": "python",
        }
        notebook.metadata.language_info = {"name": "python"}
        for cell in cells:
            given = cell if isinstance(cell, dict) else {"source": cell}
            notebook.cells.append(nbformat.v4.new_code_cell(**given))
        nbformat.write(notebook, self.notebooks / name)
        return name

    def saved(self, name: str) -> Any:
        """Read a notebook as it is on disk."""
        return nbformat.read(self.notebooks / name, as_version=4)

    def get(self, path: str) -> Any:
        """Ask the server's API."""
        request = urllib.request.Request(
            f"{self.url}{path}", headers={"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def running(directory: Path) -> Iterator[Lab]:
    """Start a server below `directory`; end it with its kernels afterwards."""
    assert BUILT.is_dir(), f"{BUILT} is not there: `make test` builds it, as does `npm run build`"
    lab = Lab(f"http://127.0.0.1:{_free_port()}/", directory / "notebooks", directory / "journal")
    lab.notebooks.mkdir()
    environment = _environment(directory, lab.home)
    log = directory / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                sys.executable,
                *("-m", "jupyterlab", "--no-browser", "--allow-root"),
                f"--port={lab.url.rsplit(':', 1)[1].strip('/')}",
                "--ServerApp.port_retries=0",
                f"--IdentityProvider.token={TOKEN}",
                f"--ServerApp.root_dir={lab.notebooks}",
                "--LabApp.extension_manager=readonly",
                "--LabApp.expose_app_in_browser=True",
            ],
            env=environment,
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(lab, server, log)
            yield lab
        finally:
            server.terminate()  # it ends its kernels, and they their workers
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _environment(directory: Path, home: Path) -> dict[str, str]:
    """Return what a server of this checkout sees, and nothing of the user's own Jupyter."""
    share = directory / "share"
    # No link: servers before 2.14 serve nothing by way of one.
    shutil.copytree(BUILT, share / "labextensions" / "cloudbutton")
    for plugin, values in QUIET.items():
        settings = directory / "lab-settings" / f"{plugin}.jupyterlab-settings"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(values))
    config = directory / "config"
    (config / "jupyter_server_config.d").mkdir(parents=True)
    for path in (ROOT / "jupyter-config" / "server-config").glob("*.json"):
        (config / "jupyter_server_config.d" / path.name).write_bytes(path.read_bytes())
    _add_kernel_without_us(share / "kernels" / WITHOUT_US)
    packages = directory / "packages"
    info = packages / "pricey-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "pricey.py").write_text(PRICEY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pricey\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[cloudbutton.backends]\npricey = pricey:PriceyBackend\n"
    )
    paths = [ROOT, ROOT / "kernel_magic", ROOT / "backend", packages]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONWARNINGS": "ignore",
        "JUPYTER_PATH": str(share),
        "JUPYTERLAB_SETTINGS_DIR": str(directory / "lab-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(directory / "lab-workspaces"),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
        "JUPYTER_DATA_DIR": str(directory / "data"),
        "IPYTHONDIR": str(directory / "ipython"),
        "CLOUDBUTTON_HOME": str(home),
        "LANG": "C.UTF-8",
    }


def _add_kernel_without_us(directory: Path) -> None:
    """Add a kernel in whose Python our packages seem not to be installed."""
    directory.mkdir(parents=True)
    (directory / "cloudbutton_magic.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'cloudbutton_magic'\")\n"
    )
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": WITHOUT_US,
        "language": "python",
        "env": {"PYTHONPATH": str(directory)},
    }
    (directory / "kernel.json").write_text(json.dumps(spec))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        try:
            lab.get("cloudbutton/api/jobs?limit=1")
            return
        except urllib.error.HTTPError as error:
            raise AssertionError(
                f"no server extension: {error}\n{log.read_text()[-3000:]}"
            ) from None
        except OSError:  # no server listens yet
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.1)
                raise AssertionError(f"JupyterLab ended:\n{log.read_text()[-3000:]}") from None
    raise AssertionError(
        f"JupyterLab was not up after {STARTS_WITHIN:.0f} s:\n{log.read_text()[-3000:]}"
    )
