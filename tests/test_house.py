"""Claims about the house itself: what each module says of itself and what importing it costs."""

from __future__ import annotations

import ast
import builtins
import io
import os
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

Node = TypeVar("Node", bound=ast.AST)

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "cloudbutton_ext": ROOT / "cloudbutton_ext",
    "cloudbutton_magic": ROOT / "kernel_magic" / "cloudbutton_magic",
    "cloudbutton_backend": ROOT / "backend" / "cloudbutton_backend",
}
MODULES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))

HEAVY = {
    "aiohttp",
    "awslambdaric",
    "boto3",
    "botocore",
    "dask",
    "distributed",
    "ipywidgets",
    "joblib",
    "jupyter_server",
    "matplotlib",
    "moto",
    "numpy",
    "pandas",
    "sklearn",
    "tornado",
}

#: Beyond HEAVY. The magics are IPython's; nothing below or above them needs it to be imported.
FORBIDDEN_AT_IMPORT = {
    "cloudbutton_ext": HEAVY | {"IPython", "ipykernel"},
    "cloudbutton_magic": HEAVY | {"ipykernel"},
    "cloudbutton_backend": HEAVY | {"IPython", "ipykernel"},
}

#: Modules whose purpose is the heavy package; they are themselves imported only on demand.
ALLOWED = {
    "cloudbutton_backend/backends/aws_lambda/": {"aiohttp", "boto3", "botocore"},
    "cloudbutton_backend/backends/dask/": {"dask", "distributed"},
    "cloudbutton_backend/backends/aws_lambda/emulator/": {
        "aiohttp",
        "awslambdaric",
        "boto3",
        "moto",
    },
    "cloudbutton_backend/worker/mpl_backend.py": {"matplotlib"},  # loaded by matplotlib itself
    "cloudbutton_ext/integrations/dask_graphs/": {"dask"},  # loaded when Dask is used
    "cloudbutton_ext/integrations/joblib/parallel_backend.py": {"joblib"},  # loaded by joblib
    "cloudbutton_ext/server/": {"jupyter_server", "tornado"},  # loaded by the Jupyter server
}

PROMISED = {"Executor", "Job", "explain", "jobs", "map", "map_reduce", "rng", "submit", "use"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _package(path: Path) -> str:
    return next(name for name, folder in PACKAGES.items() if path.is_relative_to(folder))


def _allowed(path: Path) -> set[str]:
    return {name for part, names in ALLOWED.items() if part in _name(path) for name in names}


def _imported_at_import(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the dotted names a module imports when it is imported: not in functions."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from _imported_at_import(node.body)
            yield from _imported_at_import(node.orelse)
        elif isinstance(node, ast.Try):
            for part in (node.body, node.orelse, node.finalbody, *(h.body for h in node.handlers)):
                yield from _imported_at_import(part)
        elif isinstance(node, (ast.With, ast.ClassDef)):
            yield from _imported_at_import(node.body)


def _imports(path: Path) -> set[str]:
    return set(_imported_at_import(ast.parse(path.read_text(encoding="utf-8")).body))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_says_its_responsibility_in_its_first_line(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False)
    assert docstring, "no docstring"
    assert docstring.splitlines()[0].strip(), "the first line is empty"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_imports_nothing_heavy_when_it_is_imported(path: Path) -> None:
    imported = {name.partition(".")[0] for name in _imports(path)}
    assert imported & (FORBIDDEN_AT_IMPORT[_package(path)] - _allowed(path)) == set()


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if "cloudbutton_backend/worker/" in path.as_posix()],
    ids=_name,
)
def test_the_worker_imports_only_the_standard_library_cloudpickle_and_itself(path: Path) -> None:
    strangers = {
        name
        for name in _imports(path)
        if name.partition(".")[0] not in sys.stdlib_module_names | {"cloudpickle"} | _allowed(path)
        and not f"{name}.".startswith("cloudbutton_backend.worker.")
    }
    assert strangers == set()


def test_importing_cloudbutton_ext_loads_nothing_heavy() -> None:
    code = "import sys, cloudbutton_ext; print(*{name.partition('.')[0] for name in sys.modules})"
    paths = [str(folder.parent) for folder in PACKAGES.values()]
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert FORBIDDEN_AT_IMPORT["cloudbutton_ext"] & set(loaded) == set()


def test_the_public_names_are_listed_sorted_and_documented() -> None:
    import cloudbutton_ext as cloud

    assert list(cloud.__all__) == sorted(cloud.__all__)
    assert set(cloud.__all__) >= PROMISED
    undocumented = [name for name in cloud.__all__ if not getattr(cloud, name).__doc__]
    assert undocumented == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_ships_its_types(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").is_file()


#: Rooms that do the same for different platforms, each with files of the same names.
PARALLEL_ROOMS = {"local", "dask", "aws_lambda", "ssh"}


def test_no_file_name_is_used_more_than_twice() -> None:
    places: dict[str, set[str]] = {}
    for path in MODULES:
        parts = ["*" if part in PARALLEL_ROOMS else part for part in path.parts]
        places.setdefault(path.name, set()).add("/".join(parts))
    often = {name: sorted(found) for name, found in places.items() if len(found) > 2}
    assert often.keys() <= {"__init__.py", "__main__.py"}


def test_no_two_classes_have_the_same_name() -> None:
    """A protocol and what fulfils it may."""
    places: dict[str, list[str]] = {}
    for path, node in _nodes(ast.ClassDef):
        if not any(ast.unparse(base).startswith("Protocol") for base in node.bases):
            places.setdefault(node.name, []).append(_name(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_at_most_two_modules_lie_beside_the_rooms_of_a_package(package: str) -> None:
    loose = {path.name for path in PACKAGES[package].glob("*.py")} - {"__init__.py"}
    assert len(loose) <= 2


#: Where SQL is written, and on which database.
SQL_ROOMS = {
    "cloudbutton_backend/journal/": "journal.db",
    "cloudbutton_backend/result_cache/": "cache.db, the index of cached results",
    "cloudbutton_backend/storage/sqlite.py": "any: transactions, and the version of the tables",
}
SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE FROM|CREATE|ALTER|PRAGMA|BEGIN|COMMIT|ROLLBACK)\b"
)


def test_sql_is_written_where_its_database_is() -> None:
    """Neither a statement nor a call that executes one is anywhere else."""
    statements = {
        _name(path): node.lineno
        for path, node in _nodes(ast.Constant)
        if isinstance(node.value, str) and SQL.match(node.value)
    }
    executed = {
        _name(path): node.lineno
        for path, node in _nodes(ast.Attribute)
        if node.attr in {"execute", "executemany", "executescript"}
    }
    elsewhere = {
        name: line
        for name, line in (statements | executed).items()
        if not any(room in name for room in SQL_ROOMS)
    }
    assert elsewhere == {}


#: What others call by its name, so that none of our code does.
CALLED_BY_OTHERS = {
    "FigureCanvas": "matplotlib looks it up in its backend",
    "_jupyter_server_extension_points": "a Jupyter server asks for it",
    "_load_jupyter_server_extension": "a Jupyter server asks for it",
}


def test_what_only_tests_use_is_not_shipped() -> None:
    used: Counter[str] = Counter()
    for path in MODULES:
        used.update(_words_of_code(path.read_text(encoding="utf-8")))
    unused = {
        node.name: _name(path)
        for path in MODULES
        if "/testing/" not in path.as_posix()  # the suites that other people's backends pass
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if used[node.name] == 1 and not node.name.startswith("__")
        if not any("atexit" in ast.unparse(each) for each in node.decorator_list)
    }
    assert unused.keys() == CALLED_BY_OTHERS.keys()


def _nodes(kind: type[Node]) -> Iterator[tuple[Path, Node]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield path, node


def _words_of_code(text: str) -> Iterator[str]:
    """Yield names, and the words of strings on one line: tables name functions in strings."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string
        elif token.type == tokenize.STRING and token.start[0] == token.end[0]:
            yield from re.findall(r"\w+", token.string)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_on_the_front_pages_exists(page: str) -> None:
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    )
    commands = re.findall(
        r"\bmake ((?:[a-z]+ ?)+)", _code_of((ROOT / page).read_text(encoding="utf-8"))
    )
    assert commands, "the page names no command"
    assert {target for command in commands for target in command.split()} <= targets


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

#: Where prose has two sentences on a line; code, links and tables are left out.
_SENTENCE_ENDS = re.compile(r"[a-z0-9)][.!?] (?=[A-Z])")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_sentence_of_a_page_has_a_line_of_its_own(page: Path) -> None:
    """Then a change of one shows as a change of one line."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    lines = [
        re.sub(r"`[^`]*`|\]\([^)]*\)|<[^>]*>|^\s*\d+\. ", "x", line) for line in prose.splitlines()
    ]
    prose_lines = [line for line in lines if not line.lstrip().startswith(("|", "#", ">"))]
    assert [line for line in prose_lines if _SENTENCE_ENDS.search(line)] == []


def _code_of(markdown: str) -> str:
    blocks = re.findall(r"```\w*\n(.*?)```", markdown, flags=re.S)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", markdown)
    return "\n".join([*blocks, *spans])


#: Names that docstrings mention in backticks and that are not ours: other libraries', AWS's, Dask's.
FOREIGN = frozenset({
    "Any", "BrokenExecutor", "Client", "CodeSha256", "Condition", "EventAgeExceeded", "GetObject",
    "InvokeFunction", "KilledWorker", "Manager", "PicklingError", "Protocol", "RetriesExhausted",
    "Security",
})  # fmt: skip


def test_docstrings_name_classes_that_there_are() -> None:
    """A renamed class must not live on in what others say of it."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
    classes = {
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    aliases = {
        target.id
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    known = classes | aliases | FOREIGN | set(dir(builtins))
    unknown = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {part}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for mention in re.findall(r"`([A-Za-z_][\w.]*)`", node.value.value)
        for part in mention.split(".")
        if re.fullmatch(r"[A-Z]+[a-z]\w*", part) and part not in known
    ]
    assert unknown == []


def test_documented_parameters_are_those_of_the_signature() -> None:
    """Under `Parameters`, a docstring names what the function or class takes, and nothing else."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} does not take {name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        for name in _documented(node) - _taken(node)
    ]
    assert wrong == []


def _documented(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)",
        ast.get_docstring(node) or "",
        re.M | re.S,
    )
    lines = section[1].splitlines() if section else []
    names = [line.partition(":")[0] for line in lines if line and not line[0].isspace()]
    return {name.strip(" *") for line in names for name in line.split(",")}


def _taken(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    if isinstance(node, ast.ClassDef):
        fields = {
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }
        makers = [
            each
            for each in node.body
            if isinstance(each, ast.FunctionDef) and each.name == "__init__"
        ]
        return fields.union(*map(_taken, makers))
    given = node.args
    plain = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return {each.arg for each in [*plain, given.vararg, given.kwarg] if each is not None}
