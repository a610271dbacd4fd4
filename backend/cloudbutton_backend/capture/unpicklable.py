"""Values that cannot travel to a worker, what to do instead, and the errors that say so."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cloudbutton_backend.capture.user_modules import top_level
from cloudbutton_backend.errors import CaptureError


class CannotTravel(CaptureError):
    """A captured value is of a kind that has no meaning in another process."""

    def __init__(self, path: str, what: str, advice: str) -> None:
        super().__init__(path, what, advice)  # args only, so it survives pickling
        self.path, self.what, self.advice = path, what, advice

    def __str__(self) -> str:
        return f"`{self.path}` is {self.what}; it cannot travel to a worker.\n{self.advice}"


class NotPicklable(CaptureError):
    """A captured value could not be pickled, for a reason of its own."""

    def __init__(self, path: str, type_name: str, reason: str) -> None:
        super().__init__(path, type_name, reason)
        self.path, self.type_name, self.reason = path, type_name, reason

    def __str__(self) -> str:
        return (
            f"`{self.path}` (a {self.type_name}) cannot be pickled, so it cannot travel to a "
            f"worker: {self.reason}.\n"
            f"Make it inside the function, or give the class a `__getstate__` that leaves out "
            f"what belongs to this process."
        )


class TooDeep(CaptureError):
    """A captured value is nested deeper than Python can pickle."""

    def __init__(self, path: str, type_name: str, limit: int) -> None:
        super().__init__(path, type_name, limit)
        self.path, self.type_name, self.limit = path, type_name, limit

    def __str__(self) -> str:
        return (
            f"`{self.path}` (a {self.type_name}) is nested too deeply to be pickled: Python's "
            f"recursion limit is {self.limit}.\n"
            f"Keep it flat (a list of nodes that refer to each other by index), or call "
            f"`sys.setrecursionlimit(…)` with more before the run."
        )


class RefusedObject(Exception):
    """Raised inside the pickler when it meets a refused object; never seen by users."""

    def __init__(self, value: object, refusal: UnpicklableReason) -> None:
        super().__init__(value, refusal)
        self.value, self.refusal = value, refusal


@dataclass(frozen=True)
class UnpicklableReason:
    """One kind of value that stays here."""

    what: str
    """What it is, in the user's words; follows "is"."""
    advice: str
    """What to do instead; a sentence."""
    applies: Callable[[Any], bool] | None = None
    """For types of which only some instances are refused."""


def _on_gpu(tensor: Any) -> bool:
    return bool(getattr(tensor, "is_cuda", False))


_LOCK = UnpicklableReason(
    "a lock, or is built on one",
    "Locks work inside one process only, and items share no memory with each other: "
    "make it inside the function, or leave it out.",
)
_FILE = UnpicklableReason(
    "an open file",
    "Keep its path instead, and open the file inside the function.",
)
_SOCKET = UnpicklableReason(
    "a network connection",
    "Keep the address, and connect inside the function.",
)
_DATABASE = UnpicklableReason(
    "a database connection",
    "Keep the path or URL of the database, and connect inside the function; "
    "or read what is needed into a variable first.",
)
_GENERATOR = UnpicklableReason(
    "a generator",
    "It can be run only here, and only once: turn it into a list first, e.g. `rows = list(rows)`.",
)
_ITERATOR = UnpicklableReason(
    "an iterator",
    "Every item would start it from the same place: turn it into a list first, "
    "or make it the iterable that is mapped.",
)
_COROUTINE = UnpicklableReason(
    "a coroutine or task of this process's event loop",
    "`await` it first and use its result.",
)
_THREAD = UnpicklableReason("a thread", "Start threads inside the function, if it needs them.")
_PROCESS = UnpicklableReason(
    "a process that runs on this machine", "Start it inside the function, if it needs one."
)
_EXECUTOR = UnpicklableReason(
    "a pool or executor of this process",
    "The items run in parallel already; leave the pool out of the function.",
)
_FUTURE = UnpicklableReason(
    "a result that may not have arrived yet", "Wait for it first: use `.result()` of it."
)
_CLIENT = UnpicklableReason(
    "a connection to a cluster", "Leave it out of the function; submit work from here only."
)
_JOB = UnpicklableReason(
    "a Cloud Button object of this kernel",
    "Use its results (`job.results()`) in the function, not the object itself.",
)
_GPU = UnpicklableReason(
    "an object in the memory of this process's GPU",
    "Bring it to the CPU first (`.cpu()`), and move it to a GPU inside the function.",
)
_WEAKREF = UnpicklableReason(
    "a weak reference",
    "It means nothing in another process: use the object itself instead.",
)
_FRAME = UnpicklableReason(
    "a frame or traceback of running code",
    "Format it as text first, e.g. `traceback.format_exc()`.",
)
_SHELL = UnpicklableReason(
    "the notebook's own shell (IPython)",
    "Magics, `!commands` and `get_ipython()` work only here: "
    "use `subprocess.run` or plain Python in the function.",
)
_WIDGET = UnpicklableReason(
    "a widget shown in this notebook",
    "Read its value into a variable first, e.g. `n = slider.value`, and use that.",
)
_PROGRESS = UnpicklableReason(
    "a progress bar of this process",
    "Leave it out of the function: the live view under the cell shows progress.",
)
_DATA_FILE = UnpicklableReason(
    "an open data file",
    "Keep its path instead and open it inside the function, or read what is needed first.",
)
_SERVICE = UnpicklableReason(
    "a client of a web service",
    "It holds connections and credentials: make the client inside the function.",
)
_LOCAL = UnpicklableReason(
    "a context or thread-local value of this process",
    "Keep the values it holds in plain variables.",
)

#: By the full name of a class or of one of its bases; nothing has to be imported to ask.
_BY_NAME: Final[dict[str, UnpicklableReason]] = {
    **dict.fromkeys(
        [
            "_thread.lock",
            "_thread.RLock",
            "threading._RLock",
            "threading.Condition",
            "threading.Semaphore",
            "threading.Event",
            "threading.Barrier",
            "queue.Queue",
            "_queue.SimpleQueue",
            "asyncio.locks.Lock",
            "multiprocessing.synchronize.SemLock",
            "multiprocessing.queues.Queue",
            "multiprocessing.queues.SimpleQueue",
        ],
        _LOCK,
    ),
    "_io._IOBase": _FILE,
    "io.IOBase": _FILE,
    "mmap.mmap": _FILE,
    "tempfile._TemporaryFileWrapper": _FILE,
    "zipfile.ZipFile": _FILE,
    "tarfile.TarFile": _FILE,
    "_csv.reader": _FILE,
    "_csv.writer": _FILE,
    "posix.ScandirIterator": _FILE,
    "h5py._hl.base.HLObject": _DATA_FILE,
    "netCDF4._netCDF4.Dataset": _DATA_FILE,
    "pandas.io.pytables.HDFStore": _DATA_FILE,
    "_socket.socket": _SOCKET,
    "socket.socket": _SOCKET,
    "ssl.SSLContext": _SOCKET,
    "multiprocessing.connection._ConnectionBase": _SOCKET,
    "paramiko.client.SSHClient": _SOCKET,
    "builtins.generator": _GENERATOR,
    "builtins.async_generator": _GENERATOR,
    "builtins.coroutine": _COROUTINE,
    "_asyncio.Task": _COROUTINE,
    "_asyncio.Future": _COROUTINE,
    "asyncio.events.AbstractEventLoop": _COROUTINE,
    "threading.Thread": _THREAD,
    "_thread._ThreadHandle": _THREAD,
    "multiprocessing.process.BaseProcess": _PROCESS,
    "subprocess.Popen": _PROCESS,
    "concurrent.futures._base.Executor": _EXECUTOR,
    "multiprocessing.pool.Pool": _EXECUTOR,
    "joblib.parallel.Parallel": _EXECUTOR,
    "concurrent.futures._base.Future": _FUTURE,
    "distributed.client.Future": _FUTURE,
    "distributed.client.Client": _CLIENT,
    "distributed.deploy.cluster.Cluster": _CLIENT,
    "ipyparallel.client.client.Client": _CLIENT,
    "weakref.ReferenceType": _WEAKREF,
    "weakref.ProxyType": _WEAKREF,
    "weakref.CallableProxyType": _WEAKREF,
    "builtins.frame": _FRAME,
    "builtins.traceback": _FRAME,
    "IPython.core.interactiveshell.InteractiveShell": _SHELL,
    "ipywidgets.widgets.widget.Widget": _WIDGET,
    "tqdm.std.tqdm": _PROGRESS,
    "botocore.client.BaseClient": _SERVICE,
    "boto3.session.Session": _SERVICE,
    "boto3.resources.base.ServiceResource": _SERVICE,
    "_thread._local": _LOCAL,
    "_contextvars.Context": _LOCAL,
    "_contextvars.ContextVar": _LOCAL,
    "_contextvars.Token": _LOCAL,
    "torch.Tensor": UnpicklableReason(_GPU.what, _GPU.advice, _on_gpu),
    "torch.cuda.streams.Stream": _GPU,
    "torch.cuda.streams.Event": _GPU,
    "cupy.ndarray": _GPU,
    "cupy._core.core.ndarray": _GPU,
}

_DATABASE_PACKAGES: Final = frozenset(
    [
        *("sqlite3", "psycopg", "psycopg2", "pymysql", "MySQLdb", "mysql", "asyncpg", "aiosqlite"),
        *("duckdb", "_duckdb", "pymongo", "redis", "cx_Oracle", "oracledb", "pyodbc"),
        *("sqlalchemy", "snowflake", "clickhouse_driver", "cassandra"),
    ]
)
_DATABASE_WORDS: Final = ("connection", "cursor", "engine", "session", "client", "redis", "pool")
_OUR_OBJECTS: Final = frozenset({"Job", "Executor", "Session", "Driver", "LocalBackend"})

_PICKLING: Final = frozenset({"__reduce__", "__reduce_ex__", "__getstate__"})

# Text and bytes held in memory are values like any other.
_IN_MEMORY: Final = (io.StringIO, io.BytesIO)

_ITERABLES: Final[list[Any]] = [
    *([], (), {}, {}.values(), {}.items(), set(), "", b"", bytearray(), range(0))
]
_ITERATORS: Final[frozenset[type]] = frozenset(
    [
        *(map, filter, zip, enumerate, reversed, type(reversed([])), type(iter(range(1 << 70)))),
        *(type(iter(iterable)) for iterable in _ITERABLES),
    ]
)


def refusal_of_type(kind: type) -> UnpicklableReason | None:
    """Return why instances of `kind` are refused, or None."""
    if issubclass(kind, _IN_MEMORY):
        return None
    for base in kind.__mro__:
        if base is object:
            break
        refusal = _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if refusal is not None:
            return refusal
        package = top_level(base.__module__)
        name = base.__name__.lower()
        if package in _DATABASE_PACKAGES and name.endswith(_DATABASE_WORDS):
            return _DATABASE
        if package.startswith("cloudbutton_") and base.__name__ in _OUR_OBJECTS:
            return _JOB
        if package not in sys.stdlib_module_names and not _PICKLING.isdisjoint(vars(base)):
            return None  # a class that knows how to travel, whatever it inherits from
    return None


def refusal(value: object) -> UnpicklableReason | None:
    """Return why `value` is refused, or None."""
    found = refusal_of_type(type(value))
    if found is not None and found.applies is not None and not found.applies(value):
        return None
    return found


def iterator_refusal(value: object) -> UnpicklableReason | None:
    """Return why an iterator that is itself a captured variable is refused, or None.

    Only variables: inside other objects an iterator is that object's business (and pickles).
    """
    kind = type(value)
    if kind in _ITERATORS or kind.__module__ == "itertools":
        return _ITERATOR
    return None


def describe(value: object, found: UnpicklableReason) -> str:
    """Return what `value` is, with what identifies it."""
    if found is _FILE and isinstance(name := getattr(value, "name", None), str):
        state = "a closed file" if getattr(value, "closed", False) else found.what
        return f"{state} ({name!r})"
    if isinstance(value, (types.GeneratorType, types.CoroutineType)):
        return f"{found.what} ({value.__qualname__})"
    return f"{found.what} ({type(value).__module__}.{type(value).__qualname__})"
