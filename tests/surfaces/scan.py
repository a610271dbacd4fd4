"""Finds what our code uses of other packages, as far as reading it tells."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PRODUCT: Final = ("backend", "kernel_magic", "cloudbutton_ext")
EXTENSION: Final = ("labextension/src", "labextension/style", "labextension/schema")

#: Packages of which each name that is imported must be listed, as documented or as a surface.
LISTED: Final = frozenset(
    {"IPython", "awslambdaric", "botocore", "cloudpickle", "dask", "distributed", "ipykernel", "joblib",
     "jupyter_core", "jupyter_server", "moto"}
)  # fmt: skip

#: By the folder of a module: what others' objects are called there that reach us without an import.
RECEIVERS: Final[Mapping[str, Mapping[str, str]]] = {
    "cloudbutton_magic": {"shell": "InteractiveShell", "_shell": "InteractiveShell"},
    "dask": {"client": "Client", "_given": "Client", "given": "Client", "dask_worker": "Worker"},
    "dask/shipped_code.py": {"worker": "Worker", "_worker": "Worker"},
}

Uses = dict[str, set[str]]
"""Names, and the files that use them."""


def python_files() -> list[Path]:
    """Return the product's modules."""
    return [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]


@functools.cache
def imported() -> Uses:
    """Return what is used of the listed packages by way of an import: `package.module.name.attribute`."""
    uses: Uses = defaultdict(set)
    for path, tree in _trees():
        known = dict(_bound_by_imports(tree))
        for name in known.values():
            if name.count(".") or name in LISTED:
                uses[name].add(path)
        for node in ast.walk(tree):
            parts = _chain(node) if isinstance(node, ast.Attribute) else []
            if parts and parts[0] in known:
                uses[".".join([known[parts[0]], *parts[1:]])].add(path)
    return _without_packages(uses)


@functools.cache
def received() -> Uses:
    """Return what is used of objects that others hand to us: `Class.attribute`."""
    uses: Uses = defaultdict(set)
    for path, tree in _trees():
        names: dict[str, str] = {}
        for where, own in RECEIVERS.items():
            if f"/{where}/" in path or path.endswith(f"/{where}"):
                names |= own
        for node in ast.walk(tree):
            parts = _chain(node) if isinstance(node, ast.Attribute) else []
            for at, part in enumerate(parts[:-1]):
                if part in names:
                    uses[".".join([names[part], *parts[at + 1 :]])].add(path)
    return uses


@functools.cache
def private() -> Uses:
    """Return the private attributes in use that none of our code defines, also by `getattr` and the like."""
    ours: set[str] = set()
    uses: Uses = defaultdict(set)
    for path, tree in _trees():
        ours |= set(_defined(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                uses[node.attr].add(path)
            elif _looks_up(node):
                uses[node.args[1].value].add(path)  # type: ignore[attr-defined]
    return {name: files for name, files in uses.items() if _is_private(name) and name not in ours}


@functools.cache
def overridden() -> Uses:
    """Return the private names that our classes define and a class of a listed package has, too."""
    uses: Uses = defaultdict(set)
    for path, tree in _trees():
        known = dict(_bound_by_imports(tree))
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for base in node.bases:
                parts = _chain(base)
                if parts and parts[0] in known:
                    whole = ".".join([known[parts[0]], *parts[1:]])
                    for name in _defined(ast.Module(node.body, [])):
                        if _is_private(name) and hasattr(_resolved(whole), name):
                            uses[f"{whole}.{name}"].add(path)
    return uses


@functools.cache
def in_pages() -> Uses:
    """Return JupyterLab's and Lumino's names in scripts, style sheets and schema of the extension."""
    name = re.compile(r"(?<![\w-])(?:--jp|jp|lm|data-jp)-[a-zA-Z][\w-]*")
    uses: Uses = defaultdict(set)
    for folder in EXTENSION:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file():
                for found in name.findall(path.read_text(encoding="utf-8")):
                    uses[found].add(path.relative_to(ROOT).as_posix())
    return uses


@functools.cache
def _trees() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in python_files()
    ]


def _bound_by_imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the names that imports of listed packages bind anywhere in a module, with what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                if top in LISTED:
                    yield (alias.asname or top), (alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            if module.partition(".")[0] in LISTED:
                for alias in node.names:
                    yield (alias.asname or alias.name), f"{module}.{alias.name}"


def _chain(node: ast.AST) -> list[str]:
    """Return the names of `a.b.c`, from the left; calls and subscripts on the way count as nothing."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            break
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _without_packages(uses: Uses) -> Uses:
    """Leave out `a.b` where all that is used of it is `a.b.c`: a module on the way."""
    import importlib.util

    def is_module(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except (ImportError, AttributeError):
            return False

    return {
        name: files
        for name, files in uses.items()
        if not (is_module(name) and any(other.startswith(f"{name}.") for other in uses))
        and name not in LISTED
    }


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


def _looks_up(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr", "setattr", "delattr")
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
        and isinstance(node.args[1].value, str)
    )


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _resolved(name: str) -> object:
    """Return what a dotted name stands for, None if it cannot be imported."""
    import pkgutil

    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return None
