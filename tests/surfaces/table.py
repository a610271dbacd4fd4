"""What we use of other packages beyond what they document, why, and a check of each such place.

Where a release of theirs moves one of these, its test fails by its name (`test_surfaces.py`), which also
finds uses that are not listed here. `DOCUMENTED` has what we use of the same packages as they document it.

A check takes fixtures of `conftest.py` by the names of its parameters.
"""

from __future__ import annotations

import ast
import asyncio
import copyreg
import functools
import io
import linecache
import os
import pickle
import re
import subprocess
import sys
import types
import typing
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cloudpickle
from cloudpickle import cloudpickle as cp

Check = Callable[..., None]


@dataclass(frozen=True)
class Surface:
    """Something that another package does not promise, and that we rely on."""

    package: str
    """The distribution whose releases may move it."""
    names: tuple[str, ...]
    """As `scan.py` finds them in our code. The last part may be `*`: all of a container's own."""
    why: str
    check: Check

    def __str__(self) -> str:
        short = [name.removesuffix(".*").rpartition(".")[2] for name in self.names]
        return f"{self.package}: {', '.join(short)}"


SURFACES: Final[list[Surface]] = []


def relies_on(package: str, *names: str, why: str) -> Callable[[Check], Check]:
    """List what a check is of."""

    def listed(check: Check) -> Check:
        SURFACES.append(Surface(package, names, why, check))
        return check

    return listed


# -- cloudpickle: its documentation ends at `dumps`, `loads` and `register_pickle_by_value` ------

_CP: Final = "cloudpickle.cloudpickle"


@relies_on(
    "cloudpickle",
    _CP,
    why="pickles name this module: unpickling answers for some of its functions (ResultUnpickler)",
)
def _module_name() -> None:
    def local() -> None: ...

    assert b"cloudpickle.cloudpickle" in cloudpickle.dumps(local)
    assert cp._make_function.__module__ == "cloudpickle.cloudpickle"


@relies_on(
    "cloudpickle",
    f"{_CP}.Pickler",
    "cloudpickle.Pickler",
    why="our picklers derive from it: `reducer_override` decides about every object but plain ones",
)
def _pickler() -> None:
    from cloudbutton_backend.worker.pickling import reduce_code

    asked = []

    class Own(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = copyreg.dispatch_table  # without cloudpickle's own, we are asked instead

        def reducer_override(self, obj: Any) -> Any:
            asked.append(type(obj))
            if type(obj) is types.CodeType:
                return reduce_code(obj)
            return super().reducer_override(obj)

    file = io.BytesIO()
    pickler = Own(file, 5, None)
    pickler.dump([lambda: 1, {"a": 1}])
    pickler.clear_memo()
    assert types.FunctionType in asked and dict not in asked
    assert pickle.loads(file.getvalue())[0]() == 1


@relies_on(
    "cloudpickle",
    f"{_CP}.Pickler._dispatch_table.*",
    why="its reducers are looked up once for each type: by way of the pickler each instance costs 1 µs",
)
def _dispatch_table() -> None:
    table = cp.Pickler._dispatch_table
    assert table.get(types.CellType) and table.get(classmethod)
    assert table.get(int) is None
    reduced = table.get(property)(property(abs))
    assert reduced[0](*reduced[1]).fget is abs


def _function(state: dict[str, Any], closure: Any = None, **own: Any) -> Any:
    def model(x: int) -> Any:
        return other(x) + inner  # type: ignore[name-defined]  # noqa: F821

    code = _code("def model(x): return other(x) + inner", "model")
    made = cp._make_function(code, {"__name__": "there"}, None, None, closure)
    slots = {
        "__name__": "model", "__qualname__": "A.model", "__annotations__": {}, "__kwdefaults__": None,
        "__defaults__": (3,), "__module__": "there", "__doc__": "What it does.",
        "__closure__": None, "_cloudpickle_submodules": [os.path], "__globals__": state,
    }  # fmt: skip
    cp._function_setstate(made, (own, slots))
    return made


def _code(source: str, name: str) -> types.CodeType:
    namespace: dict[str, Any] = {}
    exec(compile(source, "<here>", "exec"), namespace)
    code: types.CodeType = namespace[name].__code__
    return code


@relies_on(
    "cloudpickle",
    f"{_CP}._make_function",
    f"{_CP}._function_setstate",
    why="functions are rebuilt by these, with the globals that they share here and a state of our own making",
)
def _functions() -> None:
    made = _function({"other": lambda x: 10 * x, "inner": 1}, attribute="a")
    assert made() == 31 and made(2) == 21
    assert (made.__qualname__, made.__module__, made.attribute) == ("A.model", "there", "a")
    assert made.__doc__ == "What it does." and made.__globals__["__name__"] == "there"


@relies_on(
    "cloudpickle",
    f"{_CP}._make_empty_cell",
    why="a closure's cells are made first and filled later, as their values may refer to the function",
)
def _empty_cell() -> None:
    cell = cp._make_empty_cell()
    assert type(cell) is types.CellType
    cell.cell_contents = 1
    again = cp._make_empty_cell()
    assert not _is_filled(again)


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


@relies_on(
    "cloudpickle",
    f"{_CP}._class_reduce",
    f"{_CP}._extract_class_dict",
    f"{_CP}._get_bases",
    why="it tells which classes go by name; the others travel with the attributes and bases that it finds",
)
def _classes() -> None:
    variable = typing.TypeVar("variable")

    class Local(typing.Generic[variable]):  # type: ignore[valid-type]
        value = 1

    assert cp._extract_class_dict(Local)["value"] == 1
    assert cp._get_bases(Local) == (typing.Generic[variable],)  # type: ignore[valid-type]
    assert len(cp._class_reduce(Local)) > 2
    assert cp._class_reduce(int) is NotImplemented


@relies_on(
    "CPython",
    "enum.Enum._member_type_",
    why="a member of an enum is made again as a value of the type of its data",
)
def _members() -> None:
    import enum

    class Local(int, enum.Enum):
        ONE = 1

    assert Local._member_type_ is int  # type: ignore[attr-defined]


@relies_on(
    "cloudpickle",
    f"{_CP}._get_or_create_tracker_id",
    f"{_CP}._lookup_class_or_track",
    f"{_CP}._DYNAMIC_CLASS_TRACKER_BY_CLASS",
    f"{_CP}._DYNAMIC_CLASS_TRACKER_BY_ID.*",
    f"{_CP}._DYNAMIC_CLASS_TRACKER_LOCK",
    why="a class that comes back is the live one, and cached results find the classes of this kernel",
)
def _tracker() -> None:
    class Local: ...

    number = cp._get_or_create_tracker_id(Local)
    assert re.fullmatch("[0-9a-f]{32}", number)
    with cp._DYNAMIC_CLASS_TRACKER_LOCK:
        assert cp._DYNAMIC_CLASS_TRACKER_BY_ID.get(number) is Local
        assert Local in cp._DYNAMIC_CLASS_TRACKER_BY_CLASS
    assert cp._lookup_class_or_track(number, None) is Local
    with cp._DYNAMIC_CLASS_TRACKER_LOCK:
        cp._DYNAMIC_CLASS_TRACKER_BY_ID.update({"f" * 32: Local})
    assert cp._lookup_class_or_track("f" * 32, None) is Local


@relies_on(
    "cloudpickle",
    "the id of a class in a pickle",
    why="`result_classes.ids_in` finds by their bytes the classes that a result is an instance of",
)
def _ids_in_pickles() -> None:
    from cloudbutton_backend.result_cache.result_classes import ids_in
    from cloudbutton_backend.worker.pickling import dumps
    from cloudbutton_backend.worker.wire import layout

    class Local: ...

    pieces, _ = layout([dumps(Local())])
    found = ids_in(memoryview(b"".join(bytes(piece) for piece in pieces)))
    assert cp._get_or_create_tracker_id(Local) in found


@relies_on(
    "cloudpickle",
    f"{_CP}._make_typevar",
    f"{_CP}._decompose_typevar",
    f"{_CP}._typevar_reduce",
    why="type variables of the user's own modules travel by value",
)
def _typevars() -> None:
    variable = typing.TypeVar("variable", bound=int)
    made = cp._make_typevar(*cp._decompose_typevar(variable))
    assert made.__bound__ is int
    make, arguments, *_ = cp._typevar_reduce(typing.AnyStr)
    assert make(*arguments) is typing.AnyStr


@relies_on(
    "cloudpickle",
    f"{_CP}._should_pickle_by_reference",
    f"{_CP}.subimport",
    why="of installed modules, functions and classes travel as names unless they were made in a function",
)
def _references() -> None:
    def local() -> None: ...

    assert cp._should_pickle_by_reference(pickle.whichmodule)  # type: ignore[attr-defined]
    assert not cp._should_pickle_by_reference(local)
    assert cp.subimport("os.path") is os.path


@relies_on(
    "cloudpickle",
    "cloudpickle.__file__",
    why="its sources are put into the function for AWS Lambda: all of it lies in one folder, without data",
)
def _sources() -> None:
    folder = Path(cloudpickle.__file__).parent
    assert folder.name == "cloudpickle"
    imported = {name for path in folder.glob("*.py") for name in _imports(path)}
    assert imported - sys.stdlib_module_names <= {"cloudpickle", "numpy"}
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".py", ".pyc"}


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


# -- IPython -------------------------------------------------------------------------------------


@relies_on(
    "ipython",
    "IPython.core.compilerop.code_name",
    "InteractiveShell.compile",
    "InteractiveShell.compile._filename_map",
    "InteractiveShell.compile.flags",
    why="cells go by IPython's own names and numbers, by which its tracebacks show their lines",
)
def _cell_names(shell: Any) -> None:
    from IPython.core.compilerop import code_name

    name = code_name("x = 1", 7)
    assert re.fullmatch(r"<ipython-input-7-\w+>", name) and name != code_name("x = 2", 7)
    shell.run_cell("def raised(): return 1 / 0", store_history=True)
    assert shell.user_ns["raised"].__code__.co_filename in shell.compile._filename_map
    assert isinstance(shell.compile.flags, int)
    shell.compile._filename_map[name] = 7
    assert callable(shell.compile(ast.parse("x = 1"), name, "exec").replace)
    # What we put there stays: IPython's own check forgets what is not in a file.
    linecache.cache[name] = (5, None, ["x = 1\n"], name)
    linecache.checkcache()
    assert linecache.getline(name, 1) == "x = 1\n"


@relies_on(
    "ipython",
    "InteractiveShell.InteractiveTB",
    "InteractiveShell.InteractiveTB.structured_traceback",
    "InteractiveShell.SyntaxTB",
    "InteractiveShell.SyntaxTB.structured_traceback",
    "InteractiveShell.colors",
    why="an error is drawn as IPython draws it, without our frames and in the user's colours",
)
def _tracebacks(shell: Any) -> None:
    try:
        raise ValueError("as it is")
    except ValueError as error:
        drawn = shell.InteractiveTB.structured_traceback(
            type(error), error, error.__traceback__, tb_offset=0
        )
    assert "as it is" in drawn[-1]
    try:
        compile("x ==", "<here>", "exec")
    except SyntaxError as error:
        drawn = shell.SyntaxTB.structured_traceback(type(error), error, [])
    assert any("x ==" in line for line in drawn)
    assert str(shell.colors).lower() == "nocolor"  # as the fixture has it


@relies_on(
    "ipython",
    "_render_traceback_",
    why="an error that has it is drawn by it: ours by their message, the user's without our frames",
)
def _own_tracebacks(shell: Any, capsys: Any) -> None:
    shell.user_ns["Own"] = type(
        "Own", (Exception,), {"_render_traceback_": lambda self: ["drawn by itself"]}
    )
    shell.run_cell("raise Own")
    out, err = capsys.readouterr()
    assert "drawn by itself" in out + err and "Traceback" not in out + err


@relies_on(
    "ipython",
    "InteractiveShell.events.callbacks.*",
    why="what was registered is taken back, also after somebody else took it back",
)
def _events(shell: Any) -> None:
    def heard(info: Any) -> None: ...

    shell.events.register("pre_run_cell", heard)
    assert heard in shell.events.callbacks["pre_run_cell"]
    shell.events.unregister("pre_run_cell", heard)
    assert {"pre_execute", "pre_run_cell", "post_run_cell"} <= shell.events.callbacks.keys()


@relies_on(
    "ipython",
    "what events tell of a cell",
    why="a pressed cell is known by its id; what an interrupted one has started is cancelled",
)
def _told(shell: Any) -> None:
    told: list[Any] = []
    shell.events.register("pre_run_cell", told.append)
    shell.events.register("post_run_cell", told.append)
    try:
        shell.run_cell("raise KeyboardInterrupt", cell_id="the cell")
    finally:
        shell.events.unregister("pre_run_cell", told.append)
        shell.events.unregister("post_run_cell", told.append)
    before, after = told
    assert (before.cell_id, before.raw_cell) == ("the cell", "raise KeyboardInterrupt")
    assert isinstance(after.error_in_exec, KeyboardInterrupt)


@relies_on(
    "ipython",
    "InteractiveShell.transform_ast",
    "the order of events, `ast_transformers` and execution",
    why="a pressed cell's tree is replaced by one call, after all others have transformed it",
)
def _trees(shell: Any) -> None:
    seen: list[str] = []

    class Last:
        def visit(self, tree: ast.Module) -> ast.Module:
            seen.append("tree")
            return ast.parse("replaced = 1")

    heard = functools.partial(seen.append, "cell")
    shell.events.register("pre_run_cell", _taking_anything(heard))
    shell.ast_transformers.append(Last())
    try:
        shell.run_cell("replaced = 0")
        tree = shell.transform_ast(ast.parse("a = 1"))
    finally:
        shell.ast_transformers.pop()
        shell.events.callbacks["pre_run_cell"].clear()
    assert seen[:2] == ["cell", "tree"] and shell.user_ns["replaced"] == 1
    assert ast.unparse(tree) == "replaced = 1"


def _taking_anything(act: Callable[[], Any]) -> Callable[..., Any]:
    return lambda info: act()


@relies_on(
    "ipython",
    "what a cell magic becomes",
    why="the button leaves cells alone that are another magic's, and knows one above a cell",
)
def _magics(shell: Any) -> None:
    from cloudbutton_magic.kernel.execution_hook import cell_magic_of

    tree = ast.parse(shell.transform_cell("%%time -q\nx = 1\n"))
    assert cell_magic_of(tree) == ("time", "-q", "x = 1\n")


@relies_on(
    "ipython",
    "InteractiveShell.magics_manager",
    "InteractiveShell.magics_manager.magics.*",
    why="the magics are taken back when the extension is unloaded",
)
def _registered(shell: Any) -> None:
    assert "time" in shell.magics_manager.magics["cell"]
    assert "time" in shell.magics_manager.magics["line"]


@relies_on(
    "ipython",
    "InteractiveShell.Completer",
    "InteractiveShell.Completer.custom_matchers.*",
    "IPython.core.completer.CompletionContext",
    "IPython.core.completer.SimpleCompletion",
    "IPython.core.completer.context_matcher",
    why="our magics' lines are completed by a matcher beside IPython's own",
)
def _completion(shell: Any) -> None:
    from IPython.core.completer import (
        SimpleCompletion,
        context_matcher,
        provisionalcompleter,
    )

    @context_matcher()  # type: ignore[untyped-decorator]
    def matcher(context: Any) -> dict[str, Any]:
        found = [SimpleCompletion(text="ours", type="magic")] if context.token == "ou" else []
        assert context.text_until_cursor == "ou"
        return {"completions": found, "suppress": True}

    shell.Completer.custom_matchers.append(matcher)
    try:
        with provisionalcompleter():
            found = [each.text for each in shell.Completer.completions("ou", 2)]
    finally:
        shell.Completer.custom_matchers.remove(matcher)
    assert found == ["ours"]


@relies_on(
    "ipython",
    "IPython.core.display_functions",
    "IPython.core.display_functions.display",
    "IPython.core.display_functions.publish_display_data",
    "IPython.display.display",
    "IPython.display.publish_display_data",
    "IPython.core.formatters.DisplayFormatter",
    "IPython.core.formatters.DisplayFormatter.format",
    why="in workers, `display` is ours, wherever it is imported from, and formats without a shell",
)
def _display() -> None:
    code = (
        "from cloudbutton_backend.worker import output\n"
        "output.patch_ipython(); output.outputs.by_item.clear()\n"
        "import IPython.display, IPython.core.display\n"
        "from IPython.core.display_functions import display\n"
        "for show in (IPython.display.display, display):\n"
        "    show(IPython.display.HTML('<b>here</b>'))\n"
        "IPython.display.publish_display_data({'text/plain': 'plain'})\n"
        "(shown,) = output.outputs.take().values()\n"
        "print([sorted(bundle['data']) for _, bundle in shown])\n"
    )
    assert (
        _python(code)
        == "[['text/html', 'text/plain'], ['text/html', 'text/plain'], ['text/plain']]"
    )


def _python(code: str) -> str:
    root = Path(__file__).resolve().parents[2]
    folders = (root, root / "kernel_magic", root / "backend")
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@relies_on(
    "ipython",
    "IPython.core.magic_arguments.MagicArgumentParser",
    "IPython.core.magic_arguments.argument",
    "IPython.core.magic_arguments.magic_arguments",
    "IPython.core.error.UsageError",
    why="options are parsed and explained by IPython's own decorators; mistakes are errors, not exits",
)
def _arguments() -> None:
    import pytest

    from cloudbutton_backend.errors import UsageError
    from cloudbutton_magic.cells.options import parse_options

    assert parse_options("--workers 3").given == {"workers": 3}
    with pytest.raises(UsageError, match="--workers"):
        parse_options("--workers many")


# -- ipykernel -----------------------------------------------------------------------------------


@relies_on(
    "ipykernel",
    "InteractiveShell.get_parent",
    "the request that a cell came with",
    why="a request has the button's choice and the cell's id as metadata, its front end in the header",
)
def _request(kernel: Any) -> None:
    kernel.run("parent = get_ipython().get_parent()", cell_id="the cell", choice={"on": False})
    assert kernel.value("parent['metadata']['cellId']") == "the cell"
    assert kernel.value("parent['metadata']['cloudbutton']") == {"on": False}
    assert kernel.value("parent['header']['session']") == kernel.client.session.session


@relies_on(
    "ipykernel",
    "InteractiveShell.kernel",
    "InteractiveShell.kernel.raw_input",
    why="before money is spent, the front end is asked as `input()` asks",
)
def _question(kernel: Any) -> None:
    told = kernel.run(
        "answer = get_ipython().kernel.raw_input('May it?')",
        allow_stdin=True,
        answer=lambda prompt: f"heard: {prompt}",
    )
    assert told.is_ok and kernel.value("answer") == "heard: May it?"


@relies_on(
    "ipykernel",
    "the application's connection file",
    why="it names the kernel, which the Cancel button asks the server to interrupt",
)
def _kernel_id(kernel: Any) -> None:
    import inspect

    from jupyter_client.multikernelmanager import MultiKernelManager

    assert os.path.isfile(kernel.value("get_ipython().kernel.parent.connection_file"))
    assert '"kernel-%s.json"' in inspect.getsource(MultiKernelManager)


@relies_on(
    "ipykernel",
    "the name of a cell's code",
    why="code of a cell is told from that of files, as its name is new in every kernel",
)
def _cell_file(kernel: Any) -> None:
    kernel.run("def f(): pass")
    name = kernel.value("f.__code__.co_filename")
    assert "ipykernel" in name or name.startswith("<ipython-input-")


@relies_on(
    "ipykernel",
    "a user expression of a silent, empty request",
    why="JupyterLab asks the kernel by it, without a trace in names, history and outputs",
)
def _expression(kernel: Any) -> None:
    before = kernel.value("get_ipython().execution_count")
    told = kernel.run("", silent=True, expression="1 + 1")
    assert told.expression()["data"]["text/plain"] == "2"
    assert kernel.value("get_ipython().execution_count") == before


# -- Dask: graphs are public, what its tasks are made of is not ----------------------------------

_SPEC: Final = "dask._task_spec"


def _inc(x: int) -> int:
    return x + 1


@relies_on(
    "dask",
    f"{_SPEC}.Task",
    f"{_SPEC}.TaskRef",
    f"{_SPEC}.Alias",
    f"{_SPEC}.DataNode",
    f"{_SPEC}.GraphNode",
    f"{_SPEC}.NestedContainer",
    why="a graph's nodes are looked into: what they use, what they only gather, what must not be sent",
)
def _nodes() -> None:
    from dask._task_spec import Alias, DataNode, GraphNode, List, NestedContainer, Task, TaskRef

    task = Task("b", _inc, TaskRef("a"), key_of_ours=1)
    assert (task.key, task.func, task.args[0].key) == ("b", _inc, "a")
    assert task.kwargs == {"key_of_ours": 1} and set(task.dependencies) == {"a"}
    assert Alias("c", "b").target == "b" and DataNode("d", 7).value == 7
    assert isinstance(List(TaskRef("a"), 1), NestedContainer) and List(TaskRef("a")).args
    assert all(isinstance(node, GraphNode) for node in (task, Alias("c", "b"), DataNode("d", 7)))


@relies_on(
    "dask",
    f"{_SPEC}.convert_legacy_graph",
    f"{_SPEC}.cull",
    f"{_SPEC}.fuse_linear_task_spec",
    f"{_SPEC}.resolve_aliases",
    "dask.core.reverse_dict",
    "dask.core.flatten",
    why="a graph becomes what Dask's own schedulers would run: culled, chains fused, aliases resolved",
)
def _preparing() -> None:
    from dask._task_spec import (
        TaskRef,
        convert_legacy_graph,
        cull,
        fuse_linear_task_spec,
        resolve_aliases,
    )
    from dask.core import flatten, reverse_dict

    given = {
        "a": (_inc, 1),
        "b": (_inc, 7),
        "c": (max, "a", "b"),
        "d": (_inc, "c"),
        "idle": (_inc, 0),
    }
    wanted = {"a", "d"}
    graph = fuse_linear_task_spec(cull(convert_legacy_graph(given), wanted), wanted)
    dependents = reverse_dict({key: node.dependencies for key, node in graph.items()})
    graph = resolve_aliases(graph, wanted, dependents)
    assert set(graph) == {"a", "b", "d"} and graph["d"]({"a": 2, "b": 8}) == 9
    # A fused task's own graph, which of its keys counts, the names of what it is given, and that.
    own, key, names, *rest = graph["d"].args
    assert set(own) == {"c", "d"} and key == "d"
    # Dask 2025.1 refers by an `Alias`, later ones by a `TaskRef`.
    refers_to = [each.key if isinstance(each, TaskRef) else each.target for each in rest]
    assert dict(zip(names, refers_to)) == {"a": "a", "b": "b"}
    assert set(flatten([["a", ["b"]]])) == {"a", "b"}


@relies_on(
    "dask",
    "dask.local.get_async",
    "dask.local.synchronous_executor",
    "dask.local.synchronous_executor.submit",
    why="Dask's own scheduler decides what comes next; ours only runs what it submits",
)
def _scheduling() -> None:
    from dask._task_spec import DataNode, Task, TaskRef
    from dask.local import get_async, synchronous_executor

    submitted: list[Any] = []

    class Workers(int):
        def __sub__(self, under_way: int) -> int:  # how many more are sent is asked like this
            return 1 - under_way

    def submit(function: Any, tasks: list[Any]) -> Any:
        key, (task, values), *_ = tasks[0]
        submitted.append((key, task.func, dict(values)))
        future = synchronous_executor.submit(function, tasks)
        ((done, (value, _), failed),) = future.result()
        assert (done, failed) == (key, False)
        answer: Future[Any] = Future()
        answer.set_result([(key, (10 * value, os.getpid()), False)])
        return answer

    graph = {
        "a": DataNode("a", 1),
        "b": Task("b", _inc, TaskRef("a")),
        "c": Task("c", _inc, TaskRef("b")),
    }
    assert get_async(submit, Workers(4), graph, ["c"], get_id=os.getpid, chunksize=1) == (210,)
    assert submitted == [("b", _inc, {"a": 1}), ("c", _inc, {"b": 20})]


@relies_on(
    "dask",
    "errors of tasks in `get_async`",
    why="a task's error is handed to Dask in the form in which its own workers do",
)
def _failing() -> None:
    import pytest
    from dask._task_spec import Task
    from dask.local import get_async

    def submit(_: Any, tasks: list[Any]) -> Any:
        answer: Future[Any] = Future()
        error = ValueError("of the task")
        answer.set_result([(tasks[0][0], (error, error.__traceback__), True)])
        return answer

    with pytest.raises(ValueError, match="of the task"):
        get_async(submit, 1, {"b": Task("b", _inc, 1)}, ["b"], get_id=os.getpid, chunksize=1)


@relies_on(
    "dask",
    "functions that gather or store, by name",
    "optimization.fuse.active",
    why="what puts a collection together is not sent out again; what writes to an array here is refused",
)
def _by_name() -> None:
    import dask
    import dask.array.core
    import dask.bag.core
    import dask.dataframe.core

    from cloudbutton_ext.integrations.dask_graphs import graphs

    for module, name in graphs._GATHERING:
        assert callable(getattr(sys.modules[module], name)), (module, name)
    assert callable(dask.array.core.load_store_chunk)
    assert dask.config.get("optimization.fuse.active", "none") in (None, True)


# -- distributed: the client's methods are documented, what they stand on is not ------------------


@relies_on(
    "distributed",
    "Client.loop",
    "Client.loop.add_callback",
    "Client.loop.asyncio_loop",
    "Client.sync",
    "Client.status",
    why="calls are followed on the client's own loop, and no question waits for ever",
)
def _loop(client: Any) -> None:
    import pytest

    async def answered() -> int:
        return 7

    async def never() -> None:
        await asyncio.Event().wait()

    assert client.sync(answered, callback_timeout=10) == 7
    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
        client.sync(never, callback_timeout=0.01)
    done: Future[Any] = Future()
    client.loop.add_callback(done.set_result, 1)
    assert done.result(10) == 1
    assert asyncio.run_coroutine_threadsafe(answered(), client.loop.asyncio_loop).result(10) == 7
    assert client.status == "running"


@relies_on(
    "distributed",
    "Client.scheduler",
    "Client.scheduler.address",
    "Client.scheduler.identity",
    "Client.scheduler.who_has",
    "Client.scheduler.processing",
    "Client.cluster",
    why="who works there, with how much; and what of a detached job is done, runs or waits",
)
def _scheduler(client: Any) -> None:
    assert client.scheduler.address.startswith("inproc://")
    assert client.cluster is not None
    found = client.sync(client.scheduler.identity, callback_timeout=10)
    ((_, worker),) = found["workers"].items()
    assert worker["nthreads"] == 1 and worker["resources"] == {"gpu": 1}
    assert worker["memory_limit"] is None or worker["memory_limit"] >= 0
    future = client.submit(_inc, 1, key="held")
    assert future.result(10) == 2
    assert client.sync(client.scheduler.who_has, keys=["held"])["held"]
    held = client.sync(client.scheduler.processing, workers=None)
    assert [list(keys) for keys in held.values()] == [[]]


@relies_on(
    "distributed",
    "what `get_versions` tells",
    why="versions are compared before any code of ours runs there",
)
def _versions(client: Any) -> None:
    import platform

    found = client.get_versions(check=False)
    for said in (found["scheduler"], *found["workers"].values()):
        assert str(said["host"]["python"]).split(".final")[0] == platform.python_version()
        assert said["packages"]["cloudpickle"] == cloudpickle.__version__
        assert said["packages"]["distributed"]


@relies_on(
    "distributed",
    "Worker.plugins.*",
    "distributed.get_worker.plugins.*",
    "Worker.local_directory",
    "Worker.memory_manager",
    "Worker.memory_manager.memory_limit",
    "Worker.state",
    "Worker.state.nthreads",
    "Worker.state.tasks.*",
    why="processes beside a worker get its folder, memory and threads, and stop when a task is taken from it",
)
def _worker(client: Any) -> None:
    from distributed import WorkerPlugin, get_worker

    class Plugin(WorkerPlugin):  # type: ignore[misc]
        name = "ours"
        idempotent = True

        def setup(self, worker: Any) -> None:
            limit = worker.memory_manager.memory_limit or 0
            self.found = (os.path.isdir(worker.local_directory), worker.state.nthreads, limit >= 0)

    def look() -> Any:
        worker = get_worker()
        (task,) = worker.state.tasks.values()
        return worker.plugins["ours"].found, task.state, task.key == "looking"

    client.register_plugin(Plugin(), name="ours")
    told = client.submit(look, key="looking", pure=False).result(10)
    assert told == ((True, 1, True), "executing", True)


@relies_on(
    "distributed",
    "a function that runs on a worker is given it",
    "`fifo_timeout`",
    why="calls that run are stopped by a message to their workers; a job's calls run in their order",
)
def _run(client: Any) -> None:
    def told(dask_worker: Any = None) -> bool:
        return dask_worker.plugins is not None

    assert list(client.run(told, on_error="ignore", callback_timeout=10).values()) == [True]
    assert client.submit(_inc, 1, pure=False, fifo_timeout=0).result(10) == 2


@relies_on(
    "distributed",
    "Client.list_datasets",
    "Client.get_dataset",
    "Client.publish_dataset",
    "Client.unpublish_dataset",
    why="a detached job's calls are wanted by name, with a structure of ours around their futures",
)
def _published(client: Any) -> None:
    future = client.submit(_inc, 5, pure=False)
    client.publish_dataset({"parts": [(0, 1)], "futures": [future]}, name="cloudbutton-x")
    assert "cloudbutton-x" in client.list_datasets(callback_timeout=10)
    found = client.get_dataset("cloudbutton-x", default=None, callback_timeout=10)
    assert found["futures"][0].result(timeout=10) == 6 and tuple(found["parts"][0]) == (0, 1)
    client.unpublish_dataset("cloudbutton-x")
    assert client.get_dataset("cloudbutton-x", default=None, callback_timeout=10) is None


@relies_on(
    "distributed",
    "distributed.KilledWorker",
    why="its error says how often workers died, and where last",
)
def _killed() -> None:
    from types import SimpleNamespace

    from distributed import KilledWorker

    error = KilledWorker("key", SimpleNamespace(address="tcp://there"), 3)
    assert (error.allowed_failures, error.last_worker.address) == (3, "tcp://there")


# -- botocore ------------------------------------------------------------------------------------


@relies_on(
    "botocore",
    "botocore.session.Session",
    "botocore.session.Session.get_available_regions",
    "botocore.loaders.create_loader",
    "botocore.xform_name",
    why="one session for each account, with the descriptions of services read once for all of them",
)
def _session(monkeypatch: Any) -> None:
    import botocore.loaders
    import botocore.session
    from botocore import xform_name

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    session = botocore.session.Session(profile=None)
    session.register_component("data_loader", botocore.loaders.create_loader())
    assert session.get_config_variable("region") == "eu-central-1"
    session.set_credentials("key", "secret", "token")
    found = session.get_credentials().get_frozen_credentials()
    assert (found.access_key, found.secret_key, found.token) == ("key", "secret", "token")
    assert "eu-central-1" in session.get_available_regions("lambda")
    client = session.create_client("lambda", region_name="eu-central-1")
    assert callable(getattr(client, xform_name("GetFunctionConfiguration")))
    assert client.get_paginator(xform_name("ListFunctions"))


@relies_on(
    "botocore",
    "botocore.httpsession.get_cert_path",
    why="requests that do not go through it trust whom it trusts",
)
def _authorities() -> None:
    import botocore.httpsession

    assert os.path.exists(botocore.httpsession.get_cert_path(True))


@relies_on(
    "botocore",
    "the words of its errors",
    why="what AWS refuses is told by its code, and what was never sent by the exception's type",
)
def _errors() -> None:
    from botocore import exceptions as aws

    error = aws.ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetFunction")
    assert error.response["Error"]["Code"] == "AccessDenied"
    assert issubclass(aws.NoCredentialsError, aws.BotoCoreError)
    assert issubclass(aws.EndpointConnectionError, aws.BotoCoreError)


# -- what the emulator of Lambda is made of ------------------------------------------------------


@relies_on(
    "awslambdaric",
    "awslambdaric.__main__.main",
    "modules of the runtime client",
    why="code runs in the emulator under AWS's own client, which is imported once and forked",
)
def _runtime_client() -> None:
    import importlib

    from awslambdaric.__main__ import main

    from cloudbutton_backend.backends.aws_lambda.emulator import zygote, zygote_client

    assert callable(main)
    for name in zygote._PRELOADED:
        importlib.import_module(name)
    for name in zygote_client.PACKAGES:
        assert importlib.util.find_spec(name) is not None, name


@relies_on(
    "moto",
    "moto.moto_server.werkzeug_app.DomainDispatcherApplication",
    "moto.moto_server.werkzeug_app.create_backend_app",
    why="moto's server runs behind a socket and a recorder of ours",
)
def _moto() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.test import Client

    application = DomainDispatcherApplication(create_backend_app)
    answered = Client(application).get("/nothing", headers={"Host": "s3.amazonaws.com"})
    assert answered.status_code == 404 and b"NoSuchBucket" in answered.data


# -- the Jupyter server --------------------------------------------------------------------------


@relies_on(
    "jupyter_server",
    "jupyter_server.auth.decorator.authorized",
    "jupyter_server.auth.decorator.ws_authenticated",
    "jupyter_server.base.handlers.APIHandler",
    "jupyter_server.base.handlers.APIHandler._track_activity",
    "jupyter_server.base.handlers.JupyterHandler",
    "jupyter_server.base.websocket.WebSocketMixin",
    "jupyter_core.utils.ensure_async",
    "jupyter_server.utils.url_path_join",
    why="endpoints ask the server's own login and authorizer; looking at jobs keeps no idle server alive",
)
def _handlers() -> None:
    from types import SimpleNamespace

    from jupyter_server.auth.decorator import authorized, ws_authenticated
    from jupyter_server.base.handlers import APIHandler, JupyterHandler
    from jupyter_server.base.websocket import WebSocketMixin
    from jupyter_server.utils import url_path_join

    settings: dict[str, Any] = {}
    handler = object.__new__(type("Looking", (APIHandler,), {"_track_activity": False}))
    handler.application = SimpleNamespace(settings=settings)
    handler.update_api_activity()
    assert settings == {}
    assert {"authorizer", "current_user"} <= set(dir(JupyterHandler))
    assert {"open", "check_origin", "ping_interval"} <= set(dir(WebSocketMixin))
    assert callable(authorized) and callable(ws_authenticated)
    assert url_path_join("/base/", "cloudbutton", "api") == "/base/cloudbutton/api"


@relies_on(
    "jupyter_server",
    "what a Jupyter server starts kernels with",
    why="a kernel knows its notebook by JPY_SESSION_NAME, until the page tells where it is now",
)
def _session_name() -> None:
    import inspect

    from jupyter_server.services.sessions.sessionmanager import SessionManager

    assert '"JPY_SESSION_NAME"' in inspect.getsource(SessionManager)


# -- JupyterLab's pages: names that its style sheets and scripts must know ------------------------


@functools.cache
def _pages() -> str:
    """Return all scripts, style sheets and pages of the installed JupyterLab."""
    folder = Path(sys.prefix) / "share" / "jupyter" / "lab"
    kinds = {".js", ".css", ".html"}
    files = [p for part in ("static", "themes") for p in sorted((folder / part).rglob("*"))]
    return "\n".join(p.read_text(encoding="utf-8") for p in files if p.suffix in kinds)


def _in_jupyterlab(name: str) -> None:
    found = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", _pages())
    assert found, f"JupyterLab has no {name} any more"


#: By name, why the extension uses it.
IN_PAGES: Final[dict[str, str]] = {
    "jp-CodeCell": "the menu of a cell is that of code cells",
    "jp-InputArea": "a cell's badge is laid over it, so that nothing moves",
    "jp-Notebook": "shortcuts and menus hold in notebooks",
    "jp-Toolbar": "the cloud in a toolbar is coloured while it is on",
    "jp-cell-toolbar": "the active cell has its badge there",
    "jp-icon-selectable": "the cloud's colour follows the selection, as that of other icons",
    "jp-icon3": "icons are drawn in the theme's third colour",
    "jp-mainmenu-run": "the button is in the menu Run",
    "jp-mod-accept": "what a button of the panel does is shown by its colour",
    "jp-mod-commandMode": "the shortcut holds in both modes of a notebook",
    "jp-mod-editMode": "the shortcut holds in both modes of a notebook",
    "jp-mod-minimal": "buttons of the panel look like JupyterLab's",
    "jp-mod-readWrite": "the shortcut does not hold where text is typed",
    "jp-mod-styled": "inputs and buttons of the panel look like JupyterLab's",
    "jp-mod-warn": "what a button of the panel does is shown by its colour",
    "lm-mod-hidden": "what is hidden in the panel is hidden like the rest",
    "lm-mod-toggled": "the cloud in a toolbar is coloured while it is on",
    "data-jp-theme-name": "charts are drawn again when the theme changes",
    "jupyter-config-data": "the Cancel button finds the server's address and token in the page",
    **{
        f"--jp-{name}": "colours and sizes are the theme's"
        for name in (
            "accent-color1", "border-color1", "border-color2", "border-color3", "border-radius",
            "border-width", "brand-color1", "brand-color3", "cell-editor-background",
            "cell-editor-border-color", "cell-prompt-width", "code-font-family", "code-font-size",
            "code-padding", "content-font-color1", "content-link-color", "error-color1",
            "inverse-layout-color4", "layout-color1", "layout-color2", "layout-color3",
            "layout-color4", "rendermime-error-background", "success-color1", "ui-font-color1",
            "ui-font-color2", "ui-font-color3", "ui-font-family", "ui-font-size0", "ui-font-size1",
            "ui-font-size2", "ui-font-size3", "warn-color1",
        )
    },
}  # fmt: skip
for _name, _why in IN_PAGES.items():
    relies_on("jupyterlab", _name, why=_why)(functools.partial(_in_jupyterlab, _name))


@relies_on(
    "jupyterlab",
    "NotebookActions.executionScheduled",
    why="the kernel is made ready by a request of ours that is sent before the cell's (`scheduling.ts`); "
    "tests/e2e runs it in a browser",
)
def _scheduled() -> None:
    _in_jupyterlab("executionScheduled")


# -- joblib, pandas, NumPy -----------------------------------------------------------------------


@relies_on(
    "joblib",
    "joblib.parallel.AutoBatchingMixin",
    "joblib.parallel.FallbackToBackend",
    "joblib.parallel.ParallelBackendBase",
    "joblib.parallel.SequentialBackend",
    why="its backends are made of these, whose documentation is joblib's own backends",
)
def _joblib() -> None:
    from joblib.parallel import (
        AutoBatchingMixin,
        FallbackToBackend,
        ParallelBackendBase,
        SequentialBackend,
    )

    assert FallbackToBackend(SequentialBackend(nesting_level=1)).backend.nesting_level == 1
    assert {"compute_batch_size", "batch_completed", "reset_batch_stats"} <= set(
        dir(AutoBatchingMixin)
    )
    assert {"configure", "effective_n_jobs", "terminate", "abort_everything", "start_call",
            "stop_call"} <= set(dir(ParallelBackendBase))  # fmt: skip
    assert hasattr(ParallelBackendBase, "submit") or hasattr(ParallelBackendBase, "apply_async")


@relies_on(
    "pandas",
    "_mgr",
    "blocks",
    why="frames that share memory, or that a loop has changed, are told by the arrays they hold",
)
def _frames() -> None:
    import numpy
    import pandas

    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    arrays = [block.values for block in frame._mgr.blocks]
    assert sum(array.size for array in arrays if isinstance(array, numpy.ndarray)) == 4
    column = pandas.Series([1, 2])
    assert [block.values.tolist() for block in column._mgr.blocks] == [[1, 2]]


@relies_on(
    "pandas",
    "_registered_options",
    "_deprecated_options",
    "_global_config",
    why="tasks have the options that the notebook has changed",
)
def _options() -> None:
    code = (
        "import pandas\n"
        "from cloudbutton_backend.worker.process_state import apply_state, current_state\n"
        "pandas.set_option('display.max_rows', 7); print(current_state()['the options of pandas'])\n"
        "apply_state({}); print(pandas.get_option('display.max_rows'))"
    )
    assert _python(code).split("\n") == ["{'display.max_rows': 7}", "60"]


@relies_on("pandas", "_accessor", why="accessors of the notebook go where its functions go")
def _accessors() -> None:
    import pandas

    assert vars(pandas.Series)["str"]._accessor is pandas.Series.str


@relies_on(
    "scikit-learn",
    "_config._global_config",
    why="what the notebook has set is told from the defaults",
)
def _configuration() -> None:
    import sklearn
    from sklearn import _config

    with sklearn.config_context(assume_finite=not sklearn.get_config()["assume_finite"]):
        assert sklearn.get_config() != _config._global_config


@relies_on(
    "numpy",
    "_rand",
    "_bit_generator",
    why="whether the global generator was seeded decides if a loop may draw from it elsewhere",
)
def _seeded() -> None:
    code = (
        "import numpy\n"
        "from cloudbutton_magic.button.loop_run import _numpy_is_seeded\n"
        "before = _numpy_is_seeded(); numpy.random.seed(1); print(before, _numpy_is_seeded())"
    )
    assert _python(code) == "False True"


# -- CPython -------------------------------------------------------------------------------------


@relies_on(
    "CPython",
    "_CacheInfo",
    "_lru_cache_wrapper",
    why="functions with a cache travel by value, with an empty one",
)
def _lru_cache() -> None:
    wrapped = functools.lru_cache(maxsize=3)(_inc)
    assert type(wrapped) is functools._lru_cache_wrapper
    again = functools._lru_cache_wrapper(_inc, 3, False, functools._CacheInfo)
    assert again(1) == 2 and again.cache_info().currsize == 1


@relies_on(
    "CPython",
    "_Pickler",
    why="the digest of a value comes of Python's pickler in Python, whose steps can be changed",
)
def _python_pickler() -> None:
    pickler: Any = vars(pickle)["_Pickler"]
    assert {"save", "save_global", "memoize", "_batch_appends", "dispatch"} <= set(dir(pickler))
    file = io.BytesIO()
    pickler(file, 5).dump([1, "two"])
    assert pickle.loads(file.getvalue()) == [1, "two"]


@relies_on(
    "CPython",
    "_args_from_interpreter_flags",
    "_data",
    "_initializing",
    "_base_executable",
    "_SubParsersAction",
    why="workers start as this interpreter was started, and compare environments without decoding them",
)
def _interpreter() -> None:
    import argparse

    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    assert all(isinstance(flag, str) for flag in flags)
    raw: Any = getattr(os.environ, "_data")  # noqa: B009
    assert os.fsdecode(raw[os.environ.encodekey("PATH")]) == os.environ["PATH"]
    assert getattr(sys.__spec__, "_initializing", False) is False
    assert os.path.exists(getattr(sys, "_base_executable", sys.executable))
    assert argparse.ArgumentParser().add_subparsers().__class__ is argparse._SubParsersAction


# -- what is documented --------------------------------------------------------------------------

#: Used as its package's documentation has it, so that no test by name is needed.
DOCUMENTED: Final = frozenset(
    {
        # cloudpickle's README
        "cloudpickle.Pickler.dump", "cloudpickle.__version__", "cloudpickle.dumps", "cloudpickle.loads",
        "cloudpickle.register_pickle_by_value", "cloudpickle.unregister_pickle_by_value",
        # IPython: magics, rich display, events, input transformation, the kernel's execution
        "IPython.display", "IPython.display.DisplayHandle", "_ipython_display_", "IPython.get_ipython",
        "IPython.core.magic.Magics", "IPython.core.magic.cell_magic", "IPython.core.magic.line_magic",
        "IPython.core.magic.magics_class", "IPython.core.magic.no_var_expand",
        "IPython.core.magic.output_can_be_silenced",
        "InteractiveShell.__dict__.*", "InteractiveShell.ast_node_interactivity",
        "InteractiveShell.ast_transformers.*", "InteractiveShell.events",
        "InteractiveShell.events.register", "InteractiveShell.events.unregister",
        "InteractiveShell.execution_count", "InteractiveShell.input_transformers_cleanup",
        "InteractiveShell.input_transformers_cleanup.*", "InteractiveShell.register_magics",
        "InteractiveShell.transform_cell", "InteractiveShell.user_ns.*",
        "IPython.core.inputtransformer2.TransformerManager",
        "IPython.core.inputtransformer2.TransformerManager.transform_cell",
        # Dask's and distributed's reference
        "dask.config", "dask.config.get", "dask.sizeof.sizeof", "distributed.Client",
        "distributed.LocalCluster", "distributed.Security", "distributed.WorkerPlugin",
        "distributed.get_worker", "Client.cancel", "Client.gather", "Client.get_versions",
        "Client.register_plugin", "Client.run", "Client.scatter", "Client.submit",
        "Client.wait_for_workers",
        # botocore's reference
        "botocore.config.Config", "botocore.exceptions.*",
        # tornado and joblib
        "joblib.parallel.register_parallel_backend",
    }
)  # fmt: skip
