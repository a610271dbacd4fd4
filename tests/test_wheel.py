"""What a release contains: all three packages, and what JupyterLab and its server look for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel made of the JupyterLab extension as `make` has built it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "SKIP_JUPYTER_BUILDER": "1"},
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return {name.partition(".data/")[2] or name for name in zipfile.ZipFile(wheel).namelist()}


def test_the_packages_lie_side_by_side_without_the_folders_they_are_kept_in(
    contents: set[str],
) -> None:
    packages = {name.partition("/")[0] for name in contents if name.endswith("/__init__.py")}
    assert packages == {"cloudbutton_ext", "cloudbutton_magic", "cloudbutton_backend"}


@pytest.mark.parametrize(
    "name",
    [
        "data/share/jupyter/labextensions/cloudbutton/package.json",
        "data/share/jupyter/labextensions/cloudbutton/install.json",
        "data/share/jupyter/labextensions/cloudbutton/schemas/cloudbutton/plugin.json",
        "data/share/jupyter/labextensions/cloudbutton/static/style.js",
        "data/etc/jupyter/jupyter_server_config.d/cloudbutton.json",
    ],
)
def test_jupyter_finds_the_extension_without_a_further_step(contents: set[str], name: str) -> None:
    assert name in contents


def test_the_extension_is_built_for_release(contents: set[str]) -> None:
    assert not [name for name in contents if name.endswith((".map", "build_log.json"))]


def test_the_price_book_lies_beside_its_reader(contents: set[str]) -> None:
    assert "cloudbutton_backend/cost/prices.toml" in contents


def test_both_halves_have_the_same_version(contents: set[str]) -> None:
    version = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["version"]
    assert f"cloudbutton-{version}.dist-info/METADATA" in contents
