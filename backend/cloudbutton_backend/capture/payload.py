"""Captures a function and the values it uses as a payload."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple, NoReturn

import xxhash

from cloudbutton_backend.capture.blobs import (
    make_blob,
    parts_of,
    pickled_parts,
    rough_size,
    surely_large,
    total,
)
from cloudbutton_backend.capture.closure import SCALARS, SUBCLASSES, Closure, HeldValue, closure_of
from cloudbutton_backend.capture.content_digest import SETS, changeable_order
from cloudbutton_backend.capture.distributions import third_party
from cloudbutton_backend.capture.mutability import is_mutable
from cloudbutton_backend.capture.pickling import Contents, ModulesFound, dumps
from cloudbutton_backend.capture.pickling_errors import Named, diagnose, roots_of
from cloudbutton_backend.capture.replacements import bringing, state_in_libraries
from cloudbutton_backend.capture.report import CapturedValue, CaptureReport
from cloudbutton_backend.capture.unpicklable import (
    CannotTravel,
    RefusedObject,
    describe,
    iterator_refusal,
)
from cloudbutton_backend.capture.user_modules import by_value, top_level, user_module
from cloudbutton_backend.errors import CaptureError
from cloudbutton_backend.worker.pool.protocol import Blob
from cloudbutton_backend.worker.process_state import (
    ProcessState,
    current_state,
    state_in_results,
)
from cloudbutton_backend.worker.unpickling import BLOB_TAG
from cloudbutton_backend.worker.wire import Buffer

#: Captured values above this many bytes become blobs.
THRESHOLD: Final = 64 * 1024


class _Row(NamedTuple):
    """One captured value in the report, noted while it is captured."""

    name: str
    type_name: str
    nbytes: int
    travels: Any
    package: str
    mutable: bool


@dataclass(frozen=True)
class Captured:
    """A function with everything it needs, as it was at the time of capture."""

    function: bytes = field(repr=False)
    """Pickle of the function; large values inside are persistent ids (BLOB_TAG, digest)."""
    state: bytes = field(repr=False)
    """Pickle of what this process has set for itself; empty for the usual state."""
    blobs: tuple[Blob, ...]
    """The large values, each once."""
    digest: str
    """Identity of code, values and state; the same cell run again, here or in another kernel, has the
    same one as long as no class of the notebook is inside a blob, and no set of strings inside data."""
    classes: frozenset[str] = field(repr=False)
    """The classes that the payload brings by value; see `dump_items`."""
    _rows: tuple[_Row, ...] = field(repr=False, compare=False)
    _contents: tuple[Contents, ...] = field(repr=False, compare=False)
    _name: str = field(repr=False, compare=False)

    @property
    def payload(self) -> bytes:
        """What a worker is to load: the state, then the function."""
        return self.state + self.function

    @functools.cached_property
    def report(self) -> CaptureReport:
        """The report of what travels and how; built when first read, from the notes taken."""
        packages = {name for contents in self._contents for name in contents.packages}
        modules = {
            module.__name__ for contents in self._contents for module in contents.modules.values()
        }
        return CaptureReport(
            function=self._name,
            values=tuple(CapturedValue(*row) for row in self._rows),
            payload_nbytes=len(self.payload),
            blobs_nbytes=sum(blob.nbytes for blob in self.blobs),
            packages=tuple(third_party(packages)),
            user_modules=tuple(sorted(modules)),
        )

    @property
    def displays(self) -> bool:
        """Whether it speaks of IPython, whose `display` is then to be ours where it runs."""
        return any("IPython" in contents.packages for contents in self._contents)

    @property
    def imports(self) -> tuple[str, ...]:
        """Import names of the installed packages that must be there where the function runs."""
        found = set(self.report.packages)
        by_module = any(
            "rng" in c.names and "cloudbutton_ext" in c.packages for c in self._contents
        )
        if by_module or _RNG_MODULE in self.function:
            found.add("numpy")  # our own `rng` needs it
        return tuple(sorted(found))


_RNG_MODULE: Final = b"cloudbutton_backend.worker.context"


def imports_of_items(items: Sequence[Any]) -> tuple[str, ...]:
    """Return import names of the installed packages that unpickling `items` needs.

    Of items that cannot travel, nothing: they fail where they are sent, with the reason.
    """
    try:
        _, contents = parts_of(list(items), False)
    except Exception:
        return ()
    return tuple(third_party(contents.packages))


def capture(function: Callable[..., Any], *, threshold: int = THRESHOLD) -> Captured:
    """Capture `function` and the values that its code uses, as they are now.

    Parameters
    ----------
    function
        Anything callable. Code of the notebook and of the user's own modules travels by value,
        installed packages by name.
    threshold
        A captured value of more bytes than this becomes a blob. Nothing of it is copied here: the
        blob's parts are views of the live value, so they change if the value does.

    Raises
    ------
    CaptureError
        If something cannot travel; the message names it, the way to it, and what to do.
    """
    return _guarded(function, threshold, exact=False)


def explain(function: Callable[..., Any]) -> CaptureReport:
    """Return the report for `function`, with every size measured; nothing is sent."""
    return _guarded(function, THRESHOLD, exact=True).report


def dump_items(items: Sequence[Any], *, known_classes: Set[str] = frozenset()) -> list[Buffer]:
    """Return a list of `items` pickled as a stream and its out-of-band buffers.

    The rules are those of `capture`. Numbers and strings cost what plain pickle costs.

    Parameters
    ----------
    items
        The items of one batch.
    known_classes
        `Captured.classes` of a function that is alive where the items are loaded. Those classes
        are then referred to rather than sent again and again with the code of their methods and
        all it uses; and instances share the function's globals, as they do here.
    """
    values = items if type(items) is list else list(items)
    kind = type(values[0]) if values else int
    try:
        guess = kind.__module__ != "builtins" and by_value(kind)
        parts, contents = parts_of(values, guess, known_classes)
        brought = bringing(values, contents)
        return parts if brought is values else parts_of(brought, True, known_classes)[0]
    except Exception as error:
        _raise_diagnosed(lambda: [(f"items[{i}]", v) for i, v in enumerate(values)], error)


def _guarded(function: Callable[..., Any], threshold: int, *, exact: bool) -> Captured:
    try:
        return _capture(function, threshold, exact)
    except (Exception, SystemExit) as error:
        _raise_diagnosed(lambda: roots_of(function), error)


def _raise_diagnosed(roots: Callable[[], list[Named]], error: BaseException) -> NoReturn:
    if isinstance(error, (CaptureError, MemoryError)):
        raise error
    diagnosed = diagnose(roots(), error)
    raise diagnosed from (None if isinstance(error, RefusedObject) else error)


def _capture(function: Callable[..., Any], threshold: int, exact: bool) -> Captured:
    closure = closure_of(function)
    share = _Shared(threshold)
    for held in closure.held:
        if held.is_code or type(held.value) in SCALARS:
            continue
        why = iterator_refusal(held.value)
        if why is not None:
            raise CannotTravel(held.name, describe(held.value, why), why.advice)
        if surely_large(held.value, threshold):
            share.add(held.value)
    payload, contents = _payload(function, closure, share)
    # A large value may be used only by code inside another blob, which holds it then.
    needed = {b.digest: b for b in share.blobs.values() if b.digest in contents.blobs}
    blobs = tuple(needed.values())
    state = current_state()
    state.update(state_in_libraries(contents, *share.contents))
    ordered = _ordered(function, closure, share, contents) or payload
    return Captured(
        function=payload,
        state=_pickled_state(state),
        blobs=blobs,
        digest=_identity(ordered, blobs, contents, state_in_results(state)),
        classes=frozenset(contents.classes),
        _rows=tuple([_row(held, share, exact) for held in closure.held if not held.is_hidden]),
        _contents=(contents, *share.contents),
        _name=_name_of(function),
    )


class _Shared:
    """The captured values that travel as blobs, by the identity of the live object."""

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self.blobs: dict[int, Blob] = {}
        self.pids: dict[int, tuple[str, str]] = {}
        self.contents: list[Contents] = []

    def add(self, value: Any, *, certain: bool = True) -> bool:
        """Make a blob of `value`; unless `certain`, only if it proves large."""
        if id(value) in self.blobs:
            return False
        parts, contents = pickled_parts(value)
        if not certain and total(parts) <= self.threshold:
            return False
        blob = self.blobs[id(value)] = make_blob(parts)
        self.pids[id(value)] = (BLOB_TAG, blob.digest)
        self.contents.append(contents)
        return True


class _TooLarge(Exception):
    """The payload outgrew the threshold while it was being pickled."""


def _payload(
    function: Callable[..., Any], closure: Closure, share: _Shared
) -> tuple[bytes, Contents]:
    """Pickle the function; if that is large, find the values to blame and pickle it again."""
    in_buffers = 0

    def watch(buffer: pickle.PickleBuffer) -> bool:
        nonlocal in_buffers
        with buffer.raw() as view:
            in_buffers += view.nbytes
        if in_buffers > share.threshold:
            raise _TooLarge
        return True  # in band

    try:
        payload, contents = _dumps(function, closure, share.pids, watch)
        if len(payload) <= share.threshold:
            return payload, contents
    except _TooLarge:
        payload = None
    found = False
    for held in closure.held:
        if not (held.is_code or type(held.value) in SCALARS or type(held.value) in (str, bytes)):
            found |= share.add(held.value, certain=False)
    if payload is not None and not found:  # many small values
        return payload, contents
    return _dumps(function, closure, share.pids, None)


def _dumps(
    function: Callable[..., Any],
    closure: Closure,
    pids: Mapping[int, tuple[str, str]],
    watch: Callable[[pickle.PickleBuffer], bool] | None,
) -> tuple[bytes, Contents]:
    def pickle_it(has_modules: bool) -> tuple[bytes, Contents]:
        return dumps(
            function,
            has_modules=has_modules,
            buffer_callback=watch,
            shared=pids,
            tells_subclasses=SUBCLASSES in closure.names,
        )

    try:
        return pickle_it(bool(closure.modules))
    except ModulesFound:
        return pickle_it(True)


def _ordered(
    function: Callable[..., Any], closure: Closure, share: _Shared, contents: Contents
) -> bytes | None:
    """Return the payload as it would be if sets of strings had an order; None if it has no such set.

    It is for the digest alone: where the function runs, a set is what its elements in the order of
    here make it.
    """
    held = [held.value for held in closure.held if type(held.value) in SETS]
    orders = {
        id(values): (_ORDER, type(values).__name__ + repr(order))
        for values in (*contents.sets, *held)
        if id(values) not in share.pids and (order := changeable_order(values)) is not None
    }
    if not orders:
        return None
    return _dumps(function, closure, {**share.pids, **orders}, None)[0]


_ORDER: Final = "in order"


def _pickled_state(state: ProcessState) -> bytes:
    """Return the state as bytes, none for the usual one."""
    if not state:
        return b""
    try:
        return dumps(state)[0]
    except Exception as error:
        raise CannotTravel(
            next((name for name in state if not _can_travel(state[name])), "the state").strip("`"),
            f"set here to something that cannot be sent: {error}",
            "Set it back to its default, or set it inside the code that runs elsewhere.",
        ) from error


def _can_travel(value: Any) -> bool:
    try:
        dumps(value)
    except Exception:
        return False
    return True


def _identity(
    payload: bytes, blobs: tuple[Blob, ...], contents: Contents, state: Mapping[str, Any]
) -> str:
    """Hash code and values, without what differs from kernel to kernel for the same cell."""
    text = payload[11:]  # after the header and the length of the first frame
    for volatile in (*contents.classes, *contents.files):
        name = volatile.encode()
        if len(name) < 256:
            text = text.replace(b"\x8c" + bytes([len(name)]) + name, b"~")
    hasher = xxhash.xxh3_128(text)
    for blob in blobs:
        hasher.update(blob.digest.encode())
    if state:
        hasher.update(repr(state).encode())
    return str(hasher.hexdigest())


def _row(held: HeldValue, share: _Shared, exact: bool) -> _Row:
    name, value, is_code, _ = held
    kind = type(value)
    blob = share.blobs.get(id(value))
    if blob is not None:
        return _Row(name, kind.__qualname__, blob.nbytes, "blob", "", is_mutable(value))
    if is_code:
        if isinstance(value, ModuleType):
            own, home = user_module(value), value.__name__
        elif isinstance(value, (FunctionType, type)):
            own, home = by_value(value), value.__module__
        else:
            own, home = True, ""
        if not own:
            return _Row(name, kind.__qualname__, 0, "reference", top_level(home), False)
        return _Row(name, kind.__qualname__, rough_size(value), "code", "", False)
    nbytes = total(pickled_parts(value)[0]) if exact else rough_size(value)
    mutable = kind not in SCALARS and is_mutable(value)
    return _Row(name, kind.__qualname__, nbytes, "call", "", mutable)


def _name_of(function: Callable[..., Any]) -> str:
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name)
