"""An installation without extras: what works there, and what says how to install the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudbutton_backend.backends.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
MISSING = {module for _, modules in EXTRAS.values() for module in modules}
MISSING |= {"ipywidgets", "jupyter_server", "jupyterlab", "s3transfer", "yarl"}

#: Runs before each script: the packages of all extras cannot be found.
BARE = f"""
import sys

class Nowhere:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {sorted(MISSING)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Nowhere)
"""


def _run(
    tmp_path: Path, script: str, *, settings: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "cloudbutton.toml").write_text(settings, encoding="utf-8")
    (tmp_path / "script.py").write_text(BARE + script, encoding="utf-8")
    folders = [str(ROOT), str(ROOT / "kernel_magic"), str(ROOT / "backend")]
    own = {"CLOUDBUTTON_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(folders)}
    return subprocess.run(
        [sys.executable, "script.py"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, **own, **variables},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_local_pool_needs_no_extra(tmp_path: Path) -> None:
    ran = _run(
        tmp_path,
        "import cloudbutton_ext as cloud\n"
        "print(cloud.map(lambda x: x * x, range(5), quiet=True).results())\n"
        f"assert sys.modules.keys().isdisjoint({sorted(MISSING)!r})\n",
        settings='[lambda]\nregion = "eu-central-1"\n',  # for another machine
    )
    assert ran.stdout == "[0, 1, 4, 9, 16]\n", ran.stderr


@pytest.mark.parametrize(
    ("use", "extra"),
    [
        ('cloud.use("lambda")\ncloud.map(abs, [1], quiet=True)', "lambda"),
        ('cloud.map(abs, [1], backend="lambda", quiet=True)', "lambda"),
        ('cloud.map(abs, [1], backend="dask", quiet=True).results()', "dask"),
        ("cloud.dask_scheduler()", "dask"),
    ],
)
def test_what_needs_an_extra_says_what_to_type(tmp_path: Path, use: str, extra: str) -> None:
    ran = _run(
        tmp_path,
        "import cloudbutton_ext as cloud\n"
        "try:\n"
        + "".join(f"    {line}\n" for line in use.splitlines())
        + "except cloud.CloudError as error:\n"
        "    print(error)\n",
    )
    assert f'`pip install "cloudbutton[{extra}]"`' in ran.stdout, ran.stderr
    assert all(module in ran.stdout for module in EXTRAS[extra][1])


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("deploy lambda --plan", "lambda"),
        ("status lambda", "lambda"),
        ("policy lambda", "lambda"),
        ("env build numpy", "lambda"),
        ("env list", "lambda"),
        ("emulate", "emulator"),
    ],
)
def test_a_command_that_needs_an_extra_says_what_to_type(
    tmp_path: Path, command: str, extra: str
) -> None:
    ran = _run(
        tmp_path,
        f"sys.argv[1:] = {command.split()!r}\n"
        "from cloudbutton_ext.cli.main import main\n"
        "sys.exit(main())\n",
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("cloudbutton: ")
    assert f'`pip install "cloudbutton[{extra}]"`' in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", ["doctor", "config", "jobs", "cost"])
def test_the_other_commands_need_no_extra(tmp_path: Path, command: str) -> None:
    ran = _run(
        tmp_path,
        f"sys.argv[1:] = {command.split()!r}\n"
        "from cloudbutton_ext.cli.main import main\n"
        "sys.exit(main())\n",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_doctor_says_what_the_backend_in_use_lacks(tmp_path: Path) -> None:
    ran = _run(
        tmp_path,
        "sys.argv[1:] = ['doctor']\nfrom cloudbutton_ext.cli.main import main\nsys.exit(main())\n",
        CLOUDBUTTON_BACKEND="lambda",
    )
    assert ran.returncode == 1
    assert '`pip install "cloudbutton[lambda]"`' in ran.stdout


def test_the_panel_says_what_a_backend_lacks(tmp_path: Path) -> None:
    ran = _run(
        tmp_path,
        "from cloudbutton_backend import settings\n"
        "sys.meta_path.pop(0)\n"  # the server has its own packages
        "from cloudbutton_ext.server.backends import describe_backend\n"
        "for name in ('aiohttp', 'botocore', 'packaging'):\n"
        "    for each in [m for m in sys.modules if m.partition('.')[0] == name]:\n"
        "        del sys.modules[each]\n"
        "sys.meta_path.insert(0, Nowhere)\n"
        "print(describe_backend('lambda', settings.resolve())['problem'])\n",
    )
    assert '`pip install "cloudbutton[lambda]"`' in ran.stdout, ran.stderr
