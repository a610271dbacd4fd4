"""Claims about what is declared in pyproject.toml: all that is imported, and nothing else."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cloudbutton_backend.backends.extras import EXTRAS
from cloudbutton_backend.session import doctor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"cloudbutton_ext", "cloudbutton_magic", "cloudbutton_backend"}
PRODUCT = ("cloudbutton_ext", "kernel_magic", "backend")

#: Modules that are not called like the distribution they are in.
MODULES = {"ipython": "IPython", "pyyaml": "yaml", "scikit-learn": "sklearn"}

#: The extra that a folder's modules may count on, beside what everybody has.
FOLDERS = {
    "aws_lambda": "lambda",
    "dask": "dask",
    "dask_graphs": "dask",
    "emulator": "emulator",
    "server": "lab",
}
#: Used where the notebook has them, never asked for.
THE_NOTEBOOKS = {"joblib", "matplotlib", "numpy", "threadpoolctl"}
#: For authors of backends, who run the conformance suite.
THE_AUTHORS = {"pytest"}
#: Parts of what a declared package offers, which it installs.
COME_WITH = {
    "dask": {"cloudpickle"},
    "jupyter_server": {"jupyter_core", "tornado"},
    "moto": {"werkzeug"},
    "aiohttp": {"yarl"},
}
#: Declared though nothing imports them, and why.
NOT_IMPORTED = {
    "boto3": "the emulator puts it on its functions' path, as it is on Lambda's",
    "ipywidgets": "the extra `widgets` is for notebooks that use them beside the button",
    "jupyterlab": "it loads the extension",
}


def _declared(*extras: str) -> set[str]:
    """Return the modules that the dependencies and some extras bring."""
    names = set()
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    for text in texts:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        if requirement.name == PROJECT["name"]:
            names |= _declared(*requirement.extras)
        else:
            names.add(MODULES.get(requirement.name, requirement.name.replace("-", "_")))
    return names


def _imported(path: Path) -> Iterator[str]:
    """Yield the packages of others that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        tops = {name.partition(".")[0] for name in names}
        yield from tops - OWN - sys.stdlib_module_names


def _extra_of(path: Path) -> str | None:
    found = (FOLDERS[part] for part in reversed(path.parts) if part in FOLDERS)
    return next(found, None)


IMPORTS = {
    path: set(_imported(path))
    for folder in PRODUCT
    for path in sorted((ROOT / folder).rglob("*.py"))
}
IMPORTED = {name for names in IMPORTS.values() for name in names}


@pytest.mark.parametrize(
    "path",
    [path for path, names in IMPORTS.items() if names],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_a_module_imports_what_is_declared_for_its_folder(path: Path) -> None:
    extra = _extra_of(path.relative_to(ROOT))
    declared = _declared(*([extra] if extra else []))
    come_along = {name for whole in declared for name in COME_WITH.get(whole, ())}
    assert IMPORTS[path] - declared - come_along - THE_NOTEBOOKS - THE_AUTHORS == set()


@pytest.mark.parametrize("extra", ["", "dask", "emulator", "lambda", "widgets"])
def test_what_is_declared_is_imported(extra: str) -> None:
    assert _declared(*([extra] if extra else [])) - IMPORTED - NOT_IMPORTED.keys() == set()


def test_what_is_said_not_to_be_imported_is_not() -> None:
    assert NOT_IMPORTED.keys() & IMPORTED == set()


def test_lab_brings_the_server_the_kernel_and_widgets() -> None:
    assert _declared("lab") >= {"jupyterlab", "jupyter_server", "ipykernel", "ipywidgets"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_asked_for_before_an_optional_part_is_used_comes_with_its_extra(extra: str) -> None:
    _, modules = EXTRAS[extra]
    declared = _declared(extra)
    come_along = {name for whole in declared for name in COME_WITH.get(whole, ())}
    assert set(modules) <= declared | come_along
    own = set(PROJECT["optional-dependencies"][extra])
    assert {MODULES.get(n := Requirement(t).name, n) for t in own} - {"cloudbutton"} <= set(modules)


def test_the_doctor_requires_what_is_required() -> None:
    required = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert set(doctor.REQUIRED) == required - {"tomli"}  # which only Python 3.10 needs
