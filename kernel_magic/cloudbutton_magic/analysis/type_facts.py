"""Facts about builtin and library types: which methods change their object.

Types are named, not imported, so that nothing heavy is loaded to analyse a cell.
"""

from __future__ import annotations

from typing import Final

from cloudbutton_backend.worker import atoms


def words(text: str) -> frozenset[str]:
    """Return the words of `text`: long tables of names read better that way."""
    return frozenset(text.split())


CHANGING: Final = {
    "list": words("append extend insert remove pop clear sort reverse"),
    "set": words(
        "add update discard remove pop clear difference_update intersection_update "
        "symmetric_difference_update"
    ),
    "dict": words("update setdefault pop popitem clear move_to_end subtract __setitem__"),
    "deque": words(
        "append appendleft extend extendleft insert remove pop popleft clear rotate reverse"
    ),
    "bytearray": words("append extend insert remove pop clear reverse"),
    "ndarray": words("sort fill put resize partition setflags itemset byteswap setfield"),
    "Series": words("update pop drop_duplicates_inplace"),
    "DataFrame": words("update pop insert"),
}
"""By type name, the methods that change the object. Others of these types only look."""

CHANGING_ANY: Final = frozenset().union(*CHANGING.values()) | words(
    "fit fit_transform fit_predict partial_fit set_params write writelines writerow writerows "
    "seek truncate send put put_nowait commit execute executemany step backward zero_grad "
    "train eval set set_index_inplace register add_node add_edge add_nodes_from add_edges_from "
    "remove_node remove_edge load_state_dict shuffle seed setdefault"
)
"""Names of methods that usually change their object, for objects of unknown type."""

AMBIGUOUS: Final = words("rotate resize partition fill byteswap put")
"""Those of them that, on objects of other types, give a new object."""

READING_ANY: Final = words(
    "predict predict_proba predict_log_proba decision_function transform inverse_transform score "
    "score_samples get_params get_feature_names_out get items keys values copy split get_n_splits "
    "evaluate compute lower upper strip match search fullmatch findall finditer sub subn exists "
    "is_file is_dir read_text read_bytes glob rglob iterdir open with_suffix joinpath mean sum std "
    "min max encode decode encode_plus tokenize stem lemmatize lookup distance query query_ball_point "
    "neighbors degree nodes edges subgraph pdf cdf ppf logpdf logcdf sf isf __call__ "
    "integrate derivative roots ev info debug warning error exception log critical "
    "write_text write_bytes mkdir isoformat strftime"
)
"""Names of methods that only look, for captured objects of other types."""

STORING: Final = words("append add appendleft insert setdefault")
"""Methods that keep a reference to what they are given; others read it at once."""

EFFECTS: Final = {
    "list": words("append extend insert"),
    "set": words("add update discard"),
    "dict": words("update setdefault"),
    "deque": words("append appendleft extend"),
    "bytearray": words("append extend"),
}
"""By type name, the methods that the kernel can call on behalf of an iteration."""

EFFECTS_ANY: Final = words("append extend add update insert setdefault appendleft")

CHEAP_CALLS: Final = words(
    "len max min abs round int float str bool tuple list dict set sorted sum print isinstance "
    "range zip enumerate repr format divmod frozenset reversed any all type"
)
"""Builtins that the kernel may call in the part of a body that stays in order."""

CHEAP_METHODS: Final = words(
    "append extend add update insert setdefault discard get items keys values copy join format "
    "pop remove clear appendleft popleft startswith endswith lower upper strip count index "
    "most_common union intersection"
)

FOLDS: Final = words(
    "pandas.concat numpy.append numpy.concatenate numpy.vstack numpy.hstack numpy.maximum "
    "numpy.minimum numpy.add numpy.multiply numpy.logaddexp numpy.stack numpy.column_stack "
    "numpy.fmax numpy.fmin math.gcd math.lcm math.fsum"
)
"""Library functions that combine what was collected with what an item gave."""

FORBIDDEN_BUILTINS: Final = {
    "input": "INTERACTIVE",
    "breakpoint": "INTERACTIVE",
    "get_ipython": "INTERACTIVE",
    "exec": "NAMESPACE",
    "eval": "NAMESPACE",
    "globals": "NAMESPACE",
    "locals": "NAMESPACE",
    "vars": "NAMESPACE",
    "dir": "NAMESPACE",
    "id": "IDENTITY",
    "hash": "IDENTITY",
    "exit": "INTERACTIVE",
    "quit": "INTERACTIVE",
}

FORBIDDEN_PLACES: Final = {
    ("os", "getpid"): "os.getpid()",
    ("os", "getppid"): "os.getppid()",
    ("os", "chdir"): "os.chdir()",
    ("os", "putenv"): "os.putenv()",
    ("os", "unsetenv"): "os.unsetenv()",
    ("os", "fork"): "os.fork()",
    ("os", "_exit"): "os._exit()",
    ("sys", "exit"): "sys.exit()",
    ("sys", "setrecursionlimit"): "sys.setrecursionlimit()",
    ("gc", "collect"): "",
    ("numpy", "seterr"): "np.seterr()",
    ("numpy", "set_printoptions"): "np.set_printoptions()",
    ("pandas", "set_option"): "pd.set_option()",
    ("warnings", "filterwarnings"): "warnings.filterwarnings()",
    ("warnings", "simplefilter"): "warnings.simplefilter()",
    ("locale", "setlocale"): "locale.setlocale()",
    ("importlib", "reload"): "importlib.reload()",
    ("time", "process_time"): "time.process_time()",
    ("time", "thread_time"): "time.thread_time()",
}
"""Module functions that read or change what belongs to one process."""

FORBIDDEN_MODULES: Final = words(
    "threading multiprocessing signal asyncio sqlite3 ctypes gc tracemalloc contextvars"
)

CONTAINERS: Final = words(
    "list tuple range str bytes bytearray dict dict_keys dict_values dict_items set frozenset "
    "ndarray deque Series Index RangeIndex MultiIndex DatetimeIndex CategoricalIndex DataFrame "
    "Counter defaultdict OrderedDict PeriodIndex TimedeltaIndex IntervalIndex array memoryview "
    "DataFrameGroupBy SeriesGroupBy mappingproxy ChainMap recarray OutEdgeView NodeView EdgeView "
    "ndindex KeysView ValuesView ItemsView ParameterGrid ParameterSampler"
)
"""Iterables that can be walked again, so walking them ahead changes nothing."""

WRAPPERS: Final = words(
    "enumerate zip reversed sorted list tuple set frozenset range dict len iter islice chain product "
    "combinations permutations combinations_with_replacement batched pairwise starmap zip_longest "
    "tqdm trange tqdm_notebook track repeat accumulate ndenumerate ndindex from_iterable "
    "finditer glob iglob listdir scandir walk reader DictReader open split splitlines "
    "iterrows itertuples items keys values groupby rglob iterdir find_all findall iter_rows "
    "linspace arange logspace unique compress takewhile dropwhile cycle count read_csv"
)
"""Calls whose iterators have no effect of their own, given that their arguments have none."""


def type_names(value: object) -> list[str]:
    """Return the names of the type and its bases, most derived first."""
    return [kind.__name__ for kind in type(value).__mro__]


def is_atom(value: object) -> bool:
    """Tell whether `value` can never change."""
    if isinstance(value, (tuple, frozenset)):
        return len(value) < 1000 and all(is_atom(part) for part in value)
    return atoms.is_atom(value)


def changing_methods(value: object) -> frozenset[str] | None:
    """Return the methods that change `value`, None where its type is not known."""
    for name in type_names(value):
        if name in CHANGING:
            return CHANGING[name]
    return None


def effect_methods(value: object) -> frozenset[str]:
    """Return the methods of `value` that the kernel can call for an iteration."""
    for name in type_names(value):
        if name in EFFECTS:
            return EFFECTS[name]
    return frozenset()


def is_random(value: object) -> bool:
    """Tell whether `value` is a random generator, or a function bound to one."""
    owner = getattr(value, "__self__", value) if callable(value) else value
    if isinstance(owner, type):
        return False
    modules = {kind.__module__.partition(".")[0] for kind in type(owner).__mro__}
    names = set(type_names(owner))
    return bool(names & {"Random", "RandomState", "Generator"}) and bool(
        modules & {"random", "numpy", "_random"}
    )


def is_file(value: object) -> bool:
    """Tell whether `value` is an open file, socket or connection."""
    return bool({"IOBase", "_IOBase", "socket", "Connection", "ZipFile"} & set(type_names(value)))


def is_iterator(value: object) -> bool:
    """Tell whether `value` is used up by walking it."""
    kind = type(value)
    return hasattr(kind, "__next__") and hasattr(kind, "__iter__")
