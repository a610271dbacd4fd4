"""Code that travels to schedulers and workers by value: there, only Dask and cloudpickle are needed.

Each worker gets our worker code with a plugin that Dask hands to those which come later, too; each call
is a task of Dask's that finds the plugin and gives it the items.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import cloudpickle
from distributed import WorkerPlugin

from cloudbutton_backend.backends.worker_code import worker_code
from cloudbutton_backend.worker.installed_versions import (
    installed_versions as installed_versions,
)
from cloudbutton_backend.worker.pickling import CodePickler, dumps


@functools.cache
def _files() -> dict[str, bytes]:
    return worker_code("dask")


@functools.cache
def code_digest() -> str:
    """Return a digest of the worker code."""
    return _digest(_files())


def _digest(files: dict[str, bytes]) -> str:

    state = hashlib.sha256()
    for name in sorted(files):
        state.update(name.encode() + b"\0" + files[name] + b"\0")
    return state.hexdigest()[:16]


class WorkerProcesses(WorkerPlugin):
    """Keeps the processes beside one Dask worker. Exists on workers only.

    Parameters
    ----------
    files
        Sources by their paths, as `worker_code` returns them.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files
        self._process_host: Any = None
        self._folder: Any = None

    def setup(self, worker: Any) -> None:
        """Make ready what calls need; Dask does so before it gives the worker any."""
        import tempfile

        self._folder = tempfile.TemporaryDirectory(
            prefix="cloudbutton-", dir=worker.local_directory, ignore_cleanup_errors=True
        )
        scratch = self._folder.name
        folder = None if _is_installed(self._files) else _unpack(self._files, scratch)
        self._worker = worker
        memory = worker.memory_manager.memory_limit or 0
        self._process_host = _process_host_module(folder).ProcessHost(
            folder, scratch, worker.state.nthreads, memory
        )

    def teardown(self, worker: Any) -> None:
        """End the processes."""
        if self._process_host is not None:
            self._process_host.close()
            self._folder.cleanup()

    def run(self, call: dict[str, Any], job: bytes, blobs: dict[str, bytes]) -> bytes:
        """Run a call, in a thread of the worker's."""
        import pickle

        tasks, key = self._worker.state.tasks, call["key"]

        def is_released() -> bool:
            task = tasks.get(key)
            return task is None or task.state not in ("executing", "long-running")

        answer: bytes = self._process_host.run(call, pickle.loads(job), blobs, is_released)
        return answer

    def value_of(self, answer: bytes, key: bytes, index: int) -> Any:
        """Return an item's value out of a call's answer."""
        return self._process_host.value_of(answer, key, index)

    def stop(self, names: list[str]) -> None:
        """Stop calls that run here, or would."""
        self._process_host.stop(names)


def _is_installed(files: dict[str, bytes]) -> bool:
    """Whether the worker's own environment has the same code."""
    import importlib.util
    import os

    found = importlib.util.find_spec("cloudbutton_backend")
    if found is None or not found.origin:
        return False
    root = os.path.dirname(os.path.dirname(found.origin))
    for name, content in files.items():
        try:
            with open(os.path.join(root, name), "rb") as file:
                if file.read() != content:
                    return False
        except OSError:
            return False
    return True


def _unpack(files: dict[str, bytes], folder: str) -> str:
    import os

    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    return folder


def _process_host_module(folder: str | None) -> Any:
    """Import our code: from a folder under the same names as another version that is in use here, perhaps."""
    import importlib
    import sys

    name = "cloudbutton_backend.worker.dask.process_host"
    if folder is None:
        return importlib.import_module(name)

    def ours() -> dict[str, Any]:
        return {
            each: module
            for each, module in sys.modules.items()
            if each.partition(".")[0] == "cloudbutton_backend"
        }

    others = ours()
    for each in others:
        del sys.modules[each]
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)
        for each in ours():
            del sys.modules[each]
        sys.modules.update(others)


class ShippedCall(WorkerPlugin):
    """A plugin that unpickles as `WorkerProcesses` where this package is not installed."""

    idempotent = True
    """Workers that have it keep it, with the processes that run."""

    def __init__(self) -> None:
        self.name = plugin_name()

    def __reduce__(self) -> Any:
        return cloudpickle.loads, (_worker_processes(),)


@functools.cache
def plugin_name() -> str:
    """Return the plugin's name: another one for other code."""
    return f"cloudbutton-{code_digest()}"


@functools.cache
def _worker_processes() -> bytes:
    return by_value(WorkerProcesses(_files()))


def by_value(thing: Any) -> bytes:
    """Return a pickle that brings along what it needs of this module."""
    import sys

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        return dumps(thing, CodePickler)  # the workers have nothing of ours yet
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def run_call(
    plugin: str,
    call: dict[str, Any],
    items: bytes,
    job: bytes,
    digests: list[str],
    *blobs: bytes,
) -> bytes:
    """Run a call on a worker: the task that Dask sees."""
    from distributed import get_worker

    worker_processes: Any = get_worker().plugins[plugin]
    found: bytes = worker_processes.run({**call, "items": items}, job, dict(zip(digests, blobs)))
    return found


def value_of(plugin: str, answer: bytes, key: bytes, index: int) -> Any:
    """Return an item's value out of a call's answer, on a worker."""
    from distributed import get_worker

    worker_processes: Any = get_worker().plugins[plugin]
    return worker_processes.value_of(answer, key, index)


def raise_error(error: BaseException) -> Any:
    """Raise what an item raised."""
    raise error


def stop_calls(plugin: str, names: list[str], dask_worker: Any = None) -> None:
    """Stop calls; runs on every worker."""
    found = dask_worker.plugins.get(plugin)
    if found is not None:
        found.stop(names)


def _travelling(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function pickle by value, here and in a scheduler that passes it on."""
    function.__module__ = "__main__"
    function.__qualname__ = f"_cloudbutton_{function.__name__}"
    return function


for _each in (run_call, stop_calls, installed_versions, value_of, raise_error):
    _travelling(_each)
