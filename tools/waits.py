"""Lists the waits in Python code that nothing ends: `python tools/waits.py [FILE or FOLDER ...]`.

A wait ends when it has a time-out, or when a loop around a bounded one looks whether what it waits for
can still come. What is neither must say in a comment on its first line (or on the line above, alone)
what ends it, as in::

    self._wake.wait()  # ends: with close(), which sets it; the thread is a daemon

Such a comment without a wait is reported, too. `with lock:` is not a wait in this sense: locks are
held for a few statements. That nothing waits while it holds one is a rule of its own: here, the
calls below are reported inside `with …lock…:` even if they have a time-out.

Names decide, as there are no types: a method called like one that waits has to look like one that ends.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = re.compile(r"#\s*ends:\s*(.*)")
#: A reason is a phrase, no mere "yes".
REASON_WORDS: Final = 3

#: Where these are named in a loop around a bounded wait, the loop looks at the time or for life.
_SIGNS_OF_AN_END: Final = re.compile(
    r"deadline|limit\b|until|patience|monotonic|clock|remaining|\bleft\b|alive|closing|closed|stop|cancel|"
    r"is_over|is_final|is_set|exited|getppid|poll\(\)|range\(|tries|attempt|aborted|"
    r"_ended|\bended\b|done\(\)|expired|shut|is_running"
)

_RECEIVING: Final = {"recv", "recv_bytes", "recv_into", "recvfrom", "recvmsg", "sendall"}
_SUBPROCESS: Final = {"run", "call", "check_call", "check_output"}
_HTTP: Final = {"urlopen", "HTTPConnection", "HTTPSConnection"}
_OF_DASK: Final = {"gather", "get_versions", "run", "scatter", "sync", "wait_for_workers"}
_PIPES: Final = {"stdin", "stdout", "stderr"}
_SIGNALS: Final = {"signal.pause", "signal.sigwait", "signal.sigwaitinfo", "os.wait", "os.wait3"}


@dataclass(frozen=True)
class Wait:
    """A wait that may have no end."""

    path: str
    line: int
    call: str
    reason: str | None
    """What the code says ends it."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.call}" + (
            f"  ({self.reason})" if self.reason else ""
        )


def waits_in(source: str, path: str = "") -> list[Wait]:
    """Return the waits without an end in Python code, those with a reason and stray reasons included."""
    tree = ast.parse(source)
    marks = _marks(source)
    found: dict[int, str] = {}
    for line, call in _Module(tree).waits():
        found.setdefault(line, call)
    waits = [Wait(path, line, call, marks.pop(line, None)) for line, call in sorted(found.items())]
    strays = [Wait(path, line, "`# ends:` without a wait", None) for line in sorted(marks)]
    return waits + strays


def unexplained(waits: Sequence[Wait]) -> list[Wait]:
    """Return those that give no reason, or one that is no phrase."""
    return [wait for wait in waits if len((wait.reason or "").split()) < REASON_WORDS]


def _marks(source: str) -> dict[int, str]:
    """Return the reasons by the line they are for."""
    marks = {}
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        match = MARK.match(token.string) if token.type == tokenize.COMMENT else None
        if match:
            row, column = token.start
            is_alone = not lines[row - 1][:column].strip()
            marks[row + is_alone] = match[1]
    return marks


class _Module:
    """One module's tree, and what can be known of the names in it."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._parents = {
            child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)
        }
        self._polls = self._assigned_from("select.poll")
        self._bounded_sockets = self._sockets_that_do_not_block()

    def waits(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                if self._is_endless(node) and not self._is_within_limit(node):
                    yield node.lineno, _shown(node)
                elif self._is_bounded_wait(node) and (lock := self._lock_around(node)):
                    yield node.lineno, f"{_shown(node)} while holding {lock}"
            elif isinstance(node, ast.Await):
                if isinstance(node.value, (ast.Name, ast.Attribute)):
                    yield node.lineno, _shown(node)
            elif isinstance(node, (ast.For, ast.comprehension)):
                if _last(node.iter) in _PIPES:
                    yield node.iter.lineno, f"for … in {_shown(node.iter)}"
            elif isinstance(node, ast.While) and self._polls_for_ever(node):
                yield node.lineno, f"while {_shown(node.test)}: without a look at time or life"

    # -- what a call is

    def _is_endless(self, call: ast.Call) -> bool:
        name = _last(call.func)
        if self._is_looked_at_elsewhere(call):
            return False
        if name in _OF_DASK and _is_clients(call):
            return not (_has_time_out(call) or _keyword(call, "callback_timeout"))
        check = _CHECKS.get(name)
        if check is not None:
            return check(self, call)
        if name in _RECEIVING or (name == "accept" and not call.args):
            return self._is_of_blocking_socket(call)
        if name in _HTTP:
            return not _has_time_out(call)
        return _dotted(call.func) in _SIGNALS

    def _is_looked_at_elsewhere(self, call: ast.Call) -> bool:
        """Whether it is a method of the same class, whose own body is looked at; or of a class above."""
        owner = call.func.value if isinstance(call.func, ast.Attribute) else None
        if isinstance(owner, ast.Call):
            return _last(owner) == "super"
        if not isinstance(owner, ast.Name) or owner.id != "self":
            return False
        around = next((each for each in self._above(call) if isinstance(each, ast.ClassDef)), None)
        return around is not None and any(
            isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
            and each.name == _last(call.func)
            for each in around.body
        )

    def _is_bounded_wait(self, call: ast.Call) -> bool:
        """Whether it waits, though not for ever."""
        if _dotted(call.func) == "time.sleep":
            return True
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant):
            return False
        return _last(call.func) in {"wait", "join", "result"} and _has_time_out(call, at=0)

    def _polls_for_ever(self, loop: ast.While) -> bool:
        """Whether a loop repeats a bounded wait and nothing in it looks at the time or for life."""
        body = [node for statement in loop.body for node in ast.walk(statement)]
        calls = [node for node in body if isinstance(node, ast.Call)]
        if any(self._is_endless(call) for call in calls):
            return False  # reported by itself
        return any(map(self._is_bounded_wait, calls)) and not _SIGNS_OF_AN_END.search(
            ast.unparse(loop)
        )

    def receives(self, call: ast.Call) -> bool:
        """Whether it reads from a pipe, which may stay silent."""
        return isinstance(call.func, ast.Attribute) and _last(call.func.value) in _PIPES

    def waits_first(self, call: ast.Call) -> bool:
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant):
            return False  # text that joins others
        if _dotted(call.func) in {"asyncio.wait", "concurrent.futures.wait", "futures.wait"}:
            return not _has_time_out(call, at=1)
        return not _has_time_out(call, at=0)

    def waits_for_turn(self, call: ast.Call) -> bool:
        if any(_is(value, False) for value in [*call.args[:1], _keyword(call, "blocking")]):
            return False
        return not _has_time_out(call, at=1)

    def gets(self, call: ast.Call) -> bool:
        if call.args and not _is(call.args[0], True):
            return False  # a mapping's
        if _is(_keyword(call, "block"), False):
            return False
        return not _has_time_out(call, at=1)

    def has_result(self, call: ast.Call) -> bool:
        """Whether `.result()` may wait: not that of an asyncio future, nor of one known to be done."""
        if _has_time_out(call, at=0) or not isinstance(call.func, ast.Attribute):
            return False
        is_done = f"{_shown(call.func.value)}.done()"
        for node in self._above(call):
            if isinstance(node, ast.AsyncFunctionDef) or _dotted(
                call.func.value
            ) in _asyncio_futures(node):
                return False
            if isinstance(node, (ast.BoolOp, ast.If, ast.IfExp)) and is_done in _shown(
                node.test if isinstance(node, (ast.If, ast.IfExp)) else node
            ):
                return False
        return True

    def polls(self, call: ast.Call) -> bool:
        if isinstance(call.func, ast.Attribute) and _last(call.func.value) in self._polls:
            return not _has_time_out(call, at=0)
        return bool(call.args) and _is(call.args[0], None)

    def selects(self, call: ast.Call) -> bool:
        return not _has_time_out(call, at=3 if _dotted(call.func) == "select.select" else 0)

    # -- where a call is

    def _above(self, node: ast.AST) -> Iterator[ast.AST]:
        while (above := self._parents.get(node)) is not None:
            yield above
            node = above

    def _is_within_limit(self, call: ast.Call) -> bool:
        """Whether it is what an `asyncio.wait_for` with a time-out waits for."""
        return any(
            isinstance(node, ast.Call) and _last(node.func) == "wait_for" and _has_time_out(node, at=1)
            for node in self._above(call)
        )  # fmt: skip

    def _lock_around(self, call: ast.Call) -> str | None:
        """Return the lock that is held while it waits, unless waiting gives it back."""
        for node in self._above(call):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                return None
            for item in node.items if isinstance(node, ast.With) else ():
                if "lock" in _last(item.context_expr).lower():
                    return _shown(item.context_expr)
        return None

    def _sockets_that_do_not_block(self) -> set[str]:
        found = {
            _last(node.func.value)
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and (
                (node.func.attr == "setblocking" and _is(node.args[0], False))
                or (node.func.attr == "settimeout" and not _is(node.args[0], None))
            )
        }
        return found | {
            _last(target)
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Assign) and _last(node.value) in found
            for target in node.targets
        }

    def _is_of_blocking_socket(self, call: ast.Call) -> bool:
        return (
            isinstance(call.func, ast.Attribute)
            and _last(call.func.value) not in self._bounded_sockets
        )

    def _assigned_from(self, maker: str) -> set[str]:
        return {
            _last(target)
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and _dotted(node.value.func) == maker
            for target in node.targets
        }


#: By name of the function or method: whether a call of it may wait for ever.
_CHECKS: Final[dict[str, Callable[[_Module, ast.Call], bool]]] = {
    "acquire": _Module.waits_for_turn,
    "as_completed": lambda _, call: (
        "futures" in _shown(call.func) and not _has_time_out(call, at=1)
    ),
    "communicate": lambda _, call: not _has_time_out(call, at=1),
    "connect": lambda _, call: _dotted(call.func) == "sqlite3.connect" and not _has_time_out(call),
    "create_connection": lambda _, call: not _has_time_out(call, at=1),
    "exception": _Module.has_result,
    "flock": lambda _, call: not re.search(r"LOCK_NB|LOCK_UN", _shown(call)),
    "gather": lambda _, call: _dotted(call.func) == "asyncio.gather",
    "get": _Module.gets,
    "input": lambda _, call: isinstance(call.func, ast.Name),
    "join": _Module.waits_first,
    "lockf": lambda _, call: not re.search(r"LOCK_NB|LOCK_UN", _shown(call)),
    "poll": _Module.polls,
    "raw_input": lambda _, call: True,
    "read": lambda self, call: _dotted(call.func) == "os.read" or self.receives(call),
    "readline": _Module.receives,
    "result": _Module.has_result,
    "select": _Module.selects,
    "shutdown": lambda _, call: not call.args and not _is(_keyword(call, "wait"), False),
    "wait": _Module.waits_first,
    "wait_for": lambda _, call: not _has_time_out(call, at=1),
    "waitpid": lambda _, call: "WNOHANG" not in _shown(call),
    **dict.fromkeys(
        _SUBPROCESS,
        lambda _, call: _shown(call.func).startswith("subprocess.") and not _has_time_out(call),
    ),
    **dict.fromkeys(
        ("ThreadPoolExecutor", "ProcessPoolExecutor"),
        lambda self, call: isinstance(self._parents[call], ast.withitem),
    ),
}


def _asyncio_futures(node: ast.AST) -> set[str]:
    """Return the names of a function's arguments that are asyncio's futures: their `result()` never waits."""
    arguments = node.args.args if isinstance(node, ast.FunctionDef) else []
    return {
        each.arg
        for each in arguments
        if each.annotation is not None and _shown(each.annotation).startswith("asyncio.")
    }


def _is_clients(call: ast.Call) -> bool:
    """Whether it is a method of a Dask client, which a frozen worker can hold up."""
    return isinstance(call.func, ast.Attribute) and _last(call.func.value) == "client"


def _has_time_out(call: ast.Call, at: int | None = None) -> bool:
    """Whether a call says how long: by the name `timeout`, or as argument number `at`."""
    given = _keyword(call, "timeout")
    if given is None and at is not None and len(call.args) > at:
        given = call.args[at]
    if any(keyword.arg is None for keyword in call.keywords):
        return True  # among `**options`, for all we know
    return given is not None and not _is(given, None)


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _last(node: ast.AST) -> str:
    """Return the last name of `a.b.c`, called or not."""
    if isinstance(node, ast.Call):
        return _last(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 80 else f"{text[:79]}…"


def main(arguments: Sequence[str]) -> int:
    """Print the waits of files and folders that nothing ends; return 1 if there are any."""
    paths = [Path(each) for each in arguments or ("backend", "kernel_magic", "cloudbutton_ext")]
    files = [each for path in paths for each in (sorted(path.rglob("*.py")) or [path])]
    waits = [
        wait for file in files for wait in waits_in(file.read_text(encoding="utf-8"), str(file))
    ]
    endless = unexplained(waits)
    for wait in endless:
        print(wait)
    print(
        f"{len(endless)} waits without an end; {len(waits) - len(endless)} say what ends them.",
        file=sys.stderr,
    )
    return bool(endless)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
