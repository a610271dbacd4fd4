"""Catches what tasks print and display, item by item, within bounds."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from typing import Any, Final, Literal

from cloudbutton_backend.worker.context import current

MAX_ITEM: Final = 256 * 1024
"""Characters of text kept of one item."""
MAX_DISPLAYS: Final = 20
"""Displayed objects kept of one item."""
MPL_BACKEND: Final = "module://cloudbutton_backend.worker.mpl_backend"

OutputKind = Literal["stdout", "stderr", "display", "log"]
Entry = tuple[OutputKind, Any]
"""What an item showed: text, for `display` a MIME bundle, for `log` the fields of a log record."""


class Outputs:
    """The outputs of the batch being run, by item index."""

    def __init__(self) -> None:
        self.by_item: dict[int, list[Entry]] = {}
        """Texts are lists of pieces: a thread of the task may add one while another does."""
        self.forked = False
        """In a process that a task forked: what it prints goes where its C code's goes."""
        self._room: dict[int, int] = {}
        self._displays: dict[int, int] = {}

    def text(self, kind: Literal["stdout", "stderr"], text: str) -> None:
        """Add `text` to the item being run; drop what exceeds the bound, and say so once."""
        if self.forked:
            with contextlib.suppress(OSError):
                os.write(1 if kind == "stdout" else 2, text.encode("utf-8", "replace"))
            return
        index = current.index
        room = self._room.get(index, MAX_ITEM)
        if room <= 0:
            return
        if len(text) > room:
            text = text[:room] + f"\n[output of this item cut after {MAX_ITEM // 1024} KiB]\n"
            room = 0
        self._room[index] = room - len(text)
        entries = self.by_item.setdefault(index, [])
        last = entries[-1] if entries else None
        if last is None or last[0] != kind:
            last = (kind, [])
            entries.append(last)
        last[1].append(text)

    def record(self, fields: dict[str, Any]) -> None:
        """Add a log record to the item being run, or what there is room for of its message."""
        index, message = current.index, str(fields["msg"])
        size = sum(len(value) for value in fields.values() if isinstance(value, str))
        room = self._room.get(index, MAX_ITEM)
        if self.forked or size > room:
            self.text("stderr", message + "\n")
        else:
            self._room[index] = room - size
            self.by_item.setdefault(index, []).append(("log", fields))

    def display(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Add a displayed object (a MIME bundle) to the item being run."""
        index = current.index
        shown = self._displays.get(index, 0)
        self._displays[index] = shown + 1
        if shown < MAX_DISPLAYS:
            bundle = {"data": _travelling(data), "metadata": _travelling(metadata or {})}
            self.by_item.setdefault(index, []).append(("display", bundle))

    def take(self, before: int | None = None) -> dict[int, list[Entry]]:
        """Return what was caught since the last call, of items below `before` only if that is given."""
        if not self.by_item:
            if self._room and before is None:
                self._room.clear()
                self._displays.clear()
            return {}
        if before is None:
            taken, self.by_item = self.by_item, {}
            self._room, self._displays = {}, {}
        else:
            ready = [index for index in sorted(self.by_item) if index < before]
            taken = {index: self.by_item.pop(index) for index in ready}
        return {index: [_joined(entry) for entry in entries] for index, entries in taken.items()}


def _joined(entry: Entry) -> Entry:
    kind, data = entry
    return (kind, "".join(data)) if type(data) is list else entry


def _travelling(data: dict[str, Any]) -> dict[str, Any]:
    """Return a MIME bundle without what cannot be pickled, as an object's own repr may hold."""
    try:
        pickle.dumps(data, 5)
    except Exception:
        return {kind: value for kind, value in data.items() if type(value) in (str, bytes)}
    return data


outputs = Outputs()


class _TaskBytes(io.BufferedIOBase):
    """`sys.stdout.buffer` of a task. Cannot be closed either."""

    def __init__(self, kind: Literal["stdout", "stderr"], fd: int) -> None:
        self._kind = kind
        self._fd = fd
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        text = self._decoder.decode(data)
        if text:
            outputs.text(self._kind, text)
        return memoryview(data).nbytes

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open."""


class TaskStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a task. Cannot be closed: the next item needs it."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, kind: Literal["stdout", "stderr"], fd: int) -> None:
        self._kind = kind
        self._fd = fd
        self.buffer = _TaskBytes(kind, fd)

    @property
    def name(self) -> str:
        return f"<{self._kind}>"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            outputs.text(self._kind, text)
        return len(text)

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open."""


class DescriptorTail:
    """Descriptors 1 and 2 of this process: what C code and subprocesses print lands in a file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._seen = 0
        self.attach()

    def attach(self) -> None:
        os.dup2(self._fd, 1)
        os.dup2(self._fd, 2)

    def collect(self) -> None:
        """Hand what was printed since the last call to the item last run."""
        try:
            size = os.fstat(self._fd).st_size
            if os.fstat(1).st_ino != os.fstat(self._fd).st_ino:
                self.attach()
        except OSError:
            self.attach()
            return
        if size > self._seen:
            data = os.pread(self._fd, min(size - self._seen, MAX_ITEM), self._seen)
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            outputs.text("stdout", data.decode("utf-8", "replace"))
        self._seen = 0


def no_input(prompt: object = "") -> str:
    """Stand in for `input` in tasks."""
    raise RuntimeError("`input()` cannot ask anybody in a task: pass the answer in as a value.")


def _show_warning(
    message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line)
    if file is not None:
        file.write(text)
    else:
        outputs.text("stderr", text)


def display(*objects: Any, **options: Any) -> None:
    """Stand in for IPython's `display` in tasks: format here, show in the notebook."""
    bundle = _formatter()
    for thing in objects:
        if options.get("raw"):
            outputs.display(dict(thing), options.get("metadata"))
            continue
        figure = _figure_png(thing)
        if figure is not None:
            outputs.display(figure)
            continue
        data, metadata = bundle(thing, options.get("include"), options.get("exclude"))
        if data:  # else it has displayed itself
            outputs.display(data, metadata)


def _formatter() -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
    """Return what makes a MIME bundle of an object: IPython's own where it is installed."""
    try:
        from IPython.core.formatters import DisplayFormatter
    except ImportError:  # a function in the cloud has only the packages that the code uses
        from cloudbutton_backend.worker.mime import bundle_of

        return bundle_of
    bundle: Callable[..., tuple[dict[str, Any], dict[str, Any]]] = DisplayFormatter().format
    return bundle


def _figure_png(thing: Any) -> dict[str, Any] | None:
    """Return a matplotlib figure as a MIME bundle, None for anything else."""
    if type(thing).__name__ != "Figure" or "matplotlib" not in sys.modules:
        return None
    return figure_bundle(thing)


def figure_bundle(figure: Any) -> dict[str, Any]:
    """Return `figure` as a MIME bundle."""
    import base64

    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", dpi=figure.dpi)
    png = base64.b64encode(file.getvalue()).decode("ascii")
    return {"image/png": png, "text/plain": repr(figure)}


def publish_display_data(
    data: dict[str, Any], metadata: dict[str, Any] | None = None, **_options: Any
) -> None:
    """Stand in for IPython's `publish_display_data` in tasks."""
    outputs.display(data, metadata)


def patch_ipython() -> None:
    """Make IPython's own `display` ours in this process, if it has one."""
    try:
        import IPython.core.display_functions as functions
        import IPython.display
    except ImportError:  # what uses it fails by itself, with its own traceback
        return

    for module in (functions, IPython.display):
        module.display = display  # type: ignore[attr-defined]
        module.publish_display_data = publish_display_data  # type: ignore[attr-defined]


_streams: Final = (TaskStream("stdout", 1), TaskStream("stderr", 2))


def restore_streams() -> None:
    """Capture the streams again, whatever an earlier task put in their place."""
    sys.stdout, sys.stderr = _streams


def install(fd: int | None) -> DescriptorTail | None:
    """Redirect everything that tasks may print or display in this process."""
    import builtins

    restore_streams()
    builtins.input = no_input
    builtins.display = display  # type: ignore[attr-defined]
    warnings.showwarning = _show_warning
    os.environ["MPLBACKEND"] = MPL_BACKEND
    return DescriptorTail(fd) if fd is not None else None
