"""A notebook to write cells in, and one other process that runs what was captured."""

from __future__ import annotations

import linecache
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from cloudbutton_backend.capture import Captured, capture, load_result

# The loader below is what any worker does with a capture: persistent ids are looked up in blobs.
WORKER = """
import io, pickle, struct, sys
sys.path.insert(0, sys.argv[1])
from cloudbutton_backend.worker.pickling import dumps

class Loader(pickle.Unpickler):
    def __init__(self, payload, blobs):
        super().__init__(io.BytesIO(payload))
        self.blobs, self.loaded = blobs, {}
    def persistent_load(self, pid):
        tag, digest = pid
        assert tag == "cloudbutton-blob"
        if digest not in self.loaded:
            stream, *buffers = self.blobs[digest]
            self.loaded[digest] = pickle.loads(stream, buffers=buffers)
        return self.loaded[digest]

source, sink = sys.stdin.buffer, sys.stdout.buffer
while head := source.read(8):
    payload, blobs, items = pickle.loads(source.read(*struct.unpack("<Q", head)))
    try:
        function = Loader(payload, blobs).load()
        stream, *buffers = items
        answer = True, function(*pickle.loads(stream, buffers=buffers))
    except BaseException as error:
        answer = False, f"{type(error).__name__}: {error}"
    text = dumps(answer)
    sink.write(struct.pack("<Q", len(text)) + text)
    sink.flush()
"""


#: Where the other process has its cloudpickle, which may be another version than the one here.
CLOUDPICKLE = os.environ.get("TEST_OTHER_CLOUDPICKLE") or str(Path(cloudpickle.__file__).parents[1])


class Elsewhere:
    """A Python process that knows nothing of the user's files, and of this project only what workers do."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", WORKER, CLOUDPICKLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(sys.prefix),
        )

    def run(self, captured: Captured, *parts: Any) -> Any:
        """Call the captured function there with the items pickled in `parts`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        blobs = {blob.digest: [bytes(part) for part in blob.parts] for blob in captured.blobs}
        text = pickle.dumps((captured.function, blobs, [bytes(part) for part in parts]))
        stdin.write(struct.pack("<Q", len(text)) + text)
        stdin.flush()
        (length,) = struct.unpack("<Q", stdout.read(8))
        worked, value = load_result([stdout.read(length)])
        assert worked, value
        return value

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Capture `function` here and call it there."""
        return self.run(capture(function), pickle.dumps(args))

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Elsewhere]:
    process = Elsewhere()
    yield process
    process.close()


class Notebook(dict[str, Any]):
    """The namespace of a notebook; call it with a cell's code to run the cell."""

    def __init__(self) -> None:
        super().__init__(__name__="__main__")
        self._cells = 0

    def __call__(self, cell: str) -> None:
        self._cells += 1
        name = f"/tmp/ipykernel_4711/{self._cells}.py"
        linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
        # A plain dict: functions look globals up in it, not in subclasses.
        exec(compile(cell, name, "exec"), self)


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Write files of a user's project, importable here and in no other process."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits within a second are seen
    before = set(sys.modules)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            if path.stem == "init":
                path = path.with_stem("__init__")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in repr(sys.modules[name]):
            del sys.modules[name]
