"""What a process has set for itself and plain code reads: taken along to workers, and put back there.

``np.seterr(all='raise')``, ``warnings.simplefilter('error')``, ``pd.set_option(…)`` hold in the notebook's
process only. A state names what is not at its default, so the usual one is empty, and a default is the same
as a package that is not imported. Adding a setting is adding a `Setting`.
"""

from __future__ import annotations

import functools
import importlib
import operator
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from cloudbutton_backend.worker.task_logging import read_logging, write_logging

REPLACED: Final = "what was put into libraries"
CODECS: Final = "the registered codecs"


class ProcessState(dict[str, Any]):
    """What of a process is not at its default, by the name of the setting."""


class Setting(NamedTuple):
    """One thing that a process has set for itself."""

    name: str
    module: str
    """What has to be imported for it to be anything but the default."""
    read: Callable[[Any], Any]
    """Returns the value, given the module; None for the default."""
    write: Callable[[Any, Any], None]
    """Sets the value, given the module; None for the default."""
    decides: Callable[[Any], Any] = lambda value: value
    """Returns what of a value results can depend on; None for nothing."""
    is_quick: bool = True
    """Whether reading it takes less than some microseconds."""


def current_state() -> ProcessState:
    """Return what of this process is not at its default."""
    return _read(SETTINGS)


def quick_state() -> ProcessState:
    """Return the part of `current_state` that costs next to nothing."""
    return _read(_QUICK)


def _read(settings: tuple[Setting, ...]) -> ProcessState:
    state = ProcessState()
    for setting in settings:
        module = sys.modules.get(setting.module)
        if module is not None and (value := setting.read(module)) is not None:
            state[setting.name] = value
    return state


def apply_state(state: Mapping[str, Any]) -> None:
    """Make this process behave as the one that `state` was taken from.

    A package that is not here is left out: what runs here does not use it.

    Raises
    ------
    CannotApply
        This machine does not have what a setting needs.
    """
    for setting in SETTINGS:
        wanted = state.get(setting.name)
        module = sys.modules.get(setting.module)
        if module is None and wanted is not None:
            module = _module(setting.module)
        if module is not None and setting.read(module) != wanted:
            setting.write(module, wanted)


def extend_state(state: Mapping[str, Any]) -> None:
    """Add to this process what items need in libraries beside what their job has brought; see `REPLACED`."""
    for setting in SETTINGS:
        if setting.name in state:
            module = sys.modules[setting.module]
            known = setting.read(module) or []
            codes = setting.decides(known)
            new = [each for each in state[setting.name] if setting.decides([each])[0] not in codes]
            if new:
                setting.write(module, [*known, *new])


class CannotApply(Exception):
    """The notebook has set something that cannot be set on this worker."""


def state_in_results(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a state can decide a result."""
    found = {each.name: each.decides(state[each.name]) for each in SETTINGS if each.name in state}
    return {name: value for name, value in found.items() if value is not None}


def package_of(name: str) -> str:
    """Return the import name of the package that has a setting; empty for one of Python's own."""
    tops = {each.name: each.module.partition(".")[0] for each in SETTINGS}
    top = tops.get(name, "")
    return "" if top in sys.stdlib_module_names else top


def with_state(function: Any) -> Any:
    """Return what results of `function` depend on in this process: itself, as long as nothing is set."""
    state = state_in_results(current_state())
    return (function, state) if state else function


def _module(name: str) -> Any:
    """Return a module, None if it is not here."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _nothing(_value: Any) -> None:
    """Results do not depend on it."""


def _changed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what is not as in `defaults`, None if that is nothing."""
    return {
        key: values[key] for key, default in defaults.items() if values.get(key, default) != default
    } or None


# -- warnings

_FILTERS: Final = (
    ("default", None, DeprecationWarning, "__main__", 0),
    ("ignore", None, DeprecationWarning, None, 0),
    ("ignore", None, PendingDeprecationWarning, None, 0),
    ("ignore", None, ImportWarning, None, 0),
    ("ignore", None, ResourceWarning, None, 0),
)
_NAMED_BY_VALUE: Final = ("builtins", "__main__")
"""Modules whose categories travel as they are: they are everywhere, or the user's."""


def _read_filters(module: Any) -> Any:
    """Return the filters, categories of packages by name, without those that an interactive shell has set."""
    found = []
    for action, message, category, where, line in module.filters:
        home = category.__module__
        if home.partition(".")[0] in ("IPython", "ipykernel"):
            continue
        if home not in _NAMED_BY_VALUE:
            category = home, category.__qualname__
        found.append((action, message, category, where, line))
    return None if found == list(_FILTERS) else found


def _write_filters(module: Any, filters: Any) -> None:
    module.resetwarnings()  # also tells the warnings machinery that filters changed
    for action, message, category, where, line in _FILTERS if filters is None else filters:
        if isinstance(category, tuple):
            category = getattr(_module(category[0]), category[1], None)
        if category is not None:  # else nothing here can give such a warning
            module.filters.append((action, message, category, where, line))


def _error_filters(filters: Any) -> Any:
    """Return filters if one makes errors of warnings: the others decide only what is shown."""
    return filters if any(action == "error" for action, *_ in filters) else None


# -- decimal

_TERMS: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
_CONTEXT: Final = (
    28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0,
    ["DivisionByZero", "InvalidOperation", "Overflow"],
)  # fmt: skip


def _read_context(decimal: Any) -> Any:
    context = decimal.getcontext()
    terms = *(getattr(context, term) for term in _TERMS), _traps(context)
    return None if terms == _CONTEXT else terms


def _traps(context: Any) -> list[str]:
    return sorted(trap.__name__ for trap, is_set in context.traps.items() if is_set)


def _write_context(decimal: Any, terms: Any) -> None:
    *values, traps = terms or _CONTEXT
    trapped = [getattr(decimal, trap) for trap in traps]
    decimal.setcontext(decimal.Context(**dict(zip(_TERMS, values)), traps=trapped))


# -- NumPy

_FLOAT_ERRORS: Final = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_PRINTING: Final[dict[str, Any]] = {
    "precision": 8, "threshold": 1000, "edgeitems": 3, "linewidth": 75, "suppress": False,
    "nanstr": "nan", "infstr": "inf", "formatter": None, "sign": "-", "floatmode": "maxprec",
    "legacy": False, "override_repr": None,
}  # fmt: skip


def _write_printing(numpy: Any, options: Any) -> None:
    known = numpy.get_printoptions()
    wanted = {**_PRINTING, **(options or {})}
    numpy.set_printoptions(**{key: wanted[key] for key in wanted if key in known})


# -- pandas, scikit-learn, Matplotlib


def _read_pandas(config: Any) -> Any:
    return {
        key: value
        for key, option in config._registered_options.items()
        if (value := _option(config, key)) != option.defval
        and key not in config._deprecated_options
    } or None


def _option(config: Any, key: str) -> Any:
    """Return an option by its full name, which `get_option` would look for among all."""
    return functools.reduce(operator.getitem, key.split("."), config._global_config)


def _write_pandas(config: Any, options: Any) -> None:
    wanted = options or {}
    for key in (_read_pandas(config) or {}).keys() - wanted.keys():
        config.reset_option(key)
    for key, value in wanted.items():
        config.set_option(key, value)


def _write_sklearn(config: Any, options: Any) -> None:
    config.set_config(**{**config._global_config, **(options or {})})


def _read_matplotlib(matplotlib: Any) -> Any:
    default = dict.items(matplotlib.rcParamsDefault)
    now = matplotlib.rcParams
    return {
        key: value
        for key, old in default
        if (value := dict.get(now, key)) != old and "backend" not in key
    } or None


def _write_matplotlib(matplotlib: Any, options: Any) -> None:
    wanted, default = options or {}, matplotlib.rcParamsDefault
    back = (_read_matplotlib(matplotlib) or {}).keys() - wanted.keys()
    matplotlib.rcParams.update({**{key: default[key] for key in back}, **wanted})


# -- the interpreter and its libraries


def _read_locale(locale: Any) -> Any:
    """Return the parts of the locale that programs start without, where they have been set."""
    names = {name: locale.setlocale(getattr(locale, name)) for name in _LOCALES}
    return {name: value for name, value in names.items() if value != "C"} or None


_LOCALES: Final = ("LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY")


def _write_locale(locale: Any, names: Any) -> None:
    for name in _LOCALES:
        wanted = (names or {}).get(name, "C")
        try:
            locale.setlocale(getattr(locale, name), wanted)
        except locale.Error:
            raise CannotApply(
                f"The notebook has set its locale to `{wanted}`, which this worker does not have."
                " Install it there, or set it back: `locale.setlocale(locale.LC_ALL, 'C')`."
            ) from None


def _read_umask(_os: Any) -> Any:
    """Return the mask; only Linux tells it without setting it."""
    try:
        with open("/proc/self/status", "rb") as status:
            text = status.read()
    except OSError:
        return None
    _, _, rest = text.partition(b"\nUmask:\t")
    mask = int(rest.split(b"\n", 1)[0], 8) if rest else _UMASK
    return None if mask == _UMASK else mask


_UMASK: Final = 0o022


def _write_umask(_os: Any, mask: Any) -> None:
    os.umask(_UMASK if mask is None else mask)


_DIALECTS: Final = frozenset(["excel", "excel-tab", "unix"])
_DIALECT: Final = (
    "delimiter", "quotechar", "doublequote", "escapechar", "lineterminator", "quoting",
    "skipinitialspace", "strict",
)  # fmt: skip


def _read_dialects(csv: Any) -> Any:
    own = [name for name in csv.list_dialects() if name not in _DIALECTS]
    return {
        name: {key: getattr(dialect, key) for key in _DIALECT}
        for name in own
        if (dialect := csv.get_dialect(name))
    } or None


def _write_dialects(csv: Any, dialects: Any) -> None:
    for name in set(csv.list_dialects()) - _DIALECTS:
        csv.unregister_dialect(name)
    for name, terms in (dialects or {}).items():
        csv.register_dialect(name, **terms)


def _plain(
    name: str,
    module: str,
    get: str,
    put: str,
    default: Any,
    decides: Callable[[Any], Any] = lambda value: value,
) -> Setting:
    """Return a setting that one function of `module` returns, and another takes."""

    def read(found: Any) -> Any:
        value = getattr(found, get, lambda: default)()
        return None if value == default else value

    def write(found: Any, value: Any) -> None:
        getattr(found, put)(default if value is None else value)

    return Setting(name, module, read, write, decides)


# -- what the user has put into libraries


class Replacement(NamedTuple):
    """An attribute of a module, or of a class in it, that the notebook has set."""

    module: str
    owner: str
    """The class; empty for the module itself."""
    name: str
    value: Any


_ABSENT: Final = object()
_replaced: list[tuple[Replacement, Any]] = []
"""What was replaced in this process, with what was there before."""
_searches: list[Any] = []
"""What was given to `codecs.register` in this process."""


def _write_replacements(_sys: Any, wanted: Any) -> None:
    while _replaced:
        done, before = _replaced.pop()
        owner = _owner_of(done)
        if before is _ABSENT:
            delattr(owner, done.name)
        else:
            setattr(owner, done.name, before)
    for each in wanted or ():
        if (owner := _owner_of(each)) is not None:
            _replaced.append((each, vars(owner).get(each.name, _ABSENT)))
            setattr(owner, each.name, each.value)


def _owner_of(replacement: Replacement) -> Any:
    owner = _module(replacement.module)
    return operator.attrgetter(replacement.owner)(owner) if owner and replacement.owner else owner


def original_of(module: str, name: str) -> Any:
    """Return what a library itself has under a name; functions that replace it refer to it by this."""
    for done, before in _replaced:
        if (done.module, ".".join(filter(None, done[1:3]))) == (module, name):
            return before
    return operator.attrgetter(name)(importlib.import_module(module))


def _code_of(replacements: Any) -> list[Any]:
    return [(*each[:3], _bytes_of(each.value)) for each in replacements]


def _bytes_of(value: Any) -> Any:
    code = getattr(value, "__code__", None)
    return repr(value) if code is None else (code.co_code, code.co_names, repr(code.co_consts))


def _write_searches(codecs: Any, wanted: Any) -> None:
    for search in _searches:
        codecs.unregister(search)
    _searches[:] = wanted or ()
    for search in _searches:
        codecs.register(search)


_BITS: Final = 53
SETTINGS: Final = (
    Setting(
        "the levels of `logging`",
        "logging",
        read_logging,
        write_logging,
        _nothing,
        is_quick=False,
    ),
    Setting("the filters of warnings", "warnings", _read_filters, _write_filters, _error_filters),
    Setting("the context of `decimal`", "decimal", _read_context, _write_context),
    _plain("the recursion limit", "sys", "getrecursionlimit", "setrecursionlimit", 1000, _nothing),
    _plain("the limit of digits", "sys", "get_int_max_str_digits", "set_int_max_str_digits", 4300),
    _plain("`csv.field_size_limit`", "_csv", "field_size_limit", "field_size_limit", 131072),
    Setting("the dialects of csv", "_csv", _read_dialects, _write_dialects),
    _plain("the time-out of sockets", "socket", "getdefaulttimeout", "setdefaulttimeout", None),
    Setting("the locale", "locale", _read_locale, _write_locale),
    Setting("the umask", "os", _read_umask, _write_umask, is_quick=False),
    Setting(
        "the floating-point errors of NumPy",
        "numpy",
        lambda numpy: _changed(numpy.geterr(), _FLOAT_ERRORS),
        lambda numpy, value: numpy.seterr(**{**_FLOAT_ERRORS, **(value or {})}),
    ),
    _plain("`np.seterrcall`", "numpy", "geterrcall", "seterrcall", None),
    Setting(
        "the print options of NumPy",
        "numpy",
        lambda numpy: _changed(numpy.get_printoptions(), _PRINTING),
        _write_printing,
    ),
    Setting(
        "the options of pandas",
        "pandas._config.config",
        _read_pandas,
        _write_pandas,
        is_quick=False,
    ),
    Setting(
        "the settings of scikit-learn",
        "sklearn._config",
        lambda config: _changed(config.get_config(), config._global_config),
        _write_sklearn,
    ),
    Setting(
        "the precision of mpmath",
        "mpmath",
        lambda mpmath: None if mpmath.mp.prec == _BITS else mpmath.mp.prec,
        lambda mpmath, value: setattr(mpmath.mp, "prec", value or _BITS),
    ),
    Setting(
        REPLACED,
        "sys",
        lambda _: [each for each, _ in _replaced] or None,
        _write_replacements,
        _code_of,
        is_quick=False,
    ),
    Setting(
        CODECS,
        "codecs",
        lambda _: list(_searches) or None,
        _write_searches,
        lambda searches: [_bytes_of(search) for search in searches],
        is_quick=False,
    ),
    Setting(
        "the rcParams of Matplotlib",
        "matplotlib",
        _read_matplotlib,
        _write_matplotlib,
        is_quick=False,
    ),
)
_QUICK: Final = tuple(setting for setting in SETTINGS if setting.is_quick)
