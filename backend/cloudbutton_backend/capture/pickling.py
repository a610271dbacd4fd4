"""The pickler: cloudpickle, with the user's own modules by value and refusals on the way.

What it adds to cloudpickle:

* Functions and classes of the user's own modules travel as code, without the global registry
  of `cloudpickle.register_pickle_by_value`, which the user could notice.
* A module of the user's own is rebuilt in the worker, holding only the attributes that some code
  in the same pickle names. Code keeps turning up while pickling goes on, so modules start empty
  and are filled at the end of the stream by a lazy list of ``setattr`` calls (see `_fill`).
* Functions of such a module share its namespace, as they do here.
* Code keeps its file name, which some releases of cloudpickle drop, and tracebacks the user's lines.
* Functions wrapped by `functools.lru_cache` work, which cloudpickle sends by name.
* Objects that would lose their meaning (locks, files, …) stop it.
"""

from __future__ import annotations

import copyreg
import importlib
import importlib.util
import io
import operator
import pickle
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType, WrapperDescriptorType
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from cloudpickle import cloudpickle as _cloudpickle

from cloudbutton_backend.capture.closure import (
    SUBCLASSES,
    CodeNames,
    ImportedName,
    LruCache,
    named_attributes,
    names_of,
    own_subclasses,
)
from cloudbutton_backend.capture.unpicklable import RefusedObject, refusal_of_type
from cloudbutton_backend.capture.user_modules import (
    by_value,
    own_namespace,
    top_level,
    user_module,
    users_code,
)
from cloudbutton_backend.worker.classes import reduce_class
from cloudbutton_backend.worker.pickling import PROTOCOL as PROTOCOL
from cloudbutton_backend.worker.pickling import (
    reduce_code,
    reduce_lru_cache,
    reducer_of,
    reducer_of_hashed,
)
from cloudbutton_backend.worker.process_state import original_of

Handler = Callable[[Any], Any]
BufferCallback = Callable[[pickle.PickleBuffer], object]
Special = Callable[[type], "Handler | None"]
"""Returns how instances of a type are reduced; None if as usual."""

#: Attributes that relative imports, and code that looks for files beside it, need.
_ANCHORS: Final = ("__package__", "__name__", "__path__", "__file__")


class ReduceCall:
    """Stands in a pickle for the result of ``function(*args)``, called when it is loaded."""

    __slots__ = ("args", "function", "state")

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.function, self.args, self.state = function, args, state

    def reduce(self) -> Any:
        return (self.function, self.args, self.state)


class _Fills:
    """Stands in a pickle for the list of calls that fill the user's modules."""


def fills() -> Any:
    """Return what a pickle must hold last for the user's modules in it to be filled."""
    return _Fills()


@dataclass
class Contents:
    """References of a pickle: to modules, packages, shared objects and classes."""

    modules: dict[int, ModuleType] = field(default_factory=dict)
    """The user's own modules, rebuilt in the worker, by id: two may share a name."""
    packages: set[str] = field(default_factory=set)
    """Top-level names of what the worker imports."""
    foreign_modules: set[str] = field(default_factory=set)
    """Names of the installed modules that the code has at hand."""
    foreign_classes: set[type] = field(default_factory=set)
    """The classes of installed packages that go by name."""
    names: set[str] = field(default_factory=set)
    """Every name that the code in the pickle uses."""
    imports: dict[str, ModuleType] = field(default_factory=dict)
    """The user's own modules that the code imports when it runs."""
    blobs: set[str] = field(default_factory=set)
    """Digests of the shared objects that it refers to."""
    classes: set[str] = field(default_factory=set)
    """cloudpickle's tracker ids of the classes that travel by value: new in every kernel."""
    files: set[str] = field(default_factory=set)
    """Names that the kernel gave to cells, of which the code comes: new in every kernel."""
    sets: list[frozenset[Any]] = field(default_factory=list)
    """The sets among the constants of the code: if of strings, in another order in every kernel."""


class ValuePickler(_cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles one object graph; see the module's documentation."""

    # cloudpickle's own table is a chain of mappings that costs a microsecond for each instance;
    # its entries are looked up by `_handler_of` instead, once for each type.
    dispatch_table = copyreg.dispatch_table

    def __init__(
        self,
        file: io.BytesIO,
        contents: Contents,
        buffer_callback: BufferCallback | None = None,
        known_classes: Set[str] = frozenset(),
        tells_subclasses: bool = False,
    ) -> None:
        super().__init__(file, PROTOCOL, buffer_callback)
        self._tells_subclasses = tells_subclasses
        self.contents = contents
        self._known_classes = known_classes
        self._handlers: dict[type, Handler | None] = {}
        self._namespaces: dict[int, Any] = {}

    def release(self) -> None:
        """Drop what was pickled now: the handlers are bound to this pickler, a cycle."""
        self._handlers.clear()
        self.clear_memo()

    def reducer_override(self, obj: Any) -> Any:
        """Reduce `obj`; called for everything but numbers, strings and plain containers."""
        kind = type(obj)
        try:
            handler = self._handlers[kind]
        except KeyError:
            handler = self._handlers[kind] = self._handler_of(kind)
        return NotImplemented if handler is None else handler(obj)

    def _handler_of(self, kind: type) -> Handler | None:
        """Return how instances of `kind` are reduced; None leaves it to pickle."""
        if kind is ReduceCall:
            return ReduceCall.reduce
        if kind is _Fills:
            return lambda _: (list, (), None, self._fill())
        if kind is FunctionType:
            return self._reduce_function
        if kind is CodeType:
            return self._reduce_code
        reduce = reducer_of(kind)
        if reduce is not None:
            return reduce
        if issubclass(kind, type):
            return self._reduce_class
        if issubclass(kind, ModuleType):
            return self._reduce_module
        if issubclass(kind, LruCache):
            return self._reduce_lru_cache
        if kind is typing.TypeVar:
            return self._reduce_typevar
        if kind in (WeakKeyDictionary, WeakValueDictionary):
            return lambda obj: (kind, (dict(obj),))  # inside `functools.singledispatch`
        refusal = refusal_of_type(kind)
        if refusal is not None:
            applies = refusal.applies

            def refuse(obj: Any) -> Any:
                if obj is sys.stdout or obj is sys.stderr:
                    # `print(…, file=sys.stderr)`: the worker's own, whose output comes back.
                    return getattr, (sys, "stdout" if obj is sys.stdout else "stderr")
                if applies is None or applies(obj):
                    raise RefusedObject(obj, refusal)
                return NotImplemented

            return refuse
        handler: Handler | None = _cloudpickle.Pickler._dispatch_table.get(kind)
        if handler is None and type(vars(kind).get("__call__")) is WrapperDescriptorType:
            return self._note_callable
        return handler or reducer_of_hashed(kind)

    def _note_callable(self, obj: Any) -> Any:
        """Note the package of a compiled function, whichever compiler made it: it is pickled as a name."""
        if is_displaced(obj):
            return original_of, (obj.__module__, obj.__qualname__)
        name = getattr(obj, "__module__", None)
        if type(obj).__name__ == "ufunc":  # which says of each that it is NumPy's
            name = pickle.whichmodule(obj, obj.__name__)  # type: ignore[attr-defined]
        if isinstance(name, str):
            self.contents.packages.add(top_level(name))
        return NotImplemented

    # -- code ------------------------------------------------------------------------------

    def _reduce_function(self, function: FunctionType) -> Any:
        if is_displaced(function):
            return original_of, (function.__module__, function.__qualname__)
        if not by_value(function):
            self.contents.packages.add(top_level(function.__module__))
            return NotImplemented
        code = function.__code__
        names = names_of(code)
        self.contents.names |= names.all
        if names.imports:
            self._note_imports(names.imports, function.__globals__)
        closure = function.__closure__
        if closure is not None:
            # Empty at first: the values may refer to the function.
            closure = tuple(_cloudpickle._make_empty_cell() for _ in closure)
        namespace = function.__globals__
        return (
            _cloudpickle._make_function,
            (code, self._namespace(namespace), None, None, closure),
            _function_state(function, names),
            None,
            None,
            _cloudpickle._function_setstate,
        )

    def _reduce_code(self, code: CodeType) -> Any:
        file = code.co_filename
        if "ipykernel" in file or file.startswith("<ipython-input-"):
            self.contents.files.add(file)
        for constant in code.co_consts:
            if type(constant) is frozenset:
                self.contents.sets.append(constant)
        return reduce_code(code)

    def _namespace(self, namespace: dict[str, Any]) -> Any:
        """Return what becomes the globals of all functions that share `namespace` here."""
        try:
            return self._namespaces[id(namespace)]
        except KeyError:
            pass
        module = own_namespace(namespace)
        shared: Any
        if module is not None:
            shared = ReduceCall(getattr, module, "__dict__")
        else:
            shared = {name: namespace[name] for name in _ANCHORS if name in namespace}
        self._namespaces[id(namespace)] = shared
        return shared

    def _reduce_class(self, cls: type) -> Any:
        if not by_value(cls):
            self.contents.packages.add(top_level(cls.__module__))
            self.contents.foreign_classes.add(cls)
            return _cloudpickle._class_reduce(cls)
        tracker_id = _cloudpickle._get_or_create_tracker_id(cls)
        if tracker_id in self._known_classes:
            return _cloudpickle._lookup_class_or_track, (tracker_id, None)
        self.contents.classes.add(tracker_id)
        tells = self._tells_subclasses or SUBCLASSES in self.contents.names
        subclasses = own_subclasses(cls) if tells else ()
        return reduce_class(cls, subclasses)

    def _reduce_lru_cache(self, wrapper: Any) -> Any:
        function = wrapper.__wrapped__
        if not isinstance(function, FunctionType) or not by_value(function):
            return NotImplemented
        return reduce_lru_cache(wrapper)

    def _reduce_typevar(self, variable: Any) -> Any:
        module = sys.modules.get(variable.__module__)
        if module is not None and user_module(module):
            return _cloudpickle._make_typevar, _cloudpickle._decompose_typevar(variable)
        return _cloudpickle._typevar_reduce(variable)

    # -- the user's own modules --------------------------------------------------------------

    def _reduce_module(self, module: ModuleType) -> Any:
        if module.__name__ in sys.modules and not user_module(module):
            self.contents.packages.add(top_level(module.__name__))
            self.contents.foreign_modules.add(module.__name__)
            return _cloudpickle.subimport, (module.__name__,)
        self.contents.modules[id(module)] = module
        state = {name: vars(module)[name] for name in _ANCHORS if name in vars(module)}
        if "__path__" in state:
            state["__path__"] = list(state["__path__"])  # of a namespace package: a live object
        return ModuleType, (module.__name__,), state

    def _note_imports(self, imports: tuple[ImportedName, ...], namespace: dict[str, Any]) -> None:
        for each in imports:
            name = _absolute(each, namespace)
            found = own_modules_imported(name, each.members)
            self.contents.imports.update(found)
            if not found and name:
                self.contents.packages.add(top_level(name))

    def _fill(self) -> Iterator[ReduceCall | None]:
        """Yield the calls that fill the modules with what the code in this pickle names.

        The pickler asks for the item after next before it pickles the next one, so pickling
        trails this generator by one. A None is a breath: what was yielded before it has been
        pickled when the generator resumes after the second one, and whatever names and modules
        turned up on the way are seen by the next round.
        """
        contents = self.contents
        registered: set[str] = set()
        done: set[tuple[int, str]] = set()
        while True:
            calls: list[ReduceCall] = []
            for name, module in contents.imports.items():
                if name not in registered:
                    registered.add(name)
                    calls.append(ReduceCall(operator.setitem, _SYS_MODULES, name, module))
            for module in list(contents.modules.values()):
                for attribute in named_attributes(module, contents.names):
                    if (id(module), attribute) not in done and attribute not in _ANCHORS:
                        done.add((id(module), attribute))
                        value = vars(module)[attribute]
                        calls.append(ReduceCall(setattr, module, attribute, value))
            if not calls:
                return
            yield from calls
            yield None
            yield None


_SYS_MODULES: Final = ReduceCall(getattr, sys, "modules")


class SharingPickler(ValuePickler):
    """Leaves shared objects out of the stream; the loader finds them by their persistent id."""

    def __init__(
        self,
        file: io.BytesIO,
        contents: Contents,
        shared: Mapping[int, tuple[str, str]],
        buffer_callback: BufferCallback | None = None,
        tells_subclasses: bool = False,
    ) -> None:
        super().__init__(file, contents, buffer_callback, tells_subclasses=tells_subclasses)
        self._shared = shared

    def persistent_id(self, obj: Any) -> tuple[str, str] | None:
        pid = self._shared.get(id(obj))
        if pid is not None:
            self.contents.blobs.add(pid[1])
        return pid


class SpecialPickler(ValuePickler):
    """Reduces instances of some types by given functions."""

    def __init__(
        self,
        file: io.BytesIO,
        contents: Contents,
        special: Special,
        buffer_callback: BufferCallback | None = None,
    ) -> None:
        super().__init__(file, contents, buffer_callback)
        self._special = special

    def _handler_of(self, kind: type) -> Handler | None:
        return self._special(kind) or super()._handler_of(kind)


def dumps(
    value: Any,
    *,
    has_modules: bool = False,
    buffer_callback: BufferCallback | None = None,
    shared: Mapping[int, tuple[str, str]] | None = None,
    special: Special | None = None,
    known_classes: Set[str] = frozenset(),
    tells_subclasses: bool = False,
) -> tuple[bytes, Contents]:
    """Pickle `value`; `has_modules` is a guess that saves a second try when it is right."""
    contents = Contents()
    file = io.BytesIO()
    if shared:
        pickler: ValuePickler = SharingPickler(
            file, contents, shared, buffer_callback, tells_subclasses
        )
    elif special is not None:
        pickler = SpecialPickler(file, contents, special, buffer_callback)
    else:
        pickler = ValuePickler(file, contents, buffer_callback, known_classes, tells_subclasses)
    if has_modules:
        value = ReduceCall(operator.getitem, (value, fills()), 0)
    try:
        pickler.dump(value)
    finally:
        pickler.release()
    if not has_modules and (contents.modules or contents.imports):
        raise ModulesFound
    return file.getvalue(), contents


class ModulesFound(Exception):
    """The pickle holds modules that have to be filled: try again with `has_modules`."""


def is_displaced(function: Any) -> bool:
    """Whether a library's function is not under its name any more, but one of the user's."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "")
    if module is None or user_module(module) or not isinstance(name, str):
        return False
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, (ModuleType, type)) else None
    return found is not None and found is not function and users_code(found)


def _absolute(statement: ImportedName, namespace: dict[str, Any]) -> str:
    """Return the full name of the module that code in `namespace` imports; empty if there is none."""
    if not statement.level:
        return statement.name
    package = namespace.get("__package__") or ""
    try:
        return importlib.util.resolve_name("." * statement.level + statement.name, package)
    except ImportError:  # in a notebook, or above the topmost package: it fails when it runs
        return ""


def own_modules_imported(name: str, members: tuple[str, ...] = ()) -> dict[str, ModuleType]:
    """Return the user's modules that importing `name` loads, with parents; `members` as in `ImportedName`."""
    module = _own_module(name) if name else None
    if module is None:
        return {}
    names = [name]
    if hasattr(module, "__path__"):
        inner = [f"{name}.{member}" for member in members if member not in vars(module)]
        names += [each for each in inner if _own_module(each) is not None]
    found = {}
    for each in names:
        parts = each.split(".")
        for i in range(len(parts)):
            parent = ".".join(parts[: i + 1])
            if parent in sys.modules:
                found[parent] = sys.modules[parent]
    return found


def _own_module(name: str) -> ModuleType | None:
    """Return a module if it is the user's own, imported now if need be."""
    module = sys.modules.get(name) or _import_own(name)
    return module if module is not None and user_module(module) else None


def _import_own(name: str) -> ModuleType | None:
    """Import a module of the user's that the function would import when it runs."""
    top = top_level(name)
    if top in sys.modules or top in sys.stdlib_module_names:
        parent = sys.modules.get(top)
        if parent is None or not user_module(parent):
            return None
    try:
        spec = importlib.util.find_spec(top)
        if spec is None or not user_module(importlib.util.module_from_spec(spec)):
            return None
        return importlib.import_module(name)
    except Exception:  # it fails in the worker then, where the traceback shows the user's line
        return None


def _function_state(
    function: FunctionType, names: CodeNames
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the state that cloudpickle's `_function_setstate` takes."""
    namespace = function.__globals__
    used = {name: namespace[name] for name in names.globals if name in namespace}
    slots = {
        "__name__": function.__name__,
        "__qualname__": function.__qualname__,
        "__annotations__": function.__annotations__,
        "__kwdefaults__": function.__kwdefaults__,
        "__defaults__": function.__defaults__,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        "__closure__": function.__closure__,
        "_cloudpickle_submodules": _submodules(function, used, names),
        "__globals__": used,
    }
    return function.__dict__, slots


def _submodules(function: FunctionType, used: dict[str, Any], names: CodeNames) -> list[ModuleType]:
    """Return loaded submodules the code reaches as attributes: `scipy.stats` of `scipy`."""
    packages = [value for value in used.values() if isinstance(value, ModuleType)]
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if isinstance(value, ModuleType):
            packages.append(value)
    found: list[ModuleType] = []
    for package in packages:
        if not hasattr(package, "__path__") or user_module(package):
            continue
        for name in sorted(names.all):
            submodule = sys.modules.get(f"{package.__name__}.{name}")
            if submodule is not None and submodule not in packages:
                found.append(submodule)
                packages.append(submodule)
    return found
